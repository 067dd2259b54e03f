//! How long the platform's loops take for a turn, as they tell it by events.

use crate::steps::PACE;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Turns beyond that are counted and not kept.
const TURNS_MAX: usize = 1 << 20;

/// One turn of a loop.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) name: String,
    pub(super) ended: Instant,
    pub(super) took_ms: f64,
}

#[derive(Clone, Debug, Default)]
pub(in crate::cli::bench) struct Pace {
    turns: Arc<Mutex<(Vec<Turn>, u64)>>,
}

/// The log as for every verb, and beside it the loops' turns.
pub(in crate::cli::bench) fn listen(filter: &str) -> Pace {
    let pace = Pace::default();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(EnvFilter::new(filter));
    let heard = pace.clone().with_filter(Targets::new().with_target(PACE, Level::DEBUG));
    tracing_subscriber::registry().with(log).with(heard).init();
    pace
}

impl Pace {
    /// What was heard since it was last taken, and how many turns were not kept.
    pub(super) fn take(&self) -> (Vec<Turn>, u64) {
        std::mem::take(&mut *self.turns.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Pace {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut heard = Heard::default();
        event.record(&mut heard);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.0.len() < TURNS_MAX {
            turns.0.push(Turn { name: heard.name, ended: Instant::now(), took_ms: heard.took_ms });
        } else {
            turns.1 += 1;
        }
    }
}

#[derive(Default)]
struct Heard {
    name: String,
    took_ms: f64,
}

impl Visit for Heard {
    fn record_str(&mut self, _: &Field, name: &str) {
        name.clone_into(&mut self.name);
    }

    fn record_f64(&mut self, _: &Field, took_ms: f64) {
        self.took_ms = took_ms;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
