//! How a release is taken into service and looked after: config vars, so that this is changed, and
//! taken back, together with the code.

use super::StateError;
use super::model::Config;
use lathe_dynos::checks::{Check, Checks};
use std::time::Duration;

/// Of a web dyno that is well and that is ready: a path that it answers with 2xx or 3xx, or a command
/// that ends with status 0 inside it.
const HEALTH: Names = Names { path: "LATHE_HEALTH_PATH", command: "LATHE_HEALTH_COMMAND" };
const READINESS: Names = Names { path: "LATHE_READY_PATH", command: "LATHE_READY_COMMAND" };
/// Seconds from one check to the next, and for the answer to one.
const INTERVAL: &str = "LATHE_CHECK_INTERVAL";
const TIMEOUT: &str = "LATHE_CHECK_TIMEOUT";
/// So many failures in a row count.
const FAILURES: &str = "LATHE_CHECK_FAILURES";
/// Seconds for which a release that has booted serves beside the old one before it replaces it.
const PROBATION: &str = "LATHE_PROBATION";
/// Percent of the requests that it gets meanwhile.
const CANARY: &str = "LATHE_CANARY";

const TEXT_BYTES_MAX: usize = 1000;
const INTERVAL_SECS_MAX: u64 = 3600;
const TIMEOUT_SECS_MAX: u64 = 60;
const FAILURES_MAX: u64 = 100;
const PROBATION_SECS_MAX: u64 = 24 * 3600;
const CANARY_DEFAULT: u8 = 10;

struct Names {
    path: &'static str,
    command: &'static str,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Care {
    pub checks: Checks,
    /// Zero: it replaces the old one as soon as it has booted.
    pub probation: Duration,
    /// 1..=100.
    pub canary_percent: u8,
}

impl Default for Care {
    fn default() -> Self {
        let (checks, probation) = (Checks::default(), Duration::ZERO);
        Self { checks, probation, canary_percent: CANARY_DEFAULT }
    }
}

impl Care {
    pub fn of(config: &Config) -> Result<Self, StateError> {
        let mut care = Self::default();
        care.checks.health = check(config, &HEALTH)?.unwrap_or_default();
        care.checks.readiness = check(config, &READINESS)?;
        if let Some(seconds) = number(config, INTERVAL, 1..=INTERVAL_SECS_MAX)? {
            care.checks.interval = Duration::from_secs(seconds);
        }
        if let Some(seconds) = number(config, TIMEOUT, 1..=TIMEOUT_SECS_MAX)? {
            care.checks.timeout = Duration::from_secs(seconds);
        }
        if let Some(failures) = number(config, FAILURES, 1..=FAILURES_MAX)? {
            care.checks.failures = u32::try_from(failures).unwrap_or(u32::MAX);
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

impl Care {
    /// Goes on from "Release v7".
    pub fn probation_in_words(&self) -> String {
        let Self { canary_percent, probation, .. } = self;
        let seconds = probation.as_secs();
        format!(
            "has booted and is on probation: {canary_percent}% of the requests for {seconds} seconds"
        )
    }
}

fn check(config: &Config, names: &Names) -> Result<Option<Check>, StateError> {
    match (config.get(names.path), config.get(names.command)) {
        (None, None) => Ok(None),
        (Some(path), None) => {
            let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
            if !path.starts_with('/') || !plain || path.len() > TEXT_BYTES_MAX {
                return Err(refused(names.path, "a path such as /health"));
            }
            Ok(Some(Check::Path(path.clone())))
        }
        (None, Some(command)) => {
            let line = !command.trim().is_empty() && !command.contains(['\0', '\n', '\r']);
            if !line || command.len() > TEXT_BYTES_MAX {
                return Err(refused(names.command, "one line for a shell, such as bin/check"));
            }
            Ok(Some(Check::Command(command.clone())))
        }
        (Some(_), Some(_)) => {
            let Names { path, command } = names;
            Err(StateError::Refused(format!("{path} and {command} exclude each other: unset one")))
        }
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
        let checks = |name: &str, value: &str| of(name, value).unwrap().checks;
        assert_eq!(Care::of(&Config::new()).unwrap(), Care::default());
        assert_eq!(checks(HEALTH.path, "/up?x=1").health, Check::Path("/up?x=1".into()));
        assert_eq!(checks(HEALTH.command, "a && b").health, Check::Command("a && b".into()));
        assert_eq!(checks(READINESS.path, "/r").readiness, Some(Check::Path("/r".into())));
        assert_eq!(checks(READINESS.command, "x").readiness, Some(Check::Command("x".into())));
        assert_eq!(checks(INTERVAL, "3600").interval, Duration::from_hours(1));
        assert_eq!(checks(TIMEOUT, "60").timeout, Duration::from_mins(1));
        assert_eq!(checks(FAILURES, "1").failures, 1);
        assert_eq!(of(PROBATION, "30").unwrap().probation, Duration::from_secs(30));
        assert_eq!(of(CANARY, "100").unwrap().canary_percent, 100);
        for (name, value) in [
            (HEALTH.path, "up"),
            (HEALTH.path, "/a b"),
            (HEALTH.path, "/a\r\nHost: x"),
            (READINESS.path, ""),
            (HEALTH.command, " "),
            (READINESS.command, "a\nb"),
            (INTERVAL, "0"),
            (INTERVAL, "3601"),
            (TIMEOUT, "0"),
            (TIMEOUT, "1.5"),
            (FAILURES, "0"),
            (FAILURES, "-1"),
            (PROBATION, "soon"),
            (PROBATION, "86401"),
            (CANARY, "0"),
            (CANARY, "101"),
        ] {
            assert!(of(name, value).is_err(), "{name}={value}");
        }
        let both = [HEALTH.path, HEALTH.command].map(|name| (name.to_owned(), "/x".to_owned()));
        let why = Care::of(&Config::from(both)).unwrap_err().to_string();
        assert!(why.contains("exclude each other"), "{why}");
    }
}
