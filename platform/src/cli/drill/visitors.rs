//! Visitors of the apps, each with one request after the other on connections of their own.

use super::DrillError;
use super::apps::{NAMES, greeting};
use super::site::Site;
use crate::cli::bench::Latency;
use crate::cli::client::{self, ClientError};
use crate::cli::say::say;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(10);
/// A process that is killed may take something in for a moment yet.
const DYING: Duration = Duration::from_millis(50);

/// How a visit ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Right,
    /// Another app's page, or nobody's.
    Wrong,
    /// Another status than 200.
    Status(u16),
    /// Nobody was at the door.
    Refused,
    /// Let in, and not answered.
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) end: End,
}

/// What came of all visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Tally {
    pub(super) right: usize,
    /// Let in by a router that was killed then: nobody can answer them any more.
    pub(super) cut_with_their_router: usize,
    pub(super) cut: usize,
    pub(super) refused: usize,
    pub(super) other_status: usize,
    pub(super) wrong_app: usize,
}

impl Tally {
    /// `kills`: when a router was killed.
    pub(super) fn of(visits: &[Visit], kills: &[Instant]) -> Self {
        let mut tally = Self::default();
        for visit in visits {
            let hit = |kill: &Instant| visit.began <= *kill + DYING && *kill <= visit.ended;
            *match visit.end {
                End::Right => &mut tally.right,
                End::Cut if kills.iter().any(hit) => &mut tally.cut_with_their_router,
                End::Cut => &mut tally.cut,
                End::Refused => &mut tally.refused,
                End::Status(_) => &mut tally.other_status,
                End::Wrong => &mut tally.wrong_app,
            } += 1;
        }
        tally
    }

    fn failed(&self) -> usize {
        self.cut + self.refused + self.other_status + self.wrong_app
    }

    /// Somebody came, and nobody noticed anything that had to be.
    pub(super) fn all_well(&self) -> bool {
        self.right > 0 && self.failed() == 0
    }

    pub(super) fn show(&self, answers: &Latency) {
        let Self { cut, refused, other_status, wrong_app, .. } = self;
        say!("visits           {:>8}  {}", answers.requests, times(answers));
        say!("failed           {:>8}  {refused} refused, {cut} not answered,", self.failed());
        say!("{:27}{other_status} with another status, {wrong_app} by another app", "");
    }
}

impl Visit {
    pub(super) fn took(&self) -> Duration {
        self.ended - self.began
    }
}

pub(super) fn times(of: &Latency) -> String {
    format!("p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", of.p50_ms, of.p99_ms, of.max_ms)
}

#[derive(Debug)]
pub(super) struct Visitors {
    told: CancellationToken,
    tasks: Vec<JoinHandle<Vec<Visit>>>,
}

impl Visitors {
    pub(super) fn send(number: usize, site: &Site<'_>) -> Self {
        let told = CancellationToken::new();
        let router = site.endpoints.router;
        let visitor = |n: usize| {
            let (app, told) = (NAMES[n % NAMES.len()], told.clone());
            let domain = site.config.apps_domain.clone();
            tokio::spawn(async move {
                let mut visits = Vec::new();
                while !told.is_cancelled() {
                    visits.push(visit(router, app, &domain).await);
                    tokio::time::sleep(PAUSE).await;
                }
                visits
            })
        };
        let tasks = (0..number).map(visitor).collect();
        Self { told, tasks }
    }

    /// Each ends the visit that he is at.
    pub(super) async fn call_back(self) -> Result<Vec<Visit>, DrillError> {
        self.told.cancel();
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.map_err(DrillError::at("hear from every visitor"))?);
        }
        Ok(all)
    }
}

async fn visit(router: SocketAddr, app: &str, domain: &str) -> Visit {
    let began = Instant::now();
    let end = match client::get_app(router, app, domain).await {
        Ok((200, body)) if body.starts_with(&greeting(app)) => End::Right,
        Ok((200, _)) => End::Wrong,
        Ok((status, _)) => End::Status(status),
        Err(ClientError::Connect { .. }) => End::Refused,
        Err(_) => End::Cut,
    };
    Visit { began, ended: Instant::now(), end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_with_a_router_as_it_was_killed_counts_apart() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let kills = [at(1000), at(5000)];
        let table = [
            ((0, 10, End::Right), (true, false)),
            ((900, 1001, End::Cut), (false, true)),
            ((1010, 1020, End::Cut), (false, true)),
            ((1100, 1200, End::Cut), (false, false)),
            ((900, 999, End::Cut), (false, false)),
            ((990, 1010, End::Status(503)), (false, false)),
            ((990, 1010, End::Refused), (false, false)),
            ((990, 1010, End::Wrong), (false, false)),
        ];
        for ((began, ended, end), (right, excused)) in table {
            let visit = Visit { began: at(began), ended: at(ended), end };
            let tally = Tally::of(&[visit], &kills);
            let found = (tally.right == 1, tally.cut_with_their_router == 1);
            assert_eq!(found, (right, excused), "{visit:?}");
            assert_eq!(tally.failed() == 0, right || excused, "{visit:?}");
        }
    }
}
