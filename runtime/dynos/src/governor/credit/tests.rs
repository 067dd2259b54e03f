//! The published figures, and what must hold for any use.

use super::*;
use proptest::prelude::*;

const DAY: f64 = 86_400.0;

/// One CPU, one sixteenth of it for ever, 5 s to begin with, 500 s at most.
fn shared(initial_secs: u64) -> Terms {
    Terms {
        cpus: 1,
        baseline_ppm: 62_500,
        initial: Duration::from_secs(initial_secs),
        max: Duration::from_secs(500),
    }
}

/// Fly.io's first performance machines: ten sixteenths, 5000 s at most.
fn performance() -> Terms {
    Terms {
        cpus: 1,
        baseline_ppm: 625_000,
        initial: Duration::from_secs(5000),
        max: Duration::from_secs(5000),
    }
}

/// A dyno that wants `demand` of its CPUs, in millionths of one, decided about every 80 ms.
struct Machine {
    terms: Terms,
    account: Account,
    used: Duration,
    held: Duration,
    clock: Duration,
}

impl Machine {
    fn new(terms: Terms, mode: Mode) -> Self {
        let account = Account::new(&terms, mode);
        Self { terms, account, used: Duration::ZERO, held: Duration::ZERO, clock: Duration::ZERO }
    }

    fn step(&mut self, demand_ppm: u64) {
        let baseline = self.account.allowance() == Allowance::Baseline;
        let held = baseline && self.account.mode == Mode::Enforce;
        let most = if held { self.terms.baseline_ppm_pooled() } else { u64::MAX };
        let nanos = TICK.as_nanos() * u128::from(demand_ppm.min(most)) / 1_000_000;
        let used = Duration::from_nanos(u64::try_from(nanos).unwrap());
        self.account.book(&self.terms, used, TICK);
        self.used += used;
        self.clock += TICK;
        if baseline {
            self.held += TICK;
        }
    }

    fn run(&mut self, demand_ppm: u64, secs: f64) {
        let end = self.clock + Duration::from_secs_f64(secs);
        while self.clock < end {
            self.step(demand_ppm);
        }
    }

    /// Seconds until the balance is gone.
    fn lasts(&mut self, demand_ppm: u64) -> f64 {
        while self.account.allowance() == Allowance::Burst {
            self.step(demand_ppm);
        }
        self.clock.as_secs_f64()
    }

    /// Seconds until no more can be saved.
    fn fills(&mut self) -> f64 {
        let max = self.terms.max_balance();
        while self.account.saved < max {
            self.step(0);
        }
        self.clock.as_secs_f64()
    }
}

fn near(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} ± {tolerance}");
}

#[test]
fn a_burst_lasts_as_long_as_published() {
    let tick = TICK.as_secs_f64();
    for (initial, demand_ppm, secs) in [
        (5, 1_000_000, 5.333),
        (500, 1_000_000, 533.33),
        (500, 80_000, 28_571.4),
        (500, 100_000, 13_333.3),
        (500, 125_000, 8000.0),
        (500, 200_000, 3636.4),
        (500, 250_000, 2666.7),
        (500, 500_000, 1142.9),
    ] {
        near(Machine::new(shared(initial), Mode::Enforce).lasts(demand_ppm), secs, tick);
    }
    near(Machine::new(performance(), Mode::Enforce).lasts(1_000_000), 13_333.3, tick);
}

#[test]
fn an_idle_dyno_saves_as_fast_as_published() {
    let empty = |mut terms: Terms| {
        terms.initial = Duration::ZERO;
        Machine::new(terms, Mode::Enforce).fills()
    };
    near(empty(shared(0)), 8000.0, 0.1);
    near(empty(performance()), 8000.0, 0.1);
    let mut few = shared(0);
    few.max = Duration::from_secs(5);
    near(empty(few), 80.0, 0.1);
}

#[test]
fn a_minute_of_full_demand_and_a_minute_of_rest() {
    let mut machine = Machine::new(shared(5), Mode::Enforce);
    machine.run(1_000_000, 60.0);
    // Analytically 8.75 s; the last tick of the burst is all or nothing.
    near(machine.used.as_secs_f64(), 8.775, 0.000_001);
    assert_eq!(machine.account.balance(), 0);
    machine.run(0, 60.0);
    // Analytically 3.75 s; the 25 ms that the last tick took too much are paid back first.
    near(machine.account.balance_secs(), 3.75, 0.025_001);
}

