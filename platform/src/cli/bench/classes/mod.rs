//! `lathe bench classes`: dynos of several classes that want all CPU they can get, alone and
//! together; what each got beside what its weight and its quota promise.

mod promise;

use super::figures::load;
use super::machine::Machine;
use super::paper::Json;
use super::yard::{ENFORCE, Worker, Yard, spent};
use super::{BenchError, within};
use crate::cli::say::say;
use crate::config::Config;
use clap::Args;
use lathe_dynos::class::{Class, Classes as Table, SHARES_OF_CPU};
use lathe_dynos::governor::setting::Setting;
use promise::{DISTURBANCE, Hog, Verdict, shares};
use serde::Serialize;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// From a hog's start until quotas and the scheduler's averages are what they stay, seconds; less
/// where less is counted.
const SETTLE_S: u64 = 2;

/// What to measure.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "a field is an option of the command line")]
pub(in crate::cli) struct Classes {
    /// Classes whose dynos take part
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Eco,Basic,Standard-1X,Standard-2X,performance-1x"
    )]
    classes: Vec<String>,
    /// Dynos of each class that shares its CPUs, when all run together
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    copies: u32,
    /// Seconds that are counted of each scene
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Serialize)]
struct Report {
    load: [String; 2],
    cpus: usize,
    rows: Vec<Row>,
    /// Classes that take no part, and why.
    absent: Vec<(String, String)>,
}

/// One class in one scene; CPUs of one dyno.
#[derive(Debug, Serialize)]
struct Row {
    scene: &'static str,
    class: String,
    dynos: usize,
    promised: f64,
    measured: f64,
    /// CPUs that others than the dynos used.
    others: f64,
    /// CPUs that this machine's own host kept to itself.
    stolen: f64,
    verdict: Verdict,
}

/// CPUs that the dynos of a scene could not have.
#[derive(Clone, Copy)]
struct Missing {
    others: f64,
    stolen: f64,
}

/// Who runs, and what is done about credits.
struct Scene {
    name: &'static str,
    classes: Vec<Class>,
    setting: Setting,
}

pub(super) async fn classes(config: &Config, how: &Classes) -> Result<(), BenchError> {
    let before = load();
    let cpus = available_parallelism().map_or(1, std::num::NonZero::get);
    let (classes, absent) = choose(&config.classes, &how.classes, cpus);
    let yard = Yard::open(config).await?;
    let scenes = scenes(&classes, how.copies);
    let measured = within(async {
        let mut rows = Vec::new();
        for scene in &scenes {
            rows.extend(play(&yard, scene, cpus, how).await?);
        }
        Ok(rows)
    })
    .await;
    yard.close().await?;
    let report = Report { load: [before, load()], cpus, rows: measured?, absent };
    show(&report, how);
    how.json.write(&report)
}

/// The classes there are; those that need more CPUs to themselves than can be spared are absent.
fn choose(all: &Table, names: &[String], cpus: usize) -> (Vec<Class>, Vec<(String, String)>) {
    let (mut classes, mut absent) = (Vec::new(), Vec::new());
    // One is left to those that share.
    let mut free = cpus.saturating_sub(1);
    for name in names {
        let Some(class) = all.named(name) else {
            absent.push((name.clone(), "there is no such class".into()));
            continue;
        };
        match free.checked_sub(class.own_cpus as usize) {
            Some(left) => {
                free = left;
                classes.push(class);
            }
            None => absent.push((
                class.name,
                format!("it has {} CPUs to itself, and {free} can be spared", class.own_cpus),
            )),
        }
    }
    (classes, absent)
}

fn scenes(classes: &[Class], copies: u32) -> Vec<Scene> {
    let crowd = |class: &Class| {
        let count = if class.own_cpus > 0 { 1 } else { copies as usize };
        vec![class.clone(); count]
    };
    let all: Vec<Class> = classes.iter().flat_map(crowd).collect();
    let alone = |class: &Class| vec![class.clone()];
    let mut scenes = Vec::new();
    for (name, setting) in [("alone", Setting::Off), ("alone, no balance", ENFORCE)] {
        let shared =
            classes.iter().filter(|class| setting == Setting::Off || class.credit.is_some());
        scenes.extend(shared.map(|class| Scene { name, classes: alone(class), setting }));
    }
    for (name, setting) in [("together", Setting::Off), ("together, no balance", ENFORCE)] {
        scenes.push(Scene { name, classes: all.clone(), setting });
    }
    scenes
}

async fn play(
    yard: &Yard,
    scene: &Scene,
    cpus: usize,
    how: &Classes,
) -> Result<Vec<Row>, BenchError> {
    yard.treat(scene.setting)?;
    let mut hogs = Vec::new();
    for class in &scene.classes {
        let threads = threads(class, cpus).to_string();
        hogs.push(yard.start(&spent(class), &["spin", "--threads", &threads]).await?);
    }
    yard.governed(&hogs).await?;
    tokio::time::sleep(Duration::from_secs(how.seconds.min(SETTLE_S))).await;
    let used = |hogs: &[Worker]| -> Vec<Duration> { hogs.iter().map(Worker::used).collect() };
    let (machine, begin, before) = (Machine::now()?, Instant::now(), used(&hogs));
    tokio::time::sleep(Duration::from_secs(how.seconds)).await;
    let (after, seconds, then) = (used(&hogs), begin.elapsed().as_secs_f64(), Machine::now()?);
    yard.end(hogs).await?;
    let got: Vec<f64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after.saturating_sub(*before).as_secs_f64() / seconds)
        .collect();
    let rate = |then: Duration, now: Duration| now.saturating_sub(then).as_secs_f64() / seconds;
    let others = rate(machine.busy, then.busy) - got.iter().sum::<f64>();
    let stolen = rate(machine.stolen, then.stolen);
    Ok(rows(scene, cpus, &got, Missing { others: others.max(0.0), stolen }))
}

