//! What the governor may be told to do, and whom a part of the apps is.

use lathe_logs::AppId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done about the credit of dynos.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Setting {
    /// No accounts are kept.
    Off,
    /// Accounts are kept, and nobody is held back.
    Observe,
    /// Dynos of this share of the apps are held to their baseline while they have no balance; the
    /// others are observed.
    Enforce {
        percent: u8,
        /// How much of the difference between cap and baseline is taken away, percent.
        strength: u8,
    },
}

/// What a setting means for one dyno.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    Off,
    Observe,
    Enforce { strength: u8 },
}

impl Setting {
    /// What holds for dynos of an app.
    pub fn treatment(self, app: &AppId) -> Treatment {
        match self {
            Self::Off => Treatment::Off,
            Self::Enforce { percent, strength } if place(app) < percent => {
                Treatment::Enforce { strength }
            }
            Self::Observe | Self::Enforce { .. } => Treatment::Observe,
        }
    }

    pub fn enforces(self) -> bool {
        matches!(self, Self::Enforce { percent: 1.., strength: 1.. })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Observe => f.write_str("observe"),
            Self::Enforce { percent, strength: 100 } => write!(f, "enforce {percent} %"),
            Self::Enforce { percent, strength } => {
                write!(f, "enforce {percent} % at {strength} % strength")
            }
        }
    }
}

/// An app's place among a hundred: always the same, so that a larger share holds every smaller one.
fn place(app: &AppId) -> u8 {
    let hash = app.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV-1a alone are poor: the high ones are folded into them.
    u8::try_from((hash ^ (hash >> 32)) % 100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_share_of_the_apps_is_about_that_share_and_grows_by_adding() {
        let apps: Vec<AppId> = (0..2000u128)
            .map(|n| AppId::new(Uuid::from_u128(n * 0x9e37_79b9).to_string()))
            .collect();
        let enforced = |percent| -> Vec<&AppId> {
            let setting = Setting::Enforce { percent, strength: 100 };
            let held = |app: &&AppId| matches!(setting.treatment(app), Treatment::Enforce { .. });
            apps.iter().filter(held).collect()
        };
        let mut before = Vec::new();
        for percent in [0, 25, 50, 75, 100] {
            let now = enforced(percent);
            assert!(before.iter().all(|app| now.contains(app)), "{percent}");
            let expected = apps.len() * usize::from(percent) / 100;
            assert!(now.len().abs_diff(expected) < 100, "{percent} %: {}", now.len());
            before = now;
        }
    }
}
