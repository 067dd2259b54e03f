//! The platform's end of the link: feeds every router there is, and takes in what they tell.
//!
//! Lines are counted twice, in files: by the router when it writes them, by the desk when it takes
//! them. The second count says where to go on after either has died, and the difference, once a
//! router has ended, how many lines are lost with it.

use super::error::LinkError;
use super::message::{Down, Hello, Report, Up};
use super::parcel::Item;
use super::{KEYRING_SINCE, OLDEST, VERSION};
use crate::{Demand, Feed, InForce, Keyring, Routes};
use jiff::Timestamp;
use lathe_logs::clock::steady_ms;
use lathe_logs::{Ledger, Sender};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};

/// Whoever connects says within this who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tables a router may be behind and still be credited with using none but these.
const TABLES_MAX: usize = 64;

/// Shared by all connections.
#[derive(Debug)]
pub struct Desk {
    /// Where lines are counted: `<router>.sent` by the router, `<router>.taken` by us.
    dir: PathBuf,
    logs: Sender,
    demand: Demand,
    routes: watch::Receiver<Arc<Routes>>,
    keyring: watch::Receiver<Arc<Keyring>>,
    in_force: InForce,
    guests: Mutex<BTreeMap<String, Guest>>,
    changed: Notify,
}

/// A router that is connected.
#[derive(Debug, Default)]
struct Guest {
    report: Option<Report>,
    /// The table it has said it uses, and those it was sent since.
    tables: VecDeque<Arc<Routes>>,
}

/// A guest's place; free again when dropped.
struct Seat<'a> {
    desk: &'a Desk,
    router: &'a str,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.desk.guests().remove(self.router);
        self.desk.changed.notify_one();
    }
}

impl Desk {
    /// `dir` is there, and nobody but us writes in it. Of all routers that take requests, the oldest
    /// table that one of them has is said to be `in_force`.
    pub fn new(dir: PathBuf, logs: Sender, demand: Demand, feed: Feed, in_force: InForce) -> Self {
        let (guests, changed) = (Mutex::default(), Notify::new());
        let Feed { routes, keyring } = feed;
        Self { dir, logs, demand, routes, keyring, in_force, guests, changed }
    }

    /// The file in which the router of this name counts the lines it writes.
    pub fn sent(&self, router: &str) -> PathBuf {
        self.dir.join(format!("{router}.sent"))
    }

    fn taken(&self, router: &str) -> PathBuf {
        self.dir.join(format!("{router}.taken"))
    }

    /// Whether there may be more to hear of the router.
    pub fn is_connected(&self, router: &str) -> bool {
        self.guests().contains_key(router)
    }

    /// Whether the router is connected and has said what it does: serving, or leaving.
    pub fn is_leaving(&self, router: &str) -> Option<bool> {
        self.guests().get(router)?.report.as_ref().map(|report| report.leaving)
    }

    /// Returns when a router has come, gone, or begun to leave. Safe to cancel.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The identities of the dynos that have requests, or may get some by a table that a router has
    /// not said to have replaced.
    pub fn busy(&self) -> BTreeSet<String> {
        self.guests().values().flat_map(Guest::busy).collect()
    }