#[test]
fn what_a_day_would_have_been_held_back() {
    for (demand_ppm, from_full, from_initial) in [
        (80_000, 66.9, 99.7),
        (100_000, 84.6, 99.7),
        (125_000, 90.7, 99.7),
        (200_000, 95.8, 99.7),
        (250_000, 96.9, 99.7),
        (500_000, 98.7, 99.7),
    ] {
        let percent = |initial| {
            let mut machine = Machine::new(shared(initial), Mode::Observe);
            machine.run(demand_ppm, DAY);
            machine.held.as_secs_f64() / DAY * 100.0
        };
        near(percent(500), from_full, 0.05);
        assert!(percent(5) >= from_initial - 0.05, "{demand_ppm}");
    }
}

#[test]
fn observation_misleads_where_enforcement_does_not() {
    let (busy, idle) = (7200.0, DAY - 7200.0);
    let mut observed = Machine::new(shared(500), Mode::Observe);
    observed.run(1_000_000, busy);
    near(observed.account.balance_secs(), -6250.0, 0.1);
    observed.run(0, idle);
    near(observed.account.balance_secs(), -1300.0, 0.1);
    let mut enforced = Machine::new(shared(500), Mode::Enforce);
    enforced.run(1_000_000, busy);
    enforced.run(0, 8000.0);
    near(enforced.account.balance_secs(), 500.0, 0.1);
}

#[test]
fn enforcement_begins_with_a_clean_slate() {
    let mut machine = Machine::new(shared(5), Mode::Observe);
    machine.run(1_000_000, 600.0);
    assert!(machine.account.balance_secs() < -500.0);
    machine.account.switch(&machine.terms, Mode::Enforce);
    near(machine.account.balance_secs(), 5.0, 0.0);
    machine.run(1_000_000, 3.0);
    let before = machine.account;
    machine.account.switch(&machine.terms, Mode::Enforce);
    assert_eq!(machine.account, before, "a second time changes nothing");
}

proptest! {
    #[test]
    fn nothing_is_won_or_lost_between_the_bounds(
        cpus in 1..=16u32,
        baseline_ppm in 1..=1_000_000u32,
        initial_secs in 0..500u64,
        steps in proptest::collection::vec((0..5_000_000_000u64, 0..2_000_000_000u64), 1..200),
    ) {
        let terms = Terms {
            cpus,
            baseline_ppm,
            initial: Duration::from_secs(initial_secs),
            max: Duration::from_secs(500),
        };
        for mode in [Mode::Observe, Mode::Enforce] {
            let mut account = Account::new(&terms, mode);
            for (elapsed, used) in &steps {
                let (elapsed, used) = (Duration::from_nanos(*elapsed), Duration::from_nanos(*used));
                let before = account.saved;
                account.book(&terms, used, elapsed);
                let unbound = before + terms.earned(elapsed) - femtos(used);
                if unbound <= terms.max_balance() && (mode == Mode::Observe || unbound >= 0) {
                    prop_assert_eq!(account.saved, unbound);
                }
                prop_assert!(account.balance() <= terms.max_balance());
                prop_assert!(mode == Mode::Observe || account.balance() >= 0);
                prop_assert_eq!(account.balance() > 0, account.allowance() == Allowance::Burst);
            }
        }
    }

    /// A dyno gets its baseline, what it had to begin with, and one tick that overshoots: whatever
    /// it wants, and when.
    #[test]
    fn use_is_bounded_in_the_long_run(
        demands in proptest::collection::vec((0..=1_000_000u64, 1..100u32), 1..60),
    ) {
        let terms = shared(5);
        let overshoot = TICK.mul_f64(15.0 / 16.0);
        let mut machine = Machine::new(terms, Mode::Enforce);
        for (demand, ticks) in demands {
            for _ in 0..ticks {
                machine.step(demand);
                let bound = machine.clock.mul_f64(1.0 / 16.0) + terms.initial + overshoot;
                prop_assert!(machine.used <= bound);
            }
        }
    }

    #[test]
    fn alternating_gains_nothing(demand in 0..62_500u64) {
        let mut machine = Machine::new(shared(0), Mode::Enforce);
        for _ in 0..20_000 {
            machine.step(demand);
            machine.step(1_000_000);
        }
        prop_assert!(machine.used <= machine.clock.mul_f64(1.0 / 16.0) + TICK);
    }
}
