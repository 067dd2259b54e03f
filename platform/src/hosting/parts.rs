//! The platform's own processes, which are no dynos of a formation: as users see them, and begun anew.

use super::POST;
use crate::config::Config;
use crate::control::running::Dyno;
use crate::host::instance;
use crate::state::model::{App, Release};
use crate::state::{StateError, Tx, releases, system};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fs;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A process of the platform's, as whoever keeps it sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub id: String,
    pub process_type: &'static str,
    /// 1 for the one that serves.
    pub number: usize,
    /// The id of the release it was started for, if that is known.
    pub release: Option<String>,
    /// One of Heroku's words.
    pub state: &'static str,
    pub since: Timestamp,
}

/// What is seen of the parts beside this process, and what is asked of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    routers: Arc<watch::Sender<Vec<Part>>>,
    asked: Arc<watch::Sender<Asked>>,
    again: CancellationToken,
}

/// How often something was to begin anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Asked {
    routers: u64,
    platform: bool,
}

/// What is to begin anew: the same release once more, with nobody turned away meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anew {
    All,
    Router,
    Platform,
}

impl Anew {
    /// By a process type or a process's name.
    pub fn named(name: &str) -> Option<Self> {
        match name.split('.').next() {
            Some(system::ROUTER) => Some(Self::Router),
            Some(system::PLATFORM) => Some(Self::Platform),
            _ => None,
        }
    }
}

impl Parts {
    /// `again` ends this platform, so that the same program begins anew.
    pub fn new(again: CancellationToken) -> Self {
        let unseen = Part {
            id: identity(system::ROUTER),
            process_type: system::ROUTER,
            number: 1,
            release: None,
            state: "starting",
            since: Timestamp::now(),
        };
        // Until somebody has looked.
        let routers = Arc::new(watch::Sender::new(vec![unseen]));
        Self { routers, asked: Arc::default(), again }
    }

    /// Whoever keeps the routers says what there is: nothing beside a router in this process.
    pub fn see_routers(&self, routers: Vec<Part>) {
        self.routers.send_if_modified(|seen| {
            let changed = *seen != routers;
            *seen = routers;
            changed
        });
    }

    pub fn begin(&self, anew: Anew) {
        self.asked.send_modify(|asked| {
            asked.routers += u64::from(anew != Anew::Platform);
            asked.platform |= anew != Anew::Router;
        });
    }

    /// Carries out what is asked: `renew` sees to it that the routers become others, whoever is the
    /// platform by then. Without a router of its own there is nothing to renew.
    pub async fn carry_out(&self, mut renew: impl FnMut()) {
        let mut asked = self.asked.subscribe();
        let mut renewed = 0;
        while asked.changed().await.is_ok() {
            let now = *asked.borrow_and_update();
            if now.routers > renewed {
                renewed = now.routers;
                renew();
            }
            if now.platform {
                self.again.cancel();
            }
        }
    }

    /// Every process of the platform. `since`: this one.
    pub fn all(
        &self,
        tx: &Tx<'_>,
        app: &App,
        config: &Config,
        since: Timestamp,
    ) -> Result<Vec<Dyno>, StateError> {
        let platform = Part {
            id: app.id.clone(),
            process_type: system::PLATFORM,
            number: 1,
            release: config.kept.clone(),
            state: "up",
            since,
        };
        let releases = releases::all(tx, &app.id)?;
        let beside = keeper(config).into_iter().chain(self.routers.borrow().clone());
        let parts = std::iter::once(platform).chain(beside);
        Ok(parts.map(|part| shown(part, &releases)).collect())
    }
}

/// A release that is not known any more is the one from before there were releases of the platform.
fn shown(part: Part, releases: &[Release]) -> Dyno {
    let it = |release: &&Release| Some(&release.id) == part.release.as_ref();
    let release = releases.iter().find(it).or(releases.first());
    let command = release.and_then(|release| release.slug.as_ref()?.command(part.process_type));
    let verb = system::verb(part.process_type).join(" ");
    Dyno {
        id: part.id,
        name: format!("{}.{}", part.process_type, part.number),
        process_type: part.process_type.to_owned(),
        command: command.map_or_else(|| format!("lathe {verb}"), str::to_owned),
        size: "Host".to_owned(),
        release: release.map_or(1, |release| release.version),
        state: part.state,
        since: part.since,
    }
}

/// The process that keeps this one, found as `lathe stop` finds it.
fn keeper(config: &Config) -> Option<Part> {
    let dir = super::dir(&config.data);
    let pid = instance::holder(&dir).ok()??;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip_while(|word| *word != POST.as_bytes());
    let release = words.nth(1).map(|word| String::from_utf8_lossy(word).into_owned());
    // Written when a program becomes the keeper.
    let since = fs::metadata(dir.join("lock")).and_then(|about| about.modified()).ok()?;
    Some(Part {
        id: identity(&format!("keeper {pid}")),
        process_type: system::KEEPER,
        number: 1,
        release,
        state: "up",
        since: since.try_into().ok()?,
    })
}

/// Lists need one.
fn identity(name: &str) -> String {
    let digest = Sha256::digest(name);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn routers_are_renewed_before_the_platform_begins_anew() {
        let again = CancellationToken::new();
        let parts = Parts::new(again.clone());
        let renewed = AtomicU32::new(0);
        let carry_out = parts.carry_out(|| {
            assert!(!again.is_cancelled());
            renewed.fetch_add(1, Ordering::Relaxed);
        });
        tokio::pin!(carry_out);
        let count = || renewed.load(Ordering::Relaxed);
        for (anew, expected) in [(Anew::Router, 1), (Anew::Router, 2), (Anew::All, 3)] {
            assert!(!again.is_cancelled());
            tokio::select! {
                biased;
                () = &mut carry_out => {}
                () = std::future::ready(()) => parts.begin(anew),
            }
            tokio::select! {
                biased;
                () = &mut carry_out => {}
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(count(), expected);
        }
        assert!(again.is_cancelled());
        assert_eq!(Anew::named("router.2"), Some(Anew::Router));
        assert_eq!(Anew::named("platform"), Some(Anew::Platform));
        assert_eq!(Anew::named("keeper.1"), None);
    }
}
