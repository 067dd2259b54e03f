//! The scenes of the experiment: who is beside a dyno, what is done about credits, and how much its
//! client wants.

use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Scene {
    pub(super) demand: Demand,
    /// Neighbours that use all CPU they get, now and then.
    pub(super) noisy: bool,
    /// Everybody is held to its credits.
    pub(super) credits: bool,
}

/// How much the client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Demand {
    /// The next request follows at once.
    Busy,
    /// Requests come as often as the class's baseline lasts for, and a quarter less.
    Paced,
}

impl Scene {
    /// All there are of the wanted demands, those to be compared next to each other.
    pub(super) fn all(demands: &[Demand]) -> Vec<Self> {
        let mut scenes = Vec::new();
        for demand in demands {
            for credits in [false, true] {
                for noisy in [false, true] {
                    scenes.push(Self { demand: *demand, noisy, credits });
                }
            }
        }
        scenes
    }
}

impl Scene {
    fn names(self) -> (&'static str, &'static str) {
        let demand = match self.demand {
            Demand::Busy => "busy",
            Demand::Paced => "paced",
        };
        (demand, if self.noisy { "noisy" } else { "quiet" })
    }

    /// What stands above its charts.
    pub(super) fn title(self) -> String {
        let (demand, noisy) = self.names();
        let credits = if self.credits { "with credits" } else { "without credits" };
        format!("{demand} {noisy}, {credits}")
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (demand, noisy) = self.names();
        let credits = if self.credits { "credits" } else { "none" };
        write!(f, "{demand:<6} {noisy:<6} {credits:<7}")
    }
}
