//! What many requests to the dynos of one class took, in figures. Pure.

use super::scene::Scene;
use crate::cli::bench::figures::{mean, quantile, sorted, variation};
use crate::cli::bench::work::Run;
use lathe_dynos::class::{Class, SHARES_OF_CPU};
use serde::Serialize;

/// Samples drawn for a confidence interval.
const RESAMPLES: usize = 1000;

/// One request, and which dyno has answered it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Answer {
    pub(super) dyno: usize,
    #[serde(flatten)]
    pub(super) run: Run,
}

/// One class in one scene. Milliseconds of a request, unless it says otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) scene: Scene,
    pub(super) class: String,
    pub(super) baseline: f64,
    /// US dollars of a month.
    pub(super) price: Option<f64>,
    pub(super) runs: usize,
    pub(super) median_ms: f64,
    /// 95 % confidence interval of the median, by resampling requests (Efron 1979).
    pub(super) median_between_ms: [f64; 2],
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    /// Standard deviation over mean.
    pub(super) variation: f64,
    /// Processor time.
    pub(super) cpu_ms: f64,
    /// Of one piece of work: the figures of the original experiment.
    pub(super) piece: Piece,
    /// Probability that dynos that are all alike differ that much or more (Kruskal and Wallis 1952).
    pub(super) dynos_alike: f64,
    pub(super) requests_per_s: f64,
    /// For each 100 dollars a month: of one dyno's requests and of its memory.
    pub(super) requests_per_s_and_100_dollars: Option<f64>,
    pub(super) mib_per_dollar: Option<f64>,
}

/// Means over all requests of the order statistics of each.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "units are last, and in the report")]
pub(super) struct Piece {
    pub(super) median_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    /// From median to p90.
    pub(super) gap_ms: f64,
}

impl Row {
    pub(super) fn of(scene: Scene, class: &Class, answers: &[Answer]) -> Self {
        let durations: Vec<f64> = answers.iter().map(|answer| ms(answer.run.duration_ns)).collect();
        let ordered = sorted(durations.iter().copied());
        let cpu: Vec<f64> = answers.iter().map(|answer| ms(answer.run.cpu_ns)).collect();
        let price =
            class.price_cents.filter(|cents| *cents > 0).map(|cents| f64::from(cents) / 100.0);
        let requests_per_s = 1000.0 / mean(&durations);
        let mib = u32::try_from(class.memory_bytes >> 20).map_or(f64::INFINITY, f64::from);
        Self {
            scene,
            class: class.name.clone(),
            baseline: f64::from(class.cpu_shares) / f64::from(SHARES_OF_CPU),
            price,
            runs: answers.len(),
            median_ms: quantile(&ordered, 0.5),
            median_between_ms: between(&durations),
            p90_ms: quantile(&ordered, 0.9),
            p99_ms: quantile(&ordered, 0.99),
            max_ms: quantile(&ordered, 1.0),
            variation: variation(&durations),
            cpu_ms: mean(&cpu),
            piece: Piece::of(answers),
            dynos_alike: alike(answers),
            requests_per_s,
            requests_per_s_and_100_dollars: price.map(|price| requests_per_s * 100.0 / price),
            mib_per_dollar: price.map(|price| mib / price),
        }
    }
}

impl Piece {
    fn of(answers: &[Answer]) -> Self {
        let each = |share: f64| {
            let of_run = |answer: &Answer| {
                quantile(&sorted(answer.run.each_ns.iter().copied().map(ms)), share)
            };
            mean(&answers.iter().map(of_run).collect::<Vec<_>>())
        };
        let (median_ms, p90_ms, p99_ms) = (each(0.5), each(0.9), each(0.99));
        Self { median_ms, p90_ms, p99_ms, gap_ms: p90_ms - median_ms }
    }
}

/// Where 95 of 100 medians of resampled values lie.
fn between(values: &[f64]) -> [f64; 2] {
    // SplitMix64 (Steele, Lea and Flood 2014): the same interval from the same values.
    let mut state = 7_u64;
    let mut roll = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let count = values.len().max(1) as u64;
    let mut draw = || {
        let index = usize::try_from(roll() % count).unwrap_or(0);
        values.get(index).copied().unwrap_or(f64::NAN)
    };
    let medians = (0..RESAMPLES).map(|_| {
        let sample = sorted((0..values.len()).map(|_| draw()));
        quantile(&sample, 0.5)
    });
    let medians = sorted(medians.collect::<Vec<_>>().into_iter());
    [quantile(&medians, 0.025), quantile(&medians, 0.975)]
}

/// The Kruskal-Wallis test of three dynos: with two degrees of freedom the probability is
/// `exp(-H / 2)`. NaN where there are not three.
fn alike(answers: &[Answer]) -> f64 {
    let mut ranked: Vec<&Answer> = answers.iter().collect();
    ranked.sort_by_key(|answer| answer.run.duration_ns);
    let mut sums = [(0.0, 0.0); 3];
    for (rank, answer) in ranked.iter().enumerate() {
        let Some((sum, count)) = sums.get_mut(answer.dyno) else { return f64::NAN };
        *sum += number(rank + 1);
        *count += 1.0;
    }
    if sums.iter().any(|(_, count)| *count == 0.0) {
        return f64::NAN;
    }
    let all = number(answers.len());
    let squares: f64 = sums.iter().map(|(sum, count)| sum * sum / count).sum();
    let h = 12.0 / (all * (all + 1.0)) * squares - 3.0 * (all + 1.0);
    (-h.max(0.0) / 2.0).exp()
}

#[expect(clippy::cast_precision_loss, reason = "numbers of requests")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "times of a request")]
fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::scene::Demand;
    use super::*;
    use lathe_dynos::class::Classes;

    fn answers(durations_ms: &[u64]) -> Vec<Answer> {
        let answer = |(index, ms): (usize, &u64)| Answer {
            dyno: index % 3,
            run: Run {
                duration_ns: ms * 1_000_000,
                cpu_ns: 2_000_000,
                each_ns: vec![ms * 500_000; 2],
            },
        };
        durations_ms.iter().enumerate().map(answer).collect()
    }

    #[test]
    fn figures_of_a_class() {
        let scene = Scene { demand: Demand::Busy, noisy: false, credits: false };
        let basic = Classes::standard().named("basic").unwrap();
        let row = Row::of(scene, &basic, &answers(&[10, 20, 30, 40, 100]));
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        near(row.median_ms, 30.0);
        near(row.max_ms, 100.0);
        near(row.cpu_ms, 2.0);
        near(row.requests_per_s, 25.0);
        near(row.requests_per_s_and_100_dollars.unwrap(), 25.0 * 100.0 / 7.0);
        near(row.mib_per_dollar.unwrap(), 512.0 / 7.0);
        near(row.piece.median_ms, 20.0);
        let [low, high] = row.median_between_ms;
        assert!((10.0..=30.0).contains(&low) && (30.0..=100.0).contains(&high), "{low} {high}");
    }

    #[test]
    fn dynos_that_differ_are_told_from_those_that_do_not() {
        let mixed: Vec<u64> = (0..30).map(|n| 100 + n * 7 % 30).collect();
        assert!(alike(&answers(&mixed)) > 0.05);
        let apart: Vec<u64> = (0..30).map(|n| 100 + n % 3 * 100 + n).collect();
        assert!(alike(&answers(&apart)) < 0.001);
        assert!(alike(&answers(&[1, 2])).is_nan());
    }
}
