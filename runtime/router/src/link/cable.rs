//! The router's end of the link: connects, again and again, and keeps for the platform what it can.

use super::VERSION;
use super::error::LinkError;
use super::message::{Down, Hello, Report, Up};
use super::outbox::Outbox;
use super::parcel::{self, Item, What};
use crate::{Demand, InFlight, InForce, Keyring, Routes};
use lathe_logs::clock::steady_ms;
use lathe_logs::{Line, Receiver};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Between two attempts to reach the platform; longer and longer when it turns us away, because it
/// speaks another version for instance.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked what is in flight; the platform waits longer before it ends a dyno.
const LOOK: Duration = Duration::from_millis(100);
/// How long a router that is over waits for its last lines to be taken.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the link carries.
#[derive(Debug)]
pub struct Cable {
    /// The platform's socket.
    pub path: PathBuf,
    /// This router's identity, never used again: a UUID.
    pub router: String,
    /// Where the platform's tables go; the router tells newer from older ones.
    pub tables: watch::Sender<Arc<Routes>>,
    /// Where its keyrings go.
    pub keyrings: watch::Sender<Arc<Keyring>>,
    /// What the router logs; its queue bounds what waits while the platform is away.
    pub lines: Receiver,
    pub in_flight: InFlight,
    pub in_force: InForce,
    pub demand: Demand,
}

/// How far a router has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Serving,
    /// It accepts nothing more, and finishes what it has.
    Leaving,
    /// Nothing is in flight any more.
    Over,
}

/// A cable in use.
struct Held {
    cable: Cable,
    outbox: Outbox,
    /// No line will come any more.
    silent: bool,
}

impl Cable {
    /// Holds the link until `life` is over and its last lines are taken, or cannot be in time.
    pub async fn hold(self, life: watch::Receiver<Life>) {
        let mut ending = life.clone();
        let over = async move {
            // A router that is gone altogether is over, too.
            drop(ending.wait_for(|life| *life == Life::Over).await);
            sleep(LAST_WORDS).await;
        };
        let mut held = Held { cable: self, outbox: Outbox::default(), silent: false };
        tokio::select! {
            () = held.run(life) => {}
            () = over => {}
        }
    }
}

impl Held {
    async fn run(&mut self, mut life: watch::Receiver<Life>) {
        let mut pause = PAUSE;
        while !(self.silent && self.outbox.is_empty()) {
            let talked = match UnixStream::connect(&self.cable.path).await {
                Ok(stream) => self.talk(stream, &mut life).await,
                // Nobody there is the ordinary case: the platform is on its way.
                Err(_) => Ok(true),
            };
            let welcome = talked.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the link has ended");
                false
            });
            pause = if welcome { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            sleep(pause).await;
        }
    }

    /// One connection, to its end; whether we were welcome.
    async fn talk(
        &mut self,
        stream: UnixStream,
        life: &mut watch::Receiver<Life>,
    ) -> Result<bool, LinkError> {
        let (mut from, mut to) = stream.into_split();
        let router = self.cable.router.clone();
        Up::Hello(Hello { version: VERSION, router }).write(&mut to).await?;
        let Some(Down::Taken(position)) = Down::read(&mut from).await? else { return Ok(false) };
        self.outbox.rewind(position);
        let taken = watch::Sender::new(position);
        let feeds = (self.cable.tables.clone(), self.cable.keyrings.clone());
        let heard = taken.subscribe();
        tokio::select! {
            ended = hear(from, &feeds, &taken) => ended,
            ended = self.say(to, heard, life) => ended,
        }?;
        Ok(true)
    }

    /// Until every last line is taken.
    async fn say(
        &mut self,
        mut to: OwnedWriteHalf,
        mut taken: watch::Receiver<u64>,
        life: &mut watch::Receiver<Life>,
    ) -> Result<(), LinkError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_force = self.cable.in_force.changes();
        let mut reporter = Reporter::default();
        let mut batch = Vec::with_capacity(parcel::ITEMS_MAX);
        loop {
            let room = self.outbox.room().min(parcel::ITEMS_MAX);
            let mut rung = false;
            let mut lines = 0;
            let news = tokio::select! {
                Ok(()) = taken.changed() => false,
                many = self.cable.lines.recv_lines(&mut batch, room), if room > 0 && !self.silent => {
                    self.silent = many == 0;
                    lines = many;
                    false
                }
                Ok(()) = in_force.changed() => true,
                Ok(()) = life.changed() => true,
                () = self.cable.demand.rung() => {
                    rung = true;
                    true
                }
                _ = look.tick() => true,
            };
            self.outbox.taken(*taken.borrow_and_update());
            if room > 0 {
                self.put_in(&mut batch);
            }
            if (1..room).contains(&lines) {
                // Requests that end at this moment, too, say so first: that is one frame for all.
                yield_now().await;
                self.cable.lines.try_recv_lines(&mut batch, room - lines);
                self.put_in(&mut batch);
            }
            if news {
                let leaving = *life.borrow_and_update() != Life::Serving;
                if let Some(report) = reporter.report(&self.cable, rung, leaving) {
                    Up::Report(report).write(&mut to).await?;
                }
            }
            while self.outbox.has_unsent() {
                let items = self.outbox.next(parcel::ITEMS_MAX).cloned().collect();
                Up::Parcel(items).write(&mut to).await?;
            }
            if self.silent && self.outbox.is_empty() {
                return Ok(());
            }
        }
    }

    /// Lines, and how many others the queue has had no place for.
    fn put_in(&mut self, batch: &mut Vec<Line>) {
        let lines = batch.drain(..).map(|line| (line.app, line.time, What::Line(line.text)));
        let losses = self.cable.lines.losses().into_iter();
        let losses = losses.map(|(app, lines, since)| (app, since, What::Lost(lines)));
        let items = lines.chain(losses).map(|(app, time, what)| Item { app, time, what });
        items.filter(Item::fits).for_each(|item| self.outbox.push(item));
    }
}

/// Takes in what the platform sends, to its end.
async fn hear(
    mut from: OwnedReadHalf,
    (tables, keyrings): &(watch::Sender<Arc<Routes>>, watch::Sender<Arc<Keyring>>),
    taken: &watch::Sender<u64>,
) -> Result<(), LinkError> {
    while let Some(down) = Down::read(&mut from).await? {
        match down {
            Down::Table(routes) => drop(tables.send_replace(routes)),
            Down::Keyring(keyring) => drop(keyrings.send_replace(keyring)),
            Down::Taken(position) => drop(taken.send_replace(position)),
        }
    }
    Ok(())
}

/// Says what has changed since it was last said on this connection.
#[derive(Default)]
struct Reporter {
    told: Option<Report>,
    /// Apps asked for before this have been named.
    asked_ms: u64,
}

impl Reporter {
    fn report(&mut self, cable: &Cable, rung: bool, leaving: bool) -> Option<Report> {
        // The table first: a request that it has led to a dyno is in flight by then.
        let generation = *cable.in_force.changes().borrow();
        let last = cable.demand.last_ms();
        let newest = last.values().copied().max().unwrap_or(0);
        let mut asked: Vec<_> = last.into_iter().filter(|(_, ms)| *ms >= self.asked_ms).collect();
        asked.sort();
        self.asked_ms = newest;
        let busy = cable.in_flight.dynos();
        let report = Report { generation, busy, asked, now_ms: 0, rung: false, leaving };
        if self.told.as_ref() == Some(&report) && !rung {
            return None;
        }
        self.told = Some(report.clone());
        Some(Report { rung, now_ms: steady_ms(), ..report })
    }
}