    /// Serves one router for as long as it is connected.
    pub async fn attend(&self, stream: UnixStream) -> Result<(), LinkError> {
        let (from, mut to) = stream.into_split();
        let mut from = BufReader::new(from);
        let first = tokio::time::timeout(PATIENCE, Up::read(&mut from)).await;
        let Ok(Some(Up::Hello(Hello { version, router }))) = first.unwrap_or(Ok(None)) else {
            return Err(LinkError::Malformed { what: "first word" });
        };
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(LinkError::Version(version));
        }
        if uuid::Uuid::parse_str(&router).is_err() {
            return Err(LinkError::Malformed { what: "name" });
        }
        // Its last connection has not been read to its end: it comes again.
        let Some(_seat) = self.seat(&router) else { return Ok(()) };
        let account = Ledger::open(&self.taken(&router)).map_err(LinkError::Account)?;
        let position = account.sent().values().sum();
        Down::Taken(position).write(&mut to).await?;
        let taken = watch::Sender::new(position);
        let told = taken.subscribe();
        let say = async {
            let keyring = (version >= KEYRING_SINCE).then(|| self.keyring.clone());
            if let Err(error) = self.say(&router, to, told, keyring).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a router is gone");
            }
            // What it has said is read to the end all the same.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = self.hear(&router, from, &account, &taken) => ended,
            () = say => Ok(()),
        }
    }

    fn seat<'a>(&'a self, router: &'a str) -> Option<Seat<'a>> {
        let mut guests = self.guests();
        if guests.contains_key(router) {
            return None;
        }
        guests.insert(router.to_owned(), Guest::default());
        Some(Seat { desk: self, router })
    }

    async fn hear(
        &self,
        router: &str,
        mut from: BufReader<OwnedReadHalf>,
        account: &Ledger,
        taken: &watch::Sender<u64>,
    ) -> Result<(), LinkError> {
        while let Some(up) = Up::read(&mut from).await? {
            match up {
                Up::Hello(_) => return Err(LinkError::Malformed { what: "second hello" }),
                Up::Report(report) => self.note(router, report),
                Up::Parcel(items) => {
                    let lines = self.take(&items, account);
                    taken.send_modify(|position| *position += lines);
                }
            }
        }
        Ok(())
    }

    async fn say(
        &self,
        router: &str,
        mut to: OwnedWriteHalf,
        mut taken: watch::Receiver<u64>,
        mut keyrings: Option<watch::Receiver<Arc<Keyring>>>,
    ) -> Result<(), LinkError> {
        let mut tables = self.routes.clone();
        tables.mark_changed();
        if let Some(keyrings) = &mut keyrings {
            keyrings.mark_changed();
        }
        loop {
            let down = tokio::select! {
                Ok(()) = tables.changed() => {
                    let table = Arc::clone(&tables.borrow_and_update());
                    // Before the first decision there is none.
                    if table.generation == 0 {
                        continue;
                    }
                    if let Some(guest) = self.guests().get_mut(router) {
                        guest.is_sent(&table);
                    }
                    Down::Table(table)
                }
                Some(keyring) = next(&mut keyrings) => {
                    if keyring.default.is_none() {
                        continue;
                    }
                    Down::Keyring(keyring)
                }
                Ok(()) = taken.changed() => Down::Taken(*taken.borrow_and_update()),
                else => return Ok(()),
            };
            down.write(&mut to).await?;
        }
    }

    fn note(&self, router: &str, report: Report) {
        for (app, ms) in report.asked_by(steady_ms()) {
            self.demand.note(app, ms);
        }
        if report.rung {
            self.demand.ring();
        }
        let is_news = {
            let mut guests = self.guests();
            let Some(guest) = guests.get_mut(router) else { return };
            let is_news = guest.says(report);
            if let Some(generation) = oldest_in_force(guests.values()) {
                self.in_force.is_now(generation);
            }
            is_news
        };
        if is_news {
            self.changed.notify_one();
        }
    }

    /// Hands lines to the hub; how many they were.
    fn take(&self, items: &[Item], account: &Ledger) -> u64 {
        for run in items.chunk_by(|a, b| a.app == b.app && a.is_line() && b.is_line()) {
            let Some(first) = run.first() else { continue };
            if first.is_line() {
                let lines: Vec<_> = run.iter().filter_map(Item::line).collect();
                self.logs.send_all(&first.app, lines.into_iter());
            } else {
                self.logs.lost(&first.app, first.lines(), first.time);
            }
            // Afterwards: were we to die in between, these come twice, which is better than never.
            account.add(&first.app, run.iter().map(Item::lines).sum());
        }
        items.iter().map(Item::lines).sum()
    }

    /// After a router's end: what it has written and nobody has taken is counted as lost.
    pub fn settle(&self, router: &str) -> io::Result<()> {
        let (sent, taken) = (self.sent(router), self.taken(router));
        let (wrote, took) = (Ledger::open(&sent)?.sent(), Ledger::open(&taken)?.sent());
        for (app, lines) in wrote {
            let lost = lines.saturating_sub(took.get(&app).copied().unwrap_or(0));
            if lost > 0 {
                self.logs.lost(&app, lost, Timestamp::now());
            }
        }
        remove(&sent).and_then(|()| remove(&taken))
    }

    /// The routers that have an account here, whether or not there are such routers any more.
    pub fn accounts(&self) -> io::Result<BTreeSet<String>> {
        let mut routers = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = PathBuf::from(entry?.file_name());
            routers.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
        }
        Ok(routers)
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<String, Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    fn is_sent(&mut self, table: &Arc<Routes>) {
        if self.tables.len() >= TABLES_MAX {
            // The one in use and the newest matter most.
            self.tables.remove(1);
        }
        self.tables.push_back(Arc::clone(table));
    }

    /// Whether that is more than figures.
    fn says(&mut self, report: Report) -> bool {
        while self.tables.get(1).is_some_and(|next| next.generation <= report.generation) {
            self.tables.pop_front();
        }
        let before = self.report.replace(report);
        before.map(|report| report.leaving) != self.report.as_ref().map(|report| report.leaving)
    }

    fn busy(&self) -> BTreeSet<String> {
        let mut busy = self.report.as_ref().map(|report| report.busy.clone()).unwrap_or_default();
        // To those of the newest table requests go anyway.
        let older = self.tables.iter().rev().skip(1);
        let targets = older.flat_map(|table| table.apps.values()).flat_map(|app| &app.targets);
        busy.extend(targets.map(|target| target.dyno.clone()));
        busy
    }
}

