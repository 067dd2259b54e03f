//! A version's rehearsal: it has to read a copy of the state, come up on a scratch platform, and pass
//! the acceptance suite there, before anything of this platform is touched.

use super::{Version, dir, probe, program};
use crate::config::{Config, SETTINGS, Surroundings};
use crate::host::instance::{self, InstanceError};
use crate::stack;
use crate::state::secrets::{KEY, Secrets};
use crate::state::{Copied, Health, StateError, Tally, examine};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The hidden verb by which a program brings a state to its schema.
pub const MIGRATE: &str = "migrate";

const ROUTER_TLS: &str = "LATHE_LISTEN_ROUTER_TLS";
const TICK: Duration = Duration::from_millis(250);
/// Of what a program said, for the reason.
const LINES: usize = 12;

/// Why a version is not put on trial.
#[derive(Debug, thiserror::Error)]
pub(super) enum RehearsalError {
    #[error("there is no room for it at {}", path.display())]
    Room {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the state cannot be copied for it")]
    State(#[from] StateError),
    #[error("it cannot be run")]
    Run(#[source] io::Error),
    #[error("it cannot use the state of this platform:\n{said}")]
    Unfit { said: String },
    #[error("its `{verb}` did not end within {} s (upgrade.start)", limit.as_secs())]
    Hangs { verb: &'static str, limit: Duration },
    #[error("its migrations lose what is in the state: {}", what.join(", "))]
    Loses { what: Vec<String> },
    #[error("after its migrations the state is {after:?} for the version that runs")]
    Ruins { after: Health },
    #[error("who runs there cannot be found")]
    Find(#[from] InstanceError),
    #[error("it ended ({how}) before it answered:\n{said}")]
    Ended { how: String, said: String },
    #[error("it did not answer within {} s (upgrade.start): {how}\n{said}", limit.as_secs())]
    Mute { limit: Duration, how: String, said: String },
    #[error("it was killed, and its keeper did not start it again within {} s (upgrade.start)", limit.as_secs())]
    NotKept { limit: Duration },
    #[error("a platform made by it does not work:\n{said}")]
    Failed { said: String },
    #[error("it took longer than {} s (upgrade.rehearsal); last seen: {last}", limit.as_secs())]
    Slow { limit: Duration, last: String },
    #[error("what it left could not be ended:\n{said}")]
    Leftovers { said: String },
}

/// Where it is done, and by whom it is judged.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    config: Arc<Config>,
    /// This program: a version does not judge itself.
    own: PathBuf,
}

impl Stage {
    pub(super) fn new(config: Arc<Config>, own: PathBuf) -> Self {
        Self { config, own }
    }

    fn room(&self) -> PathBuf {
        dir(&self.config.data).join("rehearsal")
    }

    /// Does it all, and leaves nothing.
    pub(super) async fn rehearse(
        &self,
        version: &Version,
        program: &Path,
        secrets: &Secrets,
    ) -> Result<(), RehearsalError> {
        self.clear().await?;
        let environment = version.environment(secrets)?;
        let limit = self.config.upgrade.rehearsal;
        let candidate = |data: &Path| {
            let mut command = self.verb(program, data);
            command.envs(environment.iter().filter(|(name, _)| *name != ROUTER_TLS));
            command
        };
        let mut last = "it was not started".to_owned();
        let mut running = None;
        let done = timeout(limit, async {
            self.use_state(candidate).await?;
            let child = self.start(candidate(&self.room().join("data")))?;
            let (_, child) = running.insert((Group(child.id()), child));
            self.perform(child, &mut last).await
        });
        let done = done.await;
        let done = done.unwrap_or(Err(RehearsalError::Slow { limit, last }));
        if let Some((mut group, mut child)) = running {
            // However it ends, nothing of it stays: its dynos are ended below. What hangs hears of nothing
            // else, also when the one that has started it has ended.
            if done.is_ok() {
                group.spare();
            }
            drop(group);
            child.kill().await.map_err(RehearsalError::Run)?;
        }
        let cleared = self.clear().await;
        done.and(cleared)
    }

    /// Ends what an interrupted rehearsal has left, and removes it.
    pub(super) async fn clear(&self) -> Result<(), RehearsalError> {
        let room = self.room();
        let data = room.join("data");
        // Twice: one that is met in the act of being killed is gone then, and its dynos are not.
        for last in [false, true] {
            if !data.exists() {
                break;
            }
            let mut stop = self.verb(&self.own, &data);
            let stopped = stop.args(["stop", "--stop-dynos"]).output().await;
            let stopped = stopped.map_err(RehearsalError::Run)?;
            if stopped.status.success() {
                continue;
            }
            if last {
                return Err(RehearsalError::Leftovers { said: said(&stopped) });
            }
            // It hangs. The keeper first, who would start another.
            for place in [instance::keeper_dir(&data), data.clone()] {
                if let Some(pid) = instance::holder(&place)? {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
            }
        }
        program::remove(&room).map_err(|source| RehearsalError::Room { path: room, source })
    }

    /// On a copy: its migrations have to succeed and to lose nothing, it has to find the state sound then,
    /// and whoever comes back to it after them finds it sound, or of a newer schema, which is refused.
    async fn use_state(&self, candidate: impl Fn(&Path) -> Command) -> Result<(), RehearsalError> {
        let copy = self.room().join("state");
        let state = copy.join("state.db");
        let failed = |source| RehearsalError::Room { path: copy.clone(), source };
        fs::create_dir_all(&copy).map_err(failed)?;
        fs::copy(self.config.data.join(KEY), copy.join(KEY)).map_err(failed)?;
        drop(Copied::make(&self.config.data, &state)?);
        let before = Tally::of(&state)?;
        for verb in [MIGRATE, "rescue"] {
            let done = self.ends(verb, candidate(&copy)).await?;
            if !done.status.success() {
                return Err(RehearsalError::Unfit { said: said(&done) });
            }
        }
        let what = before.lost(&Tally::of(&state)?);
        if !what.is_empty() {
            return Err(RehearsalError::Loses { what });
        }
        match examine(&state) {
            Health::Sound { .. } | Health::Newer { .. } => Ok(()),
            after => Err(RehearsalError::Ruins { after }),
        }
    }

    /// What the verb says. It has no more time than a trial gives to all of a start, and nothing that it
    /// has started goes on.
    async fn ends(
        &self,
        verb: &'static str,
        mut command: Command,
    ) -> Result<Output, RehearsalError> {
        command.arg(verb).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(RehearsalError::Run)?;
        let _group = Group(child.id());
        let limit = self.config.upgrade.start;
        let ended = timeout(limit, child.wait_with_output()).await;
        ended.map_err(|_| RehearsalError::Hangs { verb, limit })?.map_err(RehearsalError::Run)
    }

    fn start(&self, mut up: Command) -> Result<Child, RehearsalError> {
        let (data, log) = (self.room().join("data"), self.log());
        let failed = |source| RehearsalError::Room { path: log.clone(), source };
        fs::create_dir_all(&data).map_err(failed)?;
        let out = File::create(&log).map_err(failed)?;
        up.args(["up", "--self-hosted"]).stdout(out.try_clone().map_err(failed)?).stderr(out);
        up.spawn().map_err(RehearsalError::Run)
    }

    fn log(&self) -> PathBuf {
        self.room().join("up.log")
    }

    async fn perform(&self, child: &mut Child, last: &mut String) -> Result<(), RehearsalError> {
        let data = self.room().join("data");
        self.answers(&data, child, last).await?;
        self.is_kept(&data, child, last).await?;
        "it answers, and is tested".clone_into(last);
        let tested = self.verb(&self.own, &data).arg("selftest").output().await;
        let tested = tested.map_err(RehearsalError::Run)?;
        if tested.status.success() {
            Ok(())
        } else {
            Err(RehearsalError::Failed { said: said(&tested) })
        }
    }

    /// Its keeper has to start it again.
    async fn is_kept(
        &self,
        data: &Path,
        child: &mut Child,
        last: &mut String,
    ) -> Result<(), RehearsalError> {
        let holder = || instance::holder(data);
        let Some(first) = holder()? else { return Ok(()) };
        kill(Pid::from_raw(first), Signal::SIGKILL).ok();
        "it was killed, and its keeper does not start it again".clone_into(last);
        let (began, limit) = (Instant::now(), self.config.upgrade.start);
        while holder()?.is_none_or(|pid| pid == first) {
            if began.elapsed() >= limit {
                return Err(RehearsalError::NotKept { limit });
            }
            sleep(TICK).await;
        }
        self.answers(data, child, last).await
    }

    async fn answers(
        &self,
        data: &Path,
        child: &mut Child,
        last: &mut String,
    ) -> Result<(), RehearsalError> {
        let scratch = Config { data: data.to_owned(), ..(*self.config).clone() };
        let said = || tail(&fs::read(self.log()).unwrap_or_default());
        let (mut began, limit) = (Instant::now(), self.config.upgrade.start);
        loop {
            // Those that it needs and nobody has needed before: it takes minutes, and is progress.
            if stack::is_building(&self.config) {
                began = Instant::now();
            }
            if let Some(status) = child.try_wait().map_err(RehearsalError::Run)? {
                return Err(RehearsalError::Ended { how: status.to_string(), said: said() });
            }
            match probe::ask(&scratch).await {
                Ok(()) => return Ok(()),
                // Its keeper starts one that ends again and again.
                Err(how) if began.elapsed() >= limit => {
                    return Err(RehearsalError::Mute { limit, how, said: said() });
                }
                Err(how) => *last = how,
            }
            sleep(TICK).await;
        }
    }

    /// A verb on a scratch data directory, with the settings of this platform but where it is.
    fn verb(&self, program: &Path, data: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--data").arg(data);
        let network = format!("10.253.{}.0/24", std::process::id() % 256);
        let ports = ["api_tls", "api_plain", "rendezvous", "router"]
            .map(|name| format!("listen.{name}=127.0.0.1:0"));
        for setting in ports.into_iter().chain([format!("network={network}")]).chain(self.set()) {
            command.arg("--set").arg(setting);
        }
        // As a variable: an older version knows no such setting, and passes over it.
        command.env(ROUTER_TLS, "127.0.0.1:0");
        command.stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        command
    }

    /// What an operator has set here: an older version need not know what nobody has set.
    fn set(&self) -> impl Iterator<Item = String> {
        let defaults = Config::defaults(&Surroundings::of_this_process());
        let place = |key: &str| key == "data" || key == "network" || key.starts_with("listen.");
        SETTINGS.iter().filter(move |setting| !place(setting.key)).filter_map(move |setting| {
            let value = (setting.show)(&self.config);
            (value != (setting.show)(&defaults)).then(|| format!("{}={value}", setting.key))
        })
    }
}

/// A program that leads its group, and all it has started: killed when this is let go.
struct Group(Option<u32>);

impl Group {
    /// Whoever is left is ended in another way.
    fn spare(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL).ok();
        }
    }
}

fn said(output: &Output) -> String {
    tail(&[output.stdout.as_slice(), &output.stderr].concat())
}

fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines.split_at(lines.len().saturating_sub(LINES)).1.join("\n")
}
