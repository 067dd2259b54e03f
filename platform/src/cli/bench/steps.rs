//! When a push passed which point, as the platform tells it by events.

use crate::steps::TARGET;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// A point and when it was passed.
pub(super) type Passed = (String, Instant);

/// What was heard since it was last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    passed: Arc<Mutex<Vec<Passed>>>,
}

/// The log as for every verb, and beside it the steps.
pub(super) fn listen(filter: &str) -> Steps {
    let steps = Steps::default();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(EnvFilter::new(filter));
    let heard = steps.clone().with_filter(Targets::new().with_target(TARGET, Level::DEBUG));
    tracing_subscriber::registry().with(log).with(heard).init();
    steps
}

impl Steps {
    /// Notes a point that the platform does not tell.
    pub(super) fn note(&self, point: &str) {
        self.passed().push((point.to_owned(), Instant::now()));
    }

    pub(super) fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut self.passed())
    }

    fn passed(&self) -> MutexGuard<'_, Vec<Passed>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Steps {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Point(self));
    }
}

struct Point<'a>(&'a Steps);

impl Visit for Point<'_> {
    fn record_str(&mut self, _: &Field, point: &str) {
        self.0.note(point);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
