//! Whose setting counts, and that whatever was tried is taken back.

use super::*;
use proptest::prelude::*;

const CALM: Load = Load { percent: 100, limit: 400 };
const WILD: Load = Load { percent: 401, limit: 400 };
const ALL: Setting = Setting::Enforce { percent: 100, strength: 100 };

fn app() -> AppId {
    AppId::new("app")
}

fn change(scope: Scope, setting: Setting, trial_ms: Option<u64>) -> Change {
    Change { scope, setting: Some(setting), trial: trial_ms.map(Duration::from_millis) }
}

#[test]
fn the_narrower_setting_counts() {
    let mut rollout = Rollout::default();
    let now = |rollout: &Rollout| rollout.setting(&app(), "Eco", 1);
    assert_eq!(now(&rollout), Setting::Observe);
    for (scope, setting) in [
        (Scope::Cell, ALL),
        (Scope::Class("Eco".into()), Setting::Off),
        (Scope::App(app()), Setting::Enforce { percent: 50, strength: 100 }),
    ] {
        rollout.change(change(scope, setting, None), 0, CALM).unwrap();
        assert_eq!(now(&rollout), setting);
    }
    assert_eq!(rollout.setting(&AppId::new("other"), "Basic", 1), ALL);
    let wider = Change { scope: Scope::App(app()), setting: None, trial: None };
    rollout.change(wider, 0, CALM).unwrap();
    assert_eq!(now(&rollout), Setting::Off, "without its own it has its class's");
}

#[test]
fn a_trial_ends_in_time_and_what_was_before_is_again() {
    let mut rollout = Rollout::default();
    rollout.change(change(Scope::Cell, Setting::Off, None), 0, CALM).unwrap();
    rollout.change(change(Scope::Cell, ALL, Some(60)), 10, CALM).unwrap();
    assert_eq!(rollout.setting(&app(), "", 69), ALL);
    assert_eq!(rollout.setting(&app(), "", 70), Setting::Off, "even when nobody has looked yet");
    let steps = rollout.step(70, CALM);
    assert_eq!((steps[0].what, steps[0].setting), (What::Ended, Some(Setting::Off)));
    assert!(rollout.step(71, CALM).is_empty());
}

#[test]
fn load_takes_back_what_is_watched_and_nothing_else() {
    let hour = millis(WATCHED);
    for trial in [None, Some(hour)] {
        let mut rollout = Rollout::default();
        rollout.change(change(Scope::Cell, ALL, trial), 0, CALM).unwrap();
        let steps = rollout.step(1, WILD);
        assert_eq!(steps[0].what, What::Aborted { load_percent: 401 });
        assert_eq!(rollout.setting(&app(), "", 1), Setting::Observe);
    }
    let mut rollout = Rollout::default();
    rollout.change(change(Scope::Cell, ALL, None), 0, CALM).unwrap();
    assert_eq!(rollout.step(hour, CALM)[0].what, What::Kept);
    assert!(rollout.step(hour + 1, WILD).is_empty(), "what has proved itself stays");
    assert_eq!(rollout.setting(&app(), "", hour + 1), ALL);
    let refused = rollout.change(change(Scope::App(app()), ALL, None), hour + 2, WILD);
    assert!(refused.unwrap_err().to_string().contains("4.01 for each CPU"), "not begun at all");
}

proptest! {
    /// Whatever is tried, and whatever the load does: in the end what was set for good counts, and
    /// no enforcement outlasts the load that forbids it.
    #[test]
    fn after_all_trials_only_what_was_meant_for_good_is_left(
        events in proptest::collection::vec((0..3u8, any::<bool>(), 0..10_000u64, 0..6u32), 1..60),
    ) {
        let mut rollout = Rollout::default();
        let (mut now, mut lasting) = (0, Setting::Observe);
        for (kind, trial, wait, tenths) in events {
            now += wait;
            let load = Load { percent: tenths * 100, limit: 400 };
            let before = rollout.setting(&app(), "", now);
            for step in rollout.step(now, load) {
                if let What::Aborted { .. } = step.what {
                    prop_assert!(before.enforces() && load.passed());
                    lasting = rollout.setting(&app(), "", now);
                }
            }
            let setting = match kind {
                0 => Setting::Off,
                1 => Setting::Observe,
                _ => ALL,
            };
            let asked = change(Scope::Cell, setting, trial.then_some(5000));
            match rollout.change(asked, now, load) {
                Ok(_) if !trial => lasting = setting,
                Ok(_) => {}
                Err(_) => prop_assert!(setting.enforces() && load.passed()),
            }
            prop_assert!(rollout.steps().count() <= STEPS_KEPT);
        }
        now += millis(WATCHED) + 5000;
        rollout.step(now, CALM);
        prop_assert_eq!(rollout.setting(&app(), "", now), lasting);
        prop_assert!(rollout.step(now + 1, WILD).is_empty());
    }
}
