//! The names of the places that dynos fill, and how to read them back.

use lathe_dynos::spec::Slot;
use std::fmt;
use std::ops::Range;

/// One place: this dyno of this release, as often restarted as this.
/// Another release or another restart is another place, hence another dyno.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    pub app: String,
    pub release: u32,
    pub process_type: String,
    /// From 1.
    pub index: u32,
    /// Restarts of the type and of this dyno.
    pub restarts: (u32, u32),
}

impl Place {
    /// `web.1`.
    pub fn dyno_name(&self) -> String {
        format!("{}.{}", self.process_type, self.index)
    }

    /// Whether requests go to it.
    pub fn is_web(&self) -> bool {
        self.process_type == "web"
    }

    pub fn slot(&self) -> Slot {
        Slot(self.to_string())
    }

    /// Reads a slot that `slot` made; others (one-offs, say) are none.
    pub fn parse(slot: &Slot) -> Option<Self> {
        let mut parts = slot.0.split('/');
        let app = parts.next()?.to_owned();
        let release = parts.next()?.strip_prefix('v')?.parse().ok()?;
        let (process_type, index) = parts.next()?.rsplit_once('.')?;
        let (of_type, of_dyno) = parts.next()?.split_once('.')?;
        let place = Self {
            app,
            release,
            process_type: process_type.to_owned(),
            index: index.parse().ok()?,
            restarts: (of_type.parse().ok()?, of_dyno.parse().ok()?),
        };
        parts.next().is_none().then_some(place)
    }

    /// Where in the order of all slots those of an app are.
    pub fn slots_of(app: &str) -> Range<Slot> {
        // The character after the slash.
        Slot(format!("{app}/"))..Slot(format!("{app}0"))
    }

    /// The app of a slot that `slot` made.
    pub fn app_of(slot: &Slot) -> &str {
        slot.0.split_once('/').map_or(slot.0.as_str(), |(app, _)| app)
    }

    /// What stays the same when this dyno is restarted.
    pub fn identity(&self) -> String {
        format!("{}/v{}/{}.{}", self.app, self.release, self.process_type, self.index)
    }

    /// The port that the dyno shall listen on. Every dyno has a network of its own, so the number
    /// could be a constant; it is not, so that an app which ignores `$PORT` fails at its first
    /// push and not on the day it moves. 10000..=29999 stays clear of the ephemeral range.
    pub fn port(&self) -> u16 {
        let hash = self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        10_000 + u16::try_from(hash % 20_000).unwrap_or(0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of_type, of_dyno) = self.restarts;
        let Self { app, release, process_type, index, .. } = self;
        write!(f, "{app}/v{release}/{process_type}.{index}/{of_type}.{of_dyno}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_reads_back_as_the_place_it_was_made_from() {
        let place = Place {
            app: "9a1".into(),
            release: 12,
            process_type: "web-2.x".into(),
            index: 3,
            restarts: (1, 0),
        };
        assert_eq!(place.slot().0, "9a1/v12/web-2.x.3/1.0");
        assert_eq!(Place::app_of(&place.slot()), "9a1");
        assert!(Place::slots_of("9a1").contains(&place.slot()));
        assert!(
            ["9a", "9a1-b", "9a11", "9a2"]
                .iter()
                .all(|app| { !Place::slots_of(app).contains(&place.slot()) })
        );
        assert_eq!(Place::parse(&place.slot()), Some(place));
        for foreign in ["", "run.1", "a/b/c/d", "a/v1/web/0.0", "a/v1/web.1/0.0/more"] {
            assert_eq!(Place::parse(&Slot(foreign.into())), None, "{foreign}");
        }
    }
}
