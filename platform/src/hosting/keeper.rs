//! The keeper's loop: starts, watches and ends the platform's process. All choices are in `decide`.

use super::decide::{End, Seen, Step, decide};
use super::process::{KEPT, OWN, Process};
use super::{Launch, Seat, Version, before, dir, probe, program, seat};
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
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const TICK: Duration = Duration::from_millis(250);
const END_TICK: Duration = Duration::from_millis(20);
/// For a platform to end: what it has let in is answered first.
const END_TIMEOUT: Duration = Duration::from_secs(90);
/// For one that is taken back.
const TAKE_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nothing is kept running.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the directory {} cannot be used", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
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
    told: impl Future<Output = Dynos>,
) -> Result<(), KeeperError> {
    let path = dir(&config.data);
    let failed = |source| KeeperError::Directory { path: path.clone(), source };
    std::fs::create_dir_all(&path).map_err(failed)?;
    let _lock = DataLock::take(&path)?;
    let mut keeper = Keeper {
        config,
        launch,
        began: Instant::now(),
        seat: seat::read(&config.data).map_err(failed)?,
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
        keeper.save();
        keeper.look().await?;
        // One that cannot be read now is read the next time.
        let wish = seat::wished(&config.data).unwrap_or_default();
        let seen = keeper.running.as_ref().map(|running| &running.seen);
        match decide(&keeper.seat, wish.as_ref(), seen, &config.upgrade, keeper.now_ms()) {
            Step::Wait => {}
            Step::Start => keeper.start(),
            Step::Try(version) => keeper.try_out(version).await?,
            Step::Keep => keeper.keep_it(),
            Step::TakeBack(why) => {
                keeper.take_back(why).await?;
                keeper.start();
            }
        }
    }
}

/// Has the next keeper run the program that it is itself; refused while one runs.
pub fn be_own(data: &Path) -> Result<(), KeeperError> {
    let path = dir(data);
    let failed = |source| KeeperError::Directory { path: path.clone(), source };
    std::fs::create_dir_all(&path).map_err(failed)?;
    let _lock = DataLock::take(&path)?;
    let seat = seat::read(data).unwrap_or_default();
    Seat { good: None, trial: None, ..seat }.save(data).map_err(failed)
}

struct Keeper<'a> {
    config: &'a Config,
    launch: &'a Launch,
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
    /// has left, if that is the right one. A trial of which nothing runs was interrupted.
    async fn take_over(&mut self) -> Result<(), KeeperError> {
        let (process, release) = Process::find(&self.config.data)?.unzip();
        let is = |version: Option<&Version>| {
            release.as_deref() == Some(version.map_or(OWN, |version| version.release.as_str()))
        };
        let (right, good) = (is(self.seat.version()), is(self.seat.good.as_ref()));
        self.running = process.map(|process| self.watched(process));
        if self.seat.trial.is_some() && !right {
            if good {
                // It was not ended yet: it goes on as if nothing had been tried.
                let process = self.running.take();
                self.take_back("The keeper ended before it was tried".into()).await?;
                self.running = process;
                return Ok(());
            }
            return self.take_back("The machine or the keeper ended meanwhile".into()).await;
        }
        if right { Ok(()) } else { self.end(END_TIMEOUT).await }
    }

    fn watched(&self, process: Process) -> Running {
        let seen = Seen { started_ms: self.now_ms(), ready_ms: None, sick: None, ended: None };
        Running { process: Some(process), seen }
    }

    /// Starts what the seat says. One that cannot even be run has ended, for the next decision; but in
    /// the place of a good one this program serves, which always can.
    fn start(&mut self) {
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
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        run(self.verb(own, OWN, &model::Config::new()))
    }

    /// Or why not, for people.
    fn command(&self, version: &Version) -> Result<Command, String> {
        let data = &self.config.data;
        let program = program::find(data, version).ok_or("its program is not there")?;
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
        let Some(process) = running.process.as_mut().filter(|_| running.seen.ended.is_none())
        else {
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
        match (probe::ask(self.config).await, running.seen.sick.take()) {
            (Ok(()), _) => {
                running.seen.ready_ms.get_or_insert(now_ms);
                self.announce()
            }
            (Err(how), before) => {
                running.seen.sick = Some((before.map_or(now_ms, |(since_ms, _)| since_ms), how));
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
        self.start();
        Ok(())
    }

    fn keep_it(&mut self) {
        let before = self.seat.good.clone();
        self.sit(self.seat.clone().kept());
        let data = &self.config.data;
        let kept: Vec<&Version> = self.seat.good.iter().chain(&before).collect();
        if let Err(error) = program::remove_others(data, &kept).and_then(|()| before::forget(data))
        {
            tracing::warn!(%error, "what older versions have left could not be removed");
        }
    }

    async fn take_back(&mut self, mut why: String) -> Result<(), KeeperError> {
        self.end(TAKE_BACK_TIMEOUT).await?;
        if let Some(version) = &self.seat.trial {
            match before::put_back(&self.config.data, version) {
                Ok(changed) if changed.is_empty() => {}
                Ok(changed) => {
                    let left = dir(&self.config.data).join("left");
                    why = format!(
                        "{why}\nPut back as it was before: {}; what was left is in {}",
                        changed.join(", "),
                        left.display()
                    );
                }
                Err(error) => {
                    why = format!("{why}\nNot all is as it was before: {}", causes(&error));
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
        match self.seat.save(&self.config.data) {
            Ok(()) => self.saved = true,
            Err(error) => tracing::error!(%error, "the verdict cannot be written down"),
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
        if let Some(process) = self.running.as_ref().and_then(|running| running.process.as_ref()) {
            process.signal(signal);
        }
    }

    /// Waits for its end, and helps when it does not come.
    async fn ended_within(&mut self, patience: Duration) -> Result<(), KeeperError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let Some(mut process) = running.process else { return Ok(()) };
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
            Self::Directory { .. } => "Check the disk, and that you are root.".into(),
            _ => "`lathe doctor` checks the machine and says how to mend it.".into(),
        }
    }
}
