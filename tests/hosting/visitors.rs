//! Who comes to a platform all the time, and has to be answered whatever becomes of it meanwhile.

use lathe_tests::{Platform, request_on};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Visits one after the other until told to stop; what was wrong with any is remembered.
pub(crate) struct Visitors {
    stop: Arc<AtomicBool>,
    visits: JoinHandle<(usize, Vec<String>)>,
}

/// What became of one visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Visit {
    Answered(u16),
    /// Nobody listens.
    Refused,
    Lost,
}

fn visit(at: SocketAddr, host: &str, path: &str, headers: &[(&str, &str)]) -> Visit {
    let Ok(stream) = TcpStream::connect(at) else { return Visit::Refused };
    let answer = request_on(stream, "GET", host, path, headers, b"");
    answer.map_or(Visit::Lost, |answer| Visit::Answered(answer.status))
}

impl Visitors {
    /// To an app, by the router.
    pub(crate) fn start(router: SocketAddr, app: &str) -> Self {
        let host = format!("{app}.localhost");
        Self::come(Duration::from_millis(5), move || visit(router, &host, "/", &[]))
    }

    /// To the API. A platform that ends lets those go who have not said yet what they want: they ask
    /// the next one.
    pub(super) fn of_api(platform: &Platform) -> Self {
        let (api, bearer) = (platform.address("api_plain"), format!("Bearer {}", platform.token()));
        let ask = move || visit(api, "localhost", "/account", &[("Authorization", &bearer)]);
        // Few enough for the budget of an account.
        Self::come(Duration::from_millis(50), move || {
            std::iter::repeat_with(&ask).find(|seen| *seen != Visit::Lost).unwrap_or(Visit::Lost)
        })
    }

    fn come(pause: Duration, visit: impl Fn() -> Visit + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let visits = std::thread::spawn(move || {
            let (mut count, mut failed) = (0, Vec::new());
            while !told.load(Ordering::Relaxed) {
                count += 1;
                match visit() {
                    Visit::Answered(200) => {}
                    other => failed.push(format!("{other:?}")),
                }
                std::thread::sleep(pause);
            }
            (count, failed)
        });
        Self { stop, visits }
    }

    /// How many visits there were: all of them were answered well.
    pub(crate) fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (count, failed) = self.visits.join().unwrap();
        assert!(failed.is_empty(), "{} of {count} visits failed: {:?}", failed.len(), failed[0]);
        count
    }
}
