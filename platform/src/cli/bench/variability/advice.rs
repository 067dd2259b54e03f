//! What the figures say: whether classes are in order, whether credits steady them, and which class
//! is worth its price for what. Computed from the rows. Pure.

use super::scene::{Demand, Scene};
use super::summary::Row;

/// Figures that differ by less are the same.
const SAME: f64 = 0.1;
/// How much slower than the best an answer may be for somebody.
const SLOWER: [f64; 3] = [1.5, 3.0, 10.0];

/// Sentences, one a line.
pub(super) fn advice(rows: &[Row]) -> Vec<String> {
    let mut said = Vec::new();
    for credits in [false, true] {
        said.extend(order(rows, credits));
    }
    said.extend(tightening(rows, Demand::Busy));
    said.extend(tightening(rows, Demand::Paced));
    said.extend(density(rows));
    said.extend(steadiness(rows));
    said
}

fn of(rows: &[Row], scene: Scene) -> Vec<&Row> {
    rows.iter().filter(|row| row.scene == scene).collect()
}

fn with(credits: bool) -> &'static str {
    if credits { "with credits" } else { "without credits" }
}

/// Whether more baseline is more requests, under noise.
fn order(rows: &[Row], credits: bool) -> Option<String> {
    let mut rows = of(rows, Scene { demand: Demand::Busy, noisy: true, credits });
    if rows.len() < 2 {
        return None;
    }
    rows.sort_by(|a, b| a.baseline.total_cmp(&b.baseline));
    let (mut apart, mut wrong) = (0, Vec::new());
    for pair in rows.windows(2) {
        let [less, more] = pair else { continue };
        if more.baseline < less.baseline * (1.0 + SAME) {
            continue;
        }
        match more.requests_per_s / less.requests_per_s {
            faster if faster > 1.0 + SAME => apart += 1,
            slower if slower < 1.0 - SAME => {
                wrong.push(format!("{} is faster than {}", less.class, more.class));
            }
            _ => {}
        }
    }
    let verdict = match (wrong.is_empty(), apart) {
        (true, 0) => "no class is faster than another".to_owned(),
        (true, _) => "the classes are in the order of their baselines".to_owned(),
        (false, _) => format!("the order of the classes is broken: {}", wrong.join(", ")),
    };
    Some(format!("Among noisy neighbours, {}, {verdict}.", with(credits)))
}

/// What neighbours do to the median and to the variation, with credits and without.
fn tightening(rows: &[Row], demand: Demand) -> Vec<String> {
    let find = |class: &str, noisy, credits| {
        let scene = Scene { demand, noisy, credits };
        rows.iter().find(|row| row.class == class && row.scene == scene)
    };
    let what = match demand {
        Demand::Busy => "that want all they can get",
        Demand::Paced => "that stay below their baseline",
    };
    let (mut lines, mut tighter, mut all) = (Vec::new(), 0, 0);
    for row in of(rows, Scene { demand, noisy: false, credits: false }) {
        let (Some(noisy), Some(quiet_on), Some(noisy_on)) = (
            find(&row.class, true, false),
            find(&row.class, false, true),
            find(&row.class, true, true),
        ) else {
            continue;
        };
        let (off, on) = (noisy.median_ms / row.median_ms, noisy_on.median_ms / quiet_on.median_ms);
        all += 1;
        let steadier = noisy_on.variation < noisy.variation * (1.0 - SAME);
        tighter += usize::from(steadier && on < off * (1.0 + SAME));
        lines.push(format!(
            "  {:<16} noise makes a request {off:.2} times as long without credits, {on:.2} times \
             with; its variation is {:.2} and {:.2}",
            row.class, noisy.variation, noisy_on.variation
        ));
    }
    if all > 0 {
        let verdict = match tighter {
            _ if tighter == all => "credits steady all of them",
            0 => "credits steady none of them",
            _ => "credits steady some of them",
        };
        lines.insert(0, format!("Dynos {what}: {verdict} ({tighter} of {all})."));
    }
    lines
}

