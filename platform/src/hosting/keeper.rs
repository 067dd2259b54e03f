//! The keeper's loop: starts, watches and ends the platform's process. All choices are in `decide`.

use super::decide::{Arrival, End, Facts, Seen, Step, arrive, decide, keeper_probation_ms};
use super::process::{KEPT, OWN, Process};
use super::succession::{self, Deaf, SuccessionError};
use super::{Launch, Post, Seat, Version, before, dir, probe, program, seat};
use crate::causes::causes;
use crate::config::Config;
use crate::host::instance::{Dynos, InstanceError};
use crate::host::notify;
use crate::state::lock::DataLock;
use crate::state::secrets::Secrets;
use crate::state::{StateError, model};
use nix::sys::signal::Signal;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const TICK: Duration = Duration::from_millis(250);
const END_TICK: Duration = Duration::from_millis(20);
/// For a platform to end: what it has let in is answered first.
const END_TIMEOUT: Duration = Duration::from_secs(90);
/// For one that is taken back.
const TAKE_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// For a signal that has just come to be heard of.
const MOMENT: Duration = Duration::from_millis(20);

/// Why nothing is kept running.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the directory {} cannot be used", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("it cannot be read which version is to run")]
    Seat(#[source] io::Error),
    #[error("it is kept already")]
    Locked(#[from] StateError),
    #[error("who runs now cannot be found")]
    Find(#[from] InstanceError),
    #[error("the platform cannot be watched")]
    Watch(#[source] io::Error),
}

/// Keeps a platform running until `told`, and then ends it.
pub async fn keep(
    config: &Config,
    launch: &Launch,
    post: Post,
    told: impl Future<Output = Dynos>,
) -> Result<(), KeeperError> {
    let path = dir(&config.data);
    let failed = |source| KeeperError::Directory { path: path.clone(), source };
    std::fs::create_dir_all(&path).map_err(failed)?;
    let Post { release, own, yields, lock } = post;
    let mut keeper = Keeper {
        config,
        launch,
        lock: lock.map_or_else(|| DataLock::take(&path), |lock| DataLock::inherit(&path, lock))?,
        release,
        own,
        yields,
        tried: false,
        began: Instant::now(),
        seat: seat::read(&config.data).map_err(KeeperError::Seat)?,
        saved: true,
        running: None,
        announced: false,
    };
    keeper.take_over().await?;
    let mut told = pin!(told);
    loop {
        tokio::select! {
            dynos = &mut told => return keeper.leave(dynos).await,
            () = sleep(TICK) => {}
        }
        keeper.stay_awake();
        keeper.save();
        keeper.look().await?;
        match keeper.decide() {
            Step::Wait => {}
            Step::Start => keeper.start().await?,
            Step::Try(version) => keeper.try_out(version).await?,
            Step::HandOver => {
                if let Some(dynos) = keeper.hand_over(told.as_mut()).await? {
                    return keeper.leave(dynos).await;
                }
            }
            Step::Prove => keeper.sit(keeper.seat.clone().proven()),
            Step::Keep => keeper.keep_it(),
            Step::TakeBack(why) => {
                keeper.take_back(why).await?;
                keeper.start().await?;
            }
        }
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, read by the pure decision"
)]
struct Keeper<'a> {
    config: &'a Config,
    launch: &'a Launch,
    lock: DataLock,
    /// Whose program this is.
    release: String,
    /// What was started by hand or by a service manager.
    own: PathBuf,
    /// It may become another one.
    yields: bool,
    /// The good one's program is no keeper: that was found out.
    tried: bool,
    began: Instant,
    seat: Seat,
    /// It is on disk as it is here.
    saved: bool,
    running: Option<Running>,
    /// Whoever started us has heard that a platform is ready.
    announced: bool,
}

struct Running {
    /// None: it could not be run.
    process: Option<Process>,
    seen: Seen,
}

impl Keeper<'_> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Goes on from where an earlier keeper, or the machine, has stopped: with the platform that it
    /// has left, if that is the right one.
    async fn take_over(&mut self) -> Result<(), KeeperError> {
        let (process, release) = Process::find(&self.config.data)?.unzip();
        self.running = process.map(|process| self.watched(process));
        match arrive(&self.seat, release.as_deref()) {
            Arrival::Adopt => Ok(()),
            Arrival::Replace => self.end(END_TIMEOUT).await,
            Arrival::TakeBack { adopt: false, why } => self.take_back(why).await,
            Arrival::TakeBack { adopt: true, why } => {
                let process = self.running.take();
                self.take_back(why).await?;
                self.running = process;
                Ok(())
            }
        }
    }

    fn decide(&self) -> Step {
        // One that cannot be read now is read the next time.
        let wish = seat::wished(&self.config.data).unwrap_or_default();
        decide(Facts {
            seat: &self.seat,
            wish: wish.as_ref(),
            seen: self.running.as_ref().map(|running| &running.seen),
            keeper: &self.release,
            yields: self.yields && (self.seat.trial.is_some() || !self.tried),
            policy: &self.config.upgrade,
            now_ms: self.now_ms(),
        })
    }

    /// One that has to prove itself has from the keeper before it the time for that.
    fn stay_awake(&self) {
        if self.seat.trial.as_ref().is_none_or(|trial| trial.release != self.release) {
            succession::awake();
        }
    }

    fn watched(&self, process: Process) -> Running {
        let seen = Seen { started_ms: self.now_ms(), ready_ms: None, sick: None, ended: None };
        Running { process: Some(process), seen }
    }

    /// Starts what the seat says, unless it runs: one that was started by a keeper that was killed at
    /// once is found only when it holds its data. Another one would keep out whatever is started.
    async fn start(&mut self) -> Result<(), KeeperError> {
        let (data, began) = (&self.config.data, Instant::now());
        while let Some((process, release)) = Process::find(data)? {
            if release == self.seat.heir() {
                self.running = Some(self.watched(process));
                return Ok(());
            }
            // What is no platform has its reasons, and ends by itself.
            if release.is_empty() || began.elapsed() > TAKE_BACK_TIMEOUT {
                break;
            }
            process.signal(Signal::SIGKILL);
            sleep(END_TICK).await;
        }
        self.begin();
        Ok(())
    }

    /// One that cannot even be run has ended, for the next decision; but in the place of a good one
    /// this program serves, which always can.
    fn begin(&mut self) {
        let version = self.seat.version();
        let started = match version.map(|version| self.command(version).and_then(run)) {
            None => self.own(),
            Some(Err(why)) if self.seat.trial.is_none() => {
                tracing::error!(why, "the good version cannot be run, so this program is");
                self.own()
            }
            Some(started) => started,
        };
        self.running = Some(match started {
            Ok(process) => self.watched(process),
            Err(how) => {
                tracing::error!(how, "a platform cannot be started");
                let now_ms = self.now_ms();
                let ended = Some(End { at_ms: now_ms, how });
                let seen = Seen { started_ms: now_ms, ready_ms: None, sick: None, ended };
                Running { process: None, seen }
            }
        });
    }

    fn own(&self) -> Result<Process, String> {
        run(self.verb(self.own.clone(), OWN, &model::Config::new()))
    }

    /// Or why not, for people.
    fn command(&self, version: &Version) -> Result<Command, String> {
        let data = &self.config.data;
        let program = program::find(data, version, &version.program);
        let program = program.ok_or("its program is not there, or not as it was")?;
        let secrets = Secrets::of(data).map_err(|error| causes(&error))?;
        let environment = version.environment(&secrets).map_err(|error| causes(&error))?;
        Ok(self.verb(program, &version.release, &environment))
    }

    fn verb(&self, program: PathBuf, release: &str, environment: &model::Config) -> Command {
        let mut command = Command::new(program);
        command.args(&self.launch.flags).args(["up", KEPT, release]).args(&self.launch.up);
        command.envs(environment).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Takes in what has become of the platform since the last look.
    async fn look(&mut self) -> Result<(), KeeperError> {
        let now_ms = self.now_ms();
        let Some(running) = &mut self.running else { return Ok(()) };
        let Some(process) = running.process.filter(|_| running.seen.ended.is_none()) else {
            return Ok(());
        };
        let ended = process.ended(&self.config.data).map_err(KeeperError::Watch)?;
        if let Some(how) = ended {
            running.seen.ended = Some(End { at_ms: now_ms, how });
            return Ok(());
        }
        // A good one that has answered is left alone, as a platform without a keeper is.
        if running.seen.ready_ms.is_some() && self.seat.trial.is_none() {
            return Ok(());
        }
        let mut asked = probe::ask(self.config).await;
        if let (Ok(()), Some(version)) = (&asked, &self.seat.trial) {
            asked = probe::ask_router(self.config, version.number).await;
        }
        match (asked, running.seen.sick.take()) {
            (Ok(()), _) => {
                running.seen.ready_ms.get_or_insert(now_ms);
                self.announce()
            }
            (Err(how), before) => {
                running.seen.sick = Some((before.map_or(now_ms, |(since_ms, _)| since_ms), how));
                // One without a state says so, and serves: who waits for it would wait for ever.
                if self.seat.trial.is_none() && probe::is_hindered(self.config).await {
                    return self.announce();
                }
                Ok(())
            }
        }
    }

    fn announce(&mut self) -> Result<(), KeeperError> {
        match &self.config.notify_socket {
            Some(socket) if !self.announced => {
                self.announced = true;
                notify::ready(socket).map_err(KeeperError::Watch)
            }
            _ => Ok(()),
        }
    }

    /// The seat is written first: nothing is ended for what cannot be written down.
    async fn try_out(&mut self, version: Version) -> Result<(), KeeperError> {
        let number = version.number;
        let next = self.seat.clone().on_trial(version.clone());
        if let Err(error) = next.save(&self.config.data) {
            tracing::error!(%error, version = number, "a version cannot be tried yet");
            return Ok(());
        }
        tracing::info!(version = number, "it is on trial");
        self.seat = next;
        self.end(END_TIMEOUT).await?;
        if let Err(error) = before::keep(&self.config.data, &version) {
            self.take_back(format!("It was not tried: {}", causes(&error))).await?;
        }
        self.start().await
    }

    /// Becomes the program of what is to run. There is something to be done here only when it does not.
    async fn hand_over(
        &mut self,
        told: Pin<&mut impl Future<Output = Dynos>>,
    ) -> Result<Option<Dynos>, KeeperError> {
        let heir = self.seat.heir().to_owned();
        let error = match self.succeed(told).await {
            Ok(told) => return Ok(told),
            Err(error) => error,
        };
        if self.seat.trial.is_some() {
            self.take_back(format!("It is no keeper: {}", causes(&error))).await?;
            self.start().await?;
        } else {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, release = heir, "its program is not made the keeper");
            self.tried = true;
        }
        Ok(None)
    }

    /// Or whoever was told to stop in the meantime is to hear of it.
    async fn succeed(
        &mut self,
        told: Pin<&mut impl Future<Output = Dynos>>,
    ) -> Result<Option<Dynos>, SuccessionError> {
        let data = &self.config.data;
        let program = match self.seat.version() {
            None => self.own.clone(),
            Some(version) => {
                program::find(data, version, version.keeper()).ok_or(SuccessionError::Absent)?
            }
        };
        let platform = self.running.as_ref().and_then(|running| running.process);
        succession::ask(&program, &self.launch.flags, &self.seat, platform).await?;
        let next = self.seat.clone().handed_over();
        next.save(data).map_err(SuccessionError::Note)?;
        self.seat = next;
        let deaf = Deaf::begin()?;
        tokio::select! {
            dynos = told => return Ok(Some(dynos)),
            () = sleep(MOMENT) => {}
        }
        let policy = &self.config.upgrade;
        let within = policy.start + Duration::from_millis(keeper_probation_ms(policy));
        let lock = self.lock.pass_on().map_err(SuccessionError::Lock)?;
        let words = self.launch.keeper(self.seat.heir(), lock, &self.own);
        let error = succession::become_it(&program, &words, within);
        // It was not to be: all is as before.
        self.lock.keep().map_err(SuccessionError::Lock)?;
        succession::awake();
        drop(deaf);
        Err(error)
    }

    fn keep_it(&mut self) {
        let before = self.seat.good.clone();
        self.sit(self.seat.clone().kept());
        let kept: Vec<&Version> = self.seat.good.iter().chain(&before).collect();
        if let Err(error) = program::remove_others(&self.config.data, &kept) {
            tracing::warn!(%error, "what older versions have left could not be removed");
        }
    }

    async fn take_back(&mut self, mut why: String) -> Result<(), KeeperError> {
        self.end(TAKE_BACK_TIMEOUT).await?;
        if let Some(version) = &self.seat.trial {
            match before::put_back(&self.config.data, version) {
                Ok(changed) if changed.is_empty() => {}
                Ok(changed) => {
                    let left = before::aside(&self.config.data, version);
                    why = format!(
                        "{why}\nPut back as it was before: {}; what was left is in {}",
                        changed.join(", "),
                        left.display()
                    );
                }
                Err(error) => {
                    let kept = before::hold(&self.config.data, version);
                    why = format!(
                        "{why}\nNot all is as it was before: {}; what was is in {}",
                        causes(&error),
                        kept.display()
                    );
                }
            }
        }
        self.sit(self.seat.clone().taken_back(why));
        Ok(())
    }

    fn sit(&mut self, seat: Seat) {
        if let Some(verdict) = &seat.verdict {
            let number = verdict.version.number;
            match &verdict.failure {
                None => tracing::info!(version = number, "it is the good one now"),
                Some(why) => tracing::error!(version = number, why, "it is taken back"),
            }
        }
        self.seat = seat;
        self.saved = false;
        self.save();
    }

    /// What cannot be written down now holds all the same, and is tried again; the next keeper would
    /// find a trial that was interrupted, and take it back once more.
    fn save(&mut self) {
        if self.saved {
            return;
        }
        if let Err(error) = self.seat.save(&self.config.data) {
            tracing::error!(%error, "the verdict cannot be written down");
            return;
        }
        self.saved = true;
        // Not before: the next keeper, who finds a trial, puts back what was kept for it.
        if self.seat.trial.is_none()
            && let Err(error) = before::forget(&self.config.data)
        {
            tracing::warn!(%error, "what was kept for a trial could not be removed");
        }
    }

    async fn leave(mut self, dynos: Dynos) -> Result<(), KeeperError> {
        self.signal(dynos.signal());
        self.ended_within(END_TIMEOUT).await
    }

    async fn end(&mut self, patience: Duration) -> Result<(), KeeperError> {
        self.signal(Signal::SIGTERM);
        self.ended_within(patience).await
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.running.as_ref().and_then(|running| running.process) {
            process.signal(signal);
        }
    }

    /// Waits for its end, and helps when it does not come.
    async fn ended_within(&mut self, patience: Duration) -> Result<(), KeeperError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let Some(process) = running.process else { return Ok(()) };
        let began = Instant::now();
        let data = &self.config.data;
        while process.ended(data).map_err(KeeperError::Watch)?.is_none() {
            if began.elapsed() > patience {
                process.signal(Signal::SIGKILL);
            }
            sleep(END_TICK).await;
        }
        // What it has started in its own place, and which would keep the next one out.
        while let Some((stray, _)) = Process::find(data)? {
            stray.signal(Signal::SIGKILL);
            sleep(END_TICK).await;
        }
        Ok(())
    }
}

/// Or why not, for people.
fn run(command: Command) -> Result<Process, String> {
    Process::start(command).map_err(|error| error.to_string())
}

impl KeeperError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Locked(_) => "End the one that runs with `lathe stop`, or let it be.".into(),
            Self::Seat(_) => {
                "`lathe rescue` lists the versions that were good once: have one run with `lathe rescue \
                 release N`, or this program with `lathe rescue own`."
                    .into()
            }
            Self::Directory { .. } => "Check the disk, and that you are root.".into(),
            _ => "`lathe doctor` checks the machine and says how to mend it.".into(),
        }
    }
}
