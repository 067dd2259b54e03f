//! One dyno under the governor: it wants all it can get, then nothing; its balance beside what its
//! terms and its use say.

use super::super::BenchError;
use super::super::chart::{Axis, Mark, Plot, Series};
use super::super::yard::{Worker, Yard};
use super::Governor;
use crate::cli::say::say;
use crate::config::Config;
use lathe_dynos::class::Class;
use lathe_dynos::governor::Credit;
use lathe_dynos::governor::credit::{TICK, Terms};
use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The dyno's own start is over when the burst begins.
const QUIET_MS: u64 = 1500;
/// Who uses less CPU time between two looks rests.
const RESTING_S: f64 = 0.000_5;
/// How much longer it may take on a machine on which others want the CPU, too.
const SLOWER: u32 = 20;

/// What was seen, and what had to be. Seconds, CPUs.
#[derive(Debug, Serialize)]
pub(super) struct Trace {
    baseline: f64,
    initial_s: f64,
    points: Vec<Point>,
    /// None of a dyno that was never held: others left it too little to run out of balance.
    phases: Option<Phases>,
    /// The most that the balance was away from the sum of what was earned and used.
    largest_difference_s: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Phases {
    /// How long it had all it wanted: while it had balance, by what it used and what it earned.
    burst_s: Pair,
    /// CPUs it had afterwards.
    held_cpus: Pair,
    /// What it saved while it wanted nothing.
    saved_s: Pair,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Pair {
    expected: f64,
    observed: f64,
    /// A tick of a burst, or 5 percent.
    tolerance: f64,
}

impl Pair {
    fn holds(self) -> bool {
        (self.observed - self.expected).abs() <= self.tolerance
    }
}

/// One look at the dyno.
#[derive(Clone, Copy, Debug, Serialize)]
struct Point {
    at_s: f64,
    used_s: f64,
    balance_s: f64,
    held: bool,
}

pub(super) async fn trace(
    yard: &Yard,
    config: &Config,
    how: &Governor,
) -> Result<Trace, BenchError> {
    let initial = Duration::from_millis(how.balance_ms);
    let class = super::eco(config, |terms| terms.initial = initial)?;
    let terms = terms(&class)?;
    let (cpus, baseline) = (f64::from(terms.cpus), baseline(&terms));
    // What a burst takes if nobody else wants the CPU, and what comes after it.
    let burst = initial.as_secs_f64() * cpus / (cpus - baseline);
    let rest = Duration::from_secs(how.trace);
    let budget = Duration::from_secs_f64(burst) + rest.mul_f64(baseline);
    let (cpu_ms, after_ms) = (budget.as_millis().to_string(), QUIET_MS.to_string());
    let work = ["spin", "--after-ms", &after_ms, "--cpu-ms", &cpu_ms];
    let dyno = yard.start(&class, &work).await?;
    yard.governed(std::slice::from_ref(&dyno)).await?;
    let points = watch(yard, &dyno, rest, (budget + rest) * SLOWER).await?;
    yard.end(vec![dyno]).await?;
    Ok(Trace::of(&terms, points))
}

/// CPUs, all together.
fn baseline(terms: &Terms) -> f64 {
    let ppm = u32::try_from(terms.baseline_ppm_pooled()).unwrap_or(u32::MAX);
    f64::from(ppm) / 1e6
}

fn terms(class: &Class) -> Result<Terms, BenchError> {
    class.credit.ok_or_else(|| BenchError::at("find the credit of Eco")(io::ErrorKind::NotFound))
}

/// Until it has been held, and has rested for so long; or until nobody can wait any more.
async fn watch(
    yard: &Yard,
    dyno: &Worker,
    rest: Duration,
    patience: Duration,
) -> Result<Vec<Point>, BenchError> {
    let (begin, mut points) = (Instant::now(), Vec::<Point>::new());
    let (mut rests_since, mut was_held) = (begin, false);
    while begin.elapsed() < patience && !(was_held && rests_since.elapsed() > rest) {
        tokio::time::sleep(LOOK_EVERY).await;
        let found = yard.credits().into_iter().find(|credit| credit.id == dyno.id);
        let gone = || BenchError::at("watch a dyno")(io::ErrorKind::NotFound);
        let Credit { used, balance, held, .. } = found.ok_or_else(gone)?;
        let (balance, last) = (balance.unwrap_or(0.0), points.last());
        if last.is_none_or(|last| used - last.used_s > RESTING_S) {
            rests_since = Instant::now();
        }
        was_held |= held;
        // What the governor says changes when it has looked.
        if last.is_none_or(|last| (last.used_s, last.balance_s) != (used, balance)) {
            let at_s = begin.elapsed().as_secs_f64();
            points.push(Point { at_s, used_s: used, balance_s: balance, held });
        }
    }
    Ok(points)
}

impl Trace {
    fn of(terms: &Terms, points: Vec<Point>) -> Self {
        let (cpus, baseline) = (f64::from(terms.cpus), baseline(terms));
        Self {
            baseline,
            initial_s: terms.initial.as_secs_f64() * cpus,
            phases: Phases::of(baseline, &points),
            largest_difference_s: difference(&points, baseline, cpus * terms.max.as_secs_f64()),
            points,
        }
    }

    pub(super) fn show(&self) {
        let Self { initial_s, baseline, points, .. } = self;
        say!("-----> One dyno that begins with {initial_s:.2} s and earns {baseline:.4} CPUs");
        say!("       {} looks; it wants all it can get, then nothing", points.len());
        let phases = self.phases.map(|phases| {
            [
                ("a burst lasts", phases.burst_s, "s"),
                ("then it has", phases.held_cpus, "CPUs"),
                ("at rest it saves", phases.saved_s, "s"),
            ]
        });
        if phases.is_none() {
            say!("it never ran out of balance: others left it too little CPU");
        }
        for (what, pair, unit) in phases.into_iter().flatten() {
            let Pair { expected, observed, tolerance } = pair;
            let verdict = if pair.holds() { "holds" } else { "not held" };
            say!(
                "{what:<17} {expected:>8.4} expected, {observed:>8.4} seen, {tolerance:.3} {unit} \
                 allowed: {verdict}"
            );
        }
        let difference = self.largest_difference_s;
        say!("balance and what was earned less what was used: at most {difference:.4} s apart");
    }

    pub(super) fn plot(&self) -> Plot {
        let curve = |name: &str, points: Vec<(f64, f64)>| Series {
            name: name.into(),
            mark: Mark::Curve,
            points,
        };
        let seen = self.points.iter().map(|point| (point.at_s, point.balance_s)).collect();
        let most = self.points.iter().map(|point| point.balance_s).fold(0.0, f64::max);
        let computed = computed(&self.points, self.baseline, most.max(self.initial_s));
        let rates = self.points.windows(2).map(|pair| {
            let [a, b] = pair else { return (0.0, 0.0) };
            (b.at_s, (b.used_s - a.used_s) / (b.at_s - a.at_s))
        });
        Plot {
            title: "A dyno's balance, seen and computed".into(),
            x: Axis::Linear("s"),
            y: Axis::Linear(""),
            series: vec![
                curve("balance seen, s", seen),
                curve("balance computed, s", computed),
                curve("use, CPUs", rates.collect()),
            ],
        }
    }
}

impl Phases {
    fn of(baseline: f64, points: &[Point]) -> Option<Self> {
        let tick = TICK.as_secs_f64();
        // The burst is over with the first look at which nothing is left.
        let end = points.iter().position(|point| point.held)?;
        let begin = (0..end).find(|at| uses(points, *at) > baseline)?;
        let rests = |at: &usize| uses(points, *at) < baseline / 20.0;
        let rest = (end..points.len()).find(rests)?;
        let (first, emptied, eased) = (points[begin], points[end], points[rest]);
        let last = points[points.len() - 1];
        let rate = |a: Point, b: Point| (b.used_s - a.used_s) / (b.at_s - a.at_s).max(tick);
        let of = |expected, observed, tolerance| Pair { expected, observed, tolerance };
        let pays = (rate(first, emptied) - baseline).max(f64::EPSILON);
        Some(Self {
            burst_s: of(first.balance_s / pays, emptied.at_s - first.at_s, 3.0 * tick),
            held_cpus: of(baseline, rate(emptied, eased), baseline * 0.1),
            saved_s: of(
                (last.at_s - eased.at_s) * baseline,
                last.balance_s - eased.balance_s,
                tick,
            ),
        })
    }
}

/// CPUs between a look and the next one.
fn uses(points: &[Point], at: usize) -> f64 {
    match points.get(at..at + 2) {
        Some([a, b]) => (b.used_s - a.used_s) / (b.at_s - a.at_s),
        _ => 0.0,
    }
}

/// The balance by the published rule, from the first look on: what is earned less what was used,
/// between nothing and the most that can be saved. What a burst's last tick takes too much is owed.
fn computed(points: &[Point], baseline: f64, most: f64) -> Vec<(f64, f64)> {
    let Some(first) = points.first() else { return Vec::new() };
    let (mut saved, mut before) = (first.balance_s, *first);
    let owed = TICK.as_secs_f64() * (1.0 - baseline);
    let step = points.iter().map(|point| {
        let earned = baseline * (point.at_s - before.at_s);
        saved = (saved + earned - (point.used_s - before.used_s)).clamp(-owed, most);
        before = *point;
        (point.at_s, saved.max(0.0))
    });
    step.collect()
}

fn difference(points: &[Point], baseline: f64, most: f64) -> f64 {
    let computed = computed(points, baseline, most);
    let apart =
        points.iter().zip(computed).map(|(seen, (_, saved))| (seen.balance_s - saved).abs());
    apart.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sixteenth of a CPU, 1 s to begin with: 1.067 s of burst, then a sixteenth, then rest.
    fn scripted() -> (Terms, Vec<Point>) {
        let terms = Terms {
            cpus: 1,
            baseline_ppm: 62_500,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(500),
        };
        let mut points = Vec::new();
        let (mut used_s, mut balance_s) = (0.0, 1.0);
        for tick in 0..100 {
            let at_s = f64::from(tick) * 0.08;
            points.push(Point { at_s, used_s, balance_s, held: balance_s <= 0.0 });
            let use_cpus = match tick {
                _ if tick >= 60 => 0.0,
                _ if balance_s > 0.0 => 1.0,
                _ => 0.0625,
            };
            used_s += use_cpus * 0.08;
            balance_s = (balance_s + (0.0625 - use_cpus) * 0.08_f64).max(0.0);
        }
        (terms, points)
    }

    #[test]
    fn a_dyno_that_does_as_the_vectors_say_is_found_to() {
        let (terms, points) = scripted();
        let trace = Trace::of(&terms, points);
        let Phases { burst_s, held_cpus, saved_s } = trace.phases.unwrap();
        assert!((burst_s.expected - 1.0667).abs() < 0.01, "{burst_s:?}");
        assert!(burst_s.holds() && held_cpus.holds() && saved_s.holds(), "{saved_s:?}");
        // The scripted dyno forgives the last tick, which the rule lets it owe.
        assert!(trace.largest_difference_s < 0.08, "{}", trace.largest_difference_s);
    }

    #[test]
    fn a_dyno_that_is_not_held_is_found_out() {
        let (terms, mut points) = scripted();
        for point in points.iter_mut().skip(14).take(46) {
            point.used_s = point.at_s;
        }
        let used_s = points[60].at_s;
        points.iter_mut().skip(60).for_each(|point| point.used_s = used_s);
        let phases = Trace::of(&terms, points).phases.unwrap();
        assert!(!phases.held_cpus.holds(), "{phases:?}");
    }

    #[test]
    fn a_dyno_that_never_ran_out_shows_nothing() {
        let (terms, mut points) = scripted();
        points.truncate(5);
        assert!(Trace::of(&terms, points).phases.is_none());
    }
}