/// Where the most work is done for the money.
fn density(rows: &[Row]) -> Option<String> {
    let rows = of(rows, Scene { demand: Demand::Busy, noisy: true, credits: true });
    let value = |row: &&Row| row.requests_per_s_and_100_dollars.unwrap_or(0.0);
    let best = rows.iter().max_by(|a, b| value(a).total_cmp(&value(b)))?;
    let worst = rows
        .iter()
        .filter(|row| row.price.is_some())
        .min_by(|a, b| value(a).total_cmp(&value(b)))?;
    Some(format!(
        "Work that may wait is cheapest on {}: {:.2} requests/s for $100 a month, {:.1} times as \
         many as on {}.",
        best.class,
        value(best),
        value(best) / value(worst),
        worst.class
    ))
}

/// The cheapest class for each patience.
fn steadiness(rows: &[Row]) -> Vec<String> {
    let quiet = rows.iter().filter(|row| !row.scene.noisy && row.scene.demand == Demand::Paced);
    let best = quiet.map(|row| row.median_ms).fold(f64::INFINITY, f64::min);
    if !best.is_finite() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for slower in SLOWER {
        let fit = |credits: bool| {
            let scene = Scene { demand: Demand::Paced, noisy: true, credits };
            let rows = of(rows, scene).into_iter();
            let fit = rows.filter(|row| row.price.is_some() && row.p99_ms <= best * slower);
            let cheapest =
                fit.min_by(|a, b| a.price.unwrap_or(0.0).total_cmp(&b.price.unwrap_or(0.0)));
            cheapest.map_or("no class measured".to_owned(), |row| {
                format!("{} (${})", row.class, row.price.unwrap_or(0.0))
            })
        };
        lines.push(format!(
            "99 of 100 requests within {slower} times the best median ({best:.1} ms), among noisy \
             neighbours: {} with credits, {} without.",
            fit(true),
            fit(false)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::summary::Answer;
    use super::*;
    use crate::cli::bench::work::Run;
    use lathe_dynos::class::Classes;

    fn row(class: &str, scene: Scene, durations_ms: &[u64]) -> Row {
        let answer = |ms: &u64| Answer {
            dyno: 0,
            run: Run { duration_ns: ms * 1_000_000, cpu_ns: 1, each_ns: vec![1] },
        };
        let answers: Vec<Answer> = durations_ms.iter().map(answer).collect();
        Row::of(scene, &Classes::standard().named(class).unwrap(), &answers)
    }

    fn scene(demand: Demand, noisy: bool, credits: bool) -> Scene {
        Scene { demand, noisy, credits }
    }

    #[test]
    fn what_the_figures_say_is_said() {
        let (busy, paced) = (Demand::Busy, Demand::Paced);
        let rows = [
            row("basic", scene(busy, true, true), &[100]),
            row("standard-1x", scene(busy, true, true), &[50]),
            row("basic", scene(busy, true, false), &[50]),
            row("standard-1x", scene(busy, true, false), &[100]),
            row("basic", scene(paced, false, false), &[10, 10]),
            row("basic", scene(paced, true, false), &[20, 200]),
            row("basic", scene(paced, false, true), &[10, 10]),
            row("basic", scene(paced, true, true), &[11, 12]),
        ];
        let said = advice(&rows).join("\n");
        for line in [
            "without credits, the order of the classes is broken: Basic is faster than Standard-1X.",
            "with credits, the classes are in the order of their baselines.",
            "Dynos that stay below their baseline: credits steady all of them (1 of 1).",
            "Work that may wait is cheapest on Basic: 142.86 requests/s for $100 a month, 1.8 times",
            "within 1.5 times the best median (10.0 ms), among noisy neighbours: Basic ($7) with \
             credits, no class measured without.",
        ] {
            assert!(said.contains(line), "{line}\nis not in\n{said}");
        }
        assert!(advice(&[]).is_empty());
    }
}