/// As many as its quota lets run at once.
fn threads(class: &Class, cpus: usize) -> usize {
    class.cpu_millis_max.map_or(cpus, |millis| millis.div_ceil(1000) as usize).min(cpus)
}

fn rows(scene: &Scene, cpus: usize, got: &[f64], missing: Missing) -> Vec<Row> {
    let Missing { others, stolen } = missing;
    let promised = promises(scene, cpus, missing);
    let mut rows: Vec<Row> = Vec::new();
    for ((class, promised), measured) in scene.classes.iter().zip(promised).zip(got) {
        let name = scene.name;
        match rows.iter_mut().find(|row| row.class == class.name) {
            Some(row) => {
                row.dynos += 1;
                row.measured += measured;
            }
            None => rows.push(Row {
                scene: name,
                class: class.name.clone(),
                dynos: 1,
                promised,
                measured: *measured,
                others,
                stolen,
                verdict: Verdict::Holds,
            }),
        }
    }
    for row in &mut rows {
        row.measured /= number(row.dynos);
        row.verdict = Verdict::of(row.promised, row.measured, others + stolen);
    }
    rows
}

/// CPUs of each dyno. Nobody was promised what others on this machine take, but CPUs of one's own
/// are nobody else's; what the host takes, it takes of every CPU.
fn promises(scene: &Scene, cpus: usize, missing: Missing) -> Vec<f64> {
    let Missing { others, stolen } = missing;
    let left = number(cpus) - if others > DISTURBANCE { others } else { 0.0 };
    let speed = (1.0 - stolen / number(cpus)).max(0.0);
    let own: u32 = scene.classes.iter().map(|class| class.own_cpus).sum();
    let enforced = scene.setting != Setting::Off;
    let shared: Vec<&Class> = scene.classes.iter().filter(|class| class.own_cpus == 0).collect();
    let hog = |class: &&Class| Hog {
        weight: f64::from(class.cpu_shares),
        cap: if enforced && class.credit.is_some() {
            f64::from(class.cpu_shares) / f64::from(SHARES_OF_CPU)
        } else {
            number(threads(class, cpus))
        },
    };
    let hogs: Vec<Hog> = shared.iter().map(hog).collect();
    let mut given = shares((left - f64::from(own)).max(0.0) * speed, &hogs).into_iter();
    let each = scene.classes.iter();
    each.map(|class| match class.own_cpus {
        0 => given.next().unwrap_or(0.0),
        own => f64::from(own) * speed,
    })
    .collect()
}

#[expect(clippy::cast_precision_loss, reason = "numbers of dynos and CPUs")]
fn number(count: usize) -> f64 {
    count as f64
}

fn show(report: &Report, how: &Classes) {
    let [before, after] = &report.load;
    say!("-----> Hogs on {} CPUs, {} s each scene", report.cpus, how.seconds);
    say!("       CPUs of one dyno; load {before} before, {after} after");
    say!(
        "{:<21} {:<16} {:>5} {:>9} {:>9} {:>7} {:>7}  verdict",
        "scene",
        "class",
        "dynos",
        "promised",
        "measured",
        "others",
        "stolen"
    );
    for row in &report.rows {
        say!(
            "{:<21} {:<16} {:>5} {:>9.4} {:>9.4} {:>7.2} {:>7.2}  {}",
            row.scene,
            row.class,
            row.dynos,
            row.promised,
            row.measured,
            row.others,
            row.stolen,
            row.verdict.name()
        );
    }
    for (name, reason) in &report.absent {
        say!("absent: {name}: {reason}");
    }
    let count = |verdict| report.rows.iter().filter(|row| row.verdict == verdict).count();
    say!(
        "{} of {} promises hold, {} do not, {} were disturbed by others on this machine",
        count(Verdict::Holds),
        report.rows.len(),
        count(Verdict::NotHeld),
        count(Verdict::Disturbed)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_follow_weights_quotas_and_cpus_of_ones_own() {
        let all = Table::standard();
        let named = |names: &[&str]| names.iter().map(|name| all.named(name).unwrap()).collect();
        let shared = &["performance-1x", "Eco", "Basic"][..];
        let missing = |others, stolen| Missing { others, stolen };
        for (names, setting, missing, expected) in [
            (&["Eco"][..], Setting::Off, missing(0.0, 0.0), &[1.0][..]),
            (&["Standard-2X"], Setting::Off, missing(0.05, 0.0), &[2.0]),
            (&["Standard-2X", "Eco"], ENFORCE, missing(0.0, 0.0), &[0.5, 0.0625]),
            (shared, Setting::Off, missing(0.0, 0.0), &[1.0, 1.0 / 3.0, 2.0 / 3.0]),
            (shared, Setting::Off, missing(0.4, 0.0), &[1.0, 0.2, 0.4]),
            (shared, Setting::Off, missing(0.0, 0.5), &[0.75, 0.25, 0.5]),
        ] {
            let scene = Scene { name: "", classes: named(names), setting };
            for (promised, expected) in promises(&scene, 2, missing).iter().zip(expected) {
                assert!((promised - expected).abs() < 1e-3, "{names:?}: {promised} not {expected}");
            }
        }
    }

    #[test]
    fn a_class_that_leaves_no_cpu_to_the_others_is_absent() {
        let names = ["performance-1x", "performance-2x", "none"].map(str::to_owned);
        let (chosen, absent) = choose(&Table::standard(), &names, 2);
        assert_eq!(chosen.len(), 1);
        assert_eq!(absent.len(), 2, "{absent:?}");
    }
}