/// Of the tables by which requests go somewhere; none while no router takes any.
fn oldest_in_force<'a>(guests: impl Iterator<Item = &'a Guest>) -> Option<u64> {
    let reports = guests.filter_map(|guest| guest.report.as_ref());
    reports.filter(|report| !report.leaving).map(|report| report.generation).min()
}

/// The next keyring for a router that knows what that is.
async fn next(keyrings: &mut Option<watch::Receiver<Arc<Keyring>>>) -> Option<Arc<Keyring>> {
    let keyrings = keyrings.as_mut()?;
    keyrings.changed().await.ok()?;
    Some(Arc::clone(&keyrings.borrow_and_update()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppRoute, Availability, Target};
    use lathe_logs::AppId;

    fn table(generation: u64, dyno: &str) -> Arc<Routes> {
        let address = "10.0.0.1:80".parse().unwrap();
        let target = Target { dyno: dyno.into(), name: "web.1".into(), address, weight: 1 };
        let route = AppRoute {
            name: "app".into(),
            availability: Availability::Serving,
            release: 1,
            targets: vec![target],
        };
        let apps = [(AppId::new("a"), Arc::new(route))].into();
        Arc::new(Routes { generation, apps, ..Routes::default() })
    }

    #[test]
    fn a_table_is_in_force_when_every_router_that_takes_requests_has_it() {
        let says = |generation, leaving| {
            let report = Report { generation, leaving, ..Report::default() };
            Guest { report: Some(report), ..Guest::default() }
        };
        for (guests, expected) in [
            (vec![], None),
            (vec![Guest::default()], None),
            (vec![Guest::default(), says(7, false)], Some(7)),
            (vec![says(7, false), says(5, false)], Some(5)),
            (vec![says(7, false), says(5, true)], Some(7)),
            (vec![says(7, true)], None),
        ] {
            assert_eq!(oldest_in_force(guests.iter()), expected);
        }
    }

    #[test]
    fn a_dyno_is_busy_until_every_router_has_said_that_it_uses_a_table_without_it() {
        let mut guest = Guest::default();
        let says = |guest: &mut Guest, generation, busy: &[&str]| {
            let busy = busy.iter().map(|dyno| (*dyno).to_owned()).collect();
            guest.says(Report { generation, busy, ..Report::default() })
        };
        let busy = |guest: &Guest| guest.busy().into_iter().collect::<Vec<_>>().join(" ");
        guest.is_sent(&table(1, "one"));
        assert!(says(&mut guest, 1, &[]), "it has come");
        assert_eq!(busy(&guest), "");
        guest.is_sent(&table(2, "two"));
        guest.is_sent(&table(3, "three"));
        assert_eq!(busy(&guest), "one two");
        assert!(!says(&mut guest, 2, &["one"]));
        assert_eq!(busy(&guest), "one two");
        assert!(!says(&mut guest, 3, &["two"]));
        assert_eq!(busy(&guest), "two");
        assert!(!says(&mut guest, 3, &[]));
        assert_eq!(busy(&guest), "");
    }
}
