//! The control plane over many machines, all of them and the network between them pretended.
//! Whatever happens, nobody is harmed meanwhile, and in the end what is wanted runs.
//!
//! Real are the control loop's plan and each cell's decisions; `fleet` is what stands between them
//! where there is more than one cell. The failures are those of Cloud Foundry Diego's experiments
//! and incidents: cells lost, state lost and put back, partial, late and repeated reports.

mod apps;
mod fleet;
mod judge;
mod network;
mod story;
mod world;

use super::plan::Turn;
use fleet::Fault;
use lathe_dynos::fake::Dice;
use lathe_dynos::tracked::Action;
use lathe_router::AppRoute;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use world::{Size, World};

const SEEDS: u64 = 200;
const SMALL: Size = Size { machines: 6, apps: 6, dynos: 5 };
const EPISODES: u32 = 8;
/// Long enough for what is silent to be taken for lost.
const MISSED_MS: u64 = fleet::SILENT_MS + 5_000;

/// 20,000 dynos on a thousand machines; `LATHE_SIMULATION_DYNOS=100` makes that 100,000, which take
/// five times as long.
fn large() -> Size {
    let dynos = std::env::var("LATHE_SIMULATION_DYNOS").map_or(20, |text| text.parse().unwrap());
    Size { machines: 1000, apps: 1000, dynos }
}

/// `LATHE_SEED=17` lives that one life again.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("LATHE_SEED").map(|text| text.parse::<u64>()) {
        Ok(seed) => {
            let seed = seed.unwrap();
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    }
}

fn live(seed: u64) {
    let lived = panic::catch_unwind(AssertUnwindSafe(|| life(seed, None)));
    if let Err(cause) = lived {
        eprintln!("seed {seed} fails; LATHE_SEED={seed} lives it again");
        panic::resume_unwind(cause);
    }
}

fn life(seed: u64, fault: Option<Fault>) {
    let mut world = World::new(SMALL, fault, seed);
    let mut dice = Dice::new(seed ^ 0x5eed);
    world.settle();
    for _ in 0..EPISODES {
        story::episode(&mut world, &mut dice);
    }
    story::calm(&mut world);
    world.settle();
}

/// Decisions that are wrong, each found by some life.
const FAULTS: [(&str, Fault); 4] = [
    (
        "a cell does every start twice",
        Fault::Cell(|actions| {
            let starts = actions.iter().filter(|action| matches!(action, Action::Start { .. }));
            let starts: Vec<Action> = starts.cloned().collect();
            actions.extend(starts);
        }),
    ),
    (
        "a cell forgets no dyno that has ended",
        Fault::Cell(|actions| actions.retain(|action| !matches!(action, Action::Forget { .. }))),
    ),
    (
        "an app has a route to another's dyno",
        Fault::Plan(|plan| {
            let serving = |route: &&Arc<AppRoute>| !route.targets.is_empty();
            let target = plan.routes.values().find(serving).map(|route| route.targets[0].clone());
            if let Some(mut last) = plan.routes.last_entry() {
                Arc::make_mut(last.get_mut()).targets.extend(target);
            }
        }),
    ),
    (
        "a release that does not boot is promoted",
        Fault::Plan(|plan| {
            for turn in &mut plan.turns {
                if let Turn::Fail { app, version, .. } = turn {
                    *turn = Turn::Promote { app: app.clone(), version: *version };
                }
            }
        }),
    ),
];

#[test]
fn planted_faults_are_found() {
    for (what, fault) in FAULTS {
        let fails = |seed| panic::catch_unwind(|| life(seed, Some(fault))).is_err();
        let found = (0..SEEDS).find(|seed| fails(*seed));
        assert!(found.is_some(), "no life shows it: {what}");
        println!("{what}: found by seed {}", found.unwrap_or_default());
    }
}

#[test]
fn two_hundred_lives_end_well() {
    let begin = Instant::now();
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    live(seed);
                }
            });
        }
    });
    println!("{} lives in {:?}", seeds.end - seeds.start, begin.elapsed());
}

/// Diego's experiment: five random cells are lost, later all of the state, and both come back.
#[test]
fn a_thousand_machines_lose_five_and_then_their_state() {
    let begin = Instant::now();
    let size = large();
    let mut world = World::new(size, None, 1);
    world.settle();
    println!("{} dynos up after {:?}, virtual {} ms", size.all(), begin.elapsed(), world.now_ms);
    let mut dice = Dice::new(2);
    let from_ms = world.now_ms;
    story::lose_machines(&mut world, &mut dice, 5, true);
    world.run(MISSED_MS);
    story::calm(&mut world);
    world.settle();
    println!(
        "five cells lost and back: {:?}, virtual {} ms",
        begin.elapsed(),
        world.now_ms - from_ms
    );
    story::lose_state(&mut world, MISSED_MS);
    world.settle();
    println!("state lost and back: {:?}", begin.elapsed());
}
