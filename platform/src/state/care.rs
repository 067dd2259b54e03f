//! How a release is taken into service and looked after: config vars, so that this is changed, and
//! taken back, together with the code.

use super::StateError;
use super::model::Config;
use std::time::Duration;

/// A path that a web dyno has to answer with 2xx or 3xx before it is up.
const HEALTH_PATH: &str = "LATHE_HEALTH_PATH";
/// Seconds for which a release that has booted serves beside the old one before it replaces it.
const PROBATION: &str = "LATHE_PROBATION";
/// Percent of the requests that it gets meanwhile.
const CANARY: &str = "LATHE_CANARY";

const PATH_BYTES_MAX: usize = 1000;
const PROBATION_SECS_MAX: u64 = 24 * 3600;
const CANARY_DEFAULT: u8 = 10;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Care {
    pub health_path: Option<String>,
    /// Zero: it replaces the old one as soon as it has booted.
    pub probation: Duration,
    /// 1..=100.
    pub canary_percent: u8,
}

impl Default for Care {
    fn default() -> Self {
        Self { health_path: None, probation: Duration::ZERO, canary_percent: CANARY_DEFAULT }
    }
}

impl Care {
    pub fn of(config: &Config) -> Result<Self, StateError> {
        let mut care = Self::default();
        if let Some(path) = config.get(HEALTH_PATH) {
            let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
            if !path.starts_with('/') || !plain || path.len() > PATH_BYTES_MAX {
                return Err(refused(HEALTH_PATH, "a path such as /health"));
            }
            care.health_path = Some(path.clone());
        }
        if let Some(seconds) = number(config, PROBATION, 0..=PROBATION_SECS_MAX)? {
            care.probation = Duration::from_secs(seconds);
        }
        if let Some(percent) = number(config, CANARY, 1..=100)? {
            care.canary_percent = u8::try_from(percent).unwrap_or(CANARY_DEFAULT);
        }
        Ok(care)
    }
}

fn number(
    config: &Config,
    name: &str,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, StateError> {
    let Some(text) = config.get(name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    let about = || format!("a number from {} to {}", allowed.start(), allowed.end());
    number.map(Some).ok_or_else(|| refused(name, &about()))
}

fn refused(name: &str, form: &str) -> StateError {
    StateError::Refused(format!("{name} is {form}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_config_vars_say_and_may_not_say() {
        let of = |name: &str, value: &str| Care::of(&Config::from([(name.into(), value.into())]));
        assert_eq!(Care::of(&Config::new()).unwrap(), Care::default());
        assert_eq!(of(HEALTH_PATH, "/up?x=1").unwrap().health_path.as_deref(), Some("/up?x=1"));
        assert_eq!(of(PROBATION, "30").unwrap().probation, Duration::from_secs(30));
        assert_eq!(of(CANARY, "100").unwrap().canary_percent, 100);
        for (name, value) in [
            (HEALTH_PATH, "up"),
            (HEALTH_PATH, "/a b"),
            (HEALTH_PATH, "/a\r\nHost: x"),
            (PROBATION, "soon"),
            (PROBATION, "86401"),
            (CANARY, "0"),
            (CANARY, "101"),
        ] {
            assert!(of(name, value).is_err(), "{name}={value}");
        }
    }
}
