//! The system's clock is set back an hour, forth ten years, and back again, while everything runs.

use crate::hosting::{HASTY, Visitors, good, release, serve, settled};
use lathe_tests::{Dyno, Platform, host, until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const BOUND: Duration = Duration::from_mins(2);

/// So long ago at most the governor has looked at a dyno, on however slow a machine. An hour or ten years
/// are something else.
const LOOKED_AT: Duration = Duration::from_mins(1);

/// What the programs of a platform take for the time of day: the machine's own, and this much more.
pub(crate) struct Clock {
    offset: NamedTempFile,
}

impl Clock {
    pub(crate) fn right() -> Self {
        host::needs(&[host::FAKETIME]);
        let clock = Self { offset: NamedTempFile::new().unwrap() };
        clock.set("+0");
        clock
    }

    /// By the offset's spelling in `faketime(1)`.
    pub(crate) fn set(&self, offset: &str) {
        std::fs::write(self.offset.path(), format!("{offset}\n")).unwrap();
    }

    /// Monotonic clocks, and the times of files, are what they are.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let found = Command::new("sh").args(["-c", host::FAKETIME.0[2]]).output().unwrap();
        let library = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
        let text = |path: &Path| path.display().to_string();
        let all = [
            ("LD_PRELOAD", text(&library)),
            ("FAKETIME_TIMESTAMP_FILE", text(self.offset.path())),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        all.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// The hour that the platform takes it to be: `2026-11-21T14`.
fn hour(platform: &Platform, app: &str) -> String {
    let (status, made) = platform.api("POST", "/apps", &json!({"name": app}));
    assert_eq!(status, 201, "{made}");
    assert_eq!(platform.api("DELETE", &format!("/apps/{app}"), &Value::Null).0, 200);
    made["created_at"].as_str().unwrap()[..13].to_owned()
}

/// The hour that it is.
fn right_hour() -> String {
    let said = Command::new("date").args(["-u", "+%Y-%m-%dT%H"]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// How often it was started.
fn starts(platform: &Platform, app: &str) -> usize {
    platform.logs(app).matches("Starting process with command").count()
}

/// How often a dyno that always crashes may have been started so long after it first was.
fn starts_max(passed: Duration) -> usize {
    3 + [30, 90, 210, 450].iter().filter(|pauses| passed.as_secs() >= **pauses).count()
}

/// What a dyno may use of the CPU, as the API tells it: CPUs, and seconds of one.
struct Credit {
    asked: Instant,
    baseline: f64,
    cap: f64,
    balance: f64,
    told: Instant,
}

impl Credit {
    fn of(platform: &Platform, app: &str) -> Self {
        until("the dyno is governed", BOUND, || {
            let asked = Instant::now();
            let all = platform.api("GET", &format!("/apps/{app}/cpu"), &Value::Null).1;
            let dyno = all.as_array()?.iter().find(|dyno| dyno["dyno"] == "web.1")?.clone();
            let number = |name: &str| dyno[name].as_f64();
            let (baseline, cap) = (number("baseline")?, number("cap")?);
            Some(Self { asked, baseline, cap, balance: number("balance")?, told: Instant::now() })
        })
    }

    /// Neither more than can be saved nor less than can be spent in the time that has passed.
    fn has_become(&self, now: &Self, when: &str) {
        let passed = (now.told - self.asked + LOOKED_AT).as_secs_f64();
        let (least, most) =
            (self.balance - passed * self.cap, self.balance + passed * self.baseline);
        let is = now.balance;
        assert!((least..=most).contains(&is), "{when}: {is} s, not from {least} to {most}");
    }
}

fn web(platform: &Platform) -> Vec<Dyno> {
    platform.dynos().into_iter().filter(|dyno| dyno.name == "web.1").collect()
}

/// Fault S5: dynos, their CPU credit, and the pause of one that crashed stay as they are; what is deployed
/// by the new time boots and serves; a version on trial is judged by its probation; a platform that is
/// started by the new time adopts what runs.
#[test]
fn a_clock_that_is_set_restarts_nothing_and_holds_nothing_up() {
    let clock = Clock::right();
    let mut platform = Platform::start_self_hosted_within(&clock.environment(), &HASTY);
    serve(&platform, "steady");
    let types = json!({"worker": "false"});
    platform.release("crashing", &types, &[("file", "")]);
    let began = Instant::now();
    let scale = json!({"updates": [{"type": "worker", "quantity": 1}]});
    assert_eq!(platform.api("PATCH", "/apps/crashing/formation", &scale).0, 200);
    until("it waits", BOUND, || (starts(&platform, "crashing") >= 3).then_some(()));
    let dynos = web(&platform);
    let mut credit = Credit::of(&platform, "steady");
    let visitors = Visitors::start(platform.address("router"), "steady");

    for (number, offset) in ["-1h", "+10y", "+0"].into_iter().enumerate() {
        clock.set(offset);
        until("the platform has the new time", BOUND, || {
            let (its, right) = (hour(&platform, "asks"), right_hour());
            ((its == right) == (offset == "+0")).then_some(())
        });
        let app = format!("later-{number}");
        serve(&platform, &app);
        assert_eq!(platform.api("DELETE", &format!("/apps/{app}"), &Value::Null).0, 200);
        until("it has gone", BOUND, || (web(&platform).len() == dynos.len()).then_some(()));
        assert_eq!(web(&platform), dynos, "{offset}: restarted");
        let starts = starts(&platform, "crashing");
        let most = starts_max(began.elapsed());
        assert!(starts <= most, "{offset}: {starts} starts, not {most}: a pause was cut short");
        let now = Credit::of(&platform, "steady");
        credit.has_become(&now, offset);
        credit = now;
    }

    let number = release(&platform, &good());
    clock.set("+10y");
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
    clock.set("-1h");
    platform.stop();
    platform.up();
    serve(&platform, "afterwards");
    credit.has_become(&Credit::of(&platform, "steady"), "after a trial and a restart");
    let there: Vec<_> = web(&platform).into_iter().filter(|dyno| dynos.contains(dyno)).collect();
    assert_eq!(there, dynos, "adopted by another time");
    let visits = visitors.end();
    eprintln!("{visits} visits while the clock was set four times, all of them answered");
}
