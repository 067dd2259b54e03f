//! CPU credit and CPUs of one's own, as the kernel has them.

use super::world::{World, class, wait_for};
use lathe_dynos::class::{Class, Demand};
use lathe_dynos::clock::Clock;
use lathe_dynos::containers::{Containers, StartError};
use lathe_dynos::governor::credit::Terms;
use lathe_dynos::governor::rollout::{Change, Scope};
use lathe_dynos::governor::setting::Setting;
use lathe_dynos::governor::{Config, Credit, Governor, Running};
use std::fs;
use std::time::{Duration, Instant};

const BUSY: &str = "while :; do :; done";

/// A sixteenth of one CPU, and one second to begin with.
fn sixteenth() -> Class {
    let second = Duration::from_secs(1);
    let terms = Terms { cpus: 1, baseline_ppm: 62_500, initial: second, max: second };
    Class { cpu_shares: 8192, cpu_millis_max: Some(1000), credit: Some(terms), ..class() }
}

/// Puts this world's dynos before everything else on the machine, however crowded it is.
fn hurry(world: &World) {
    let group = format!("lathe-{}", world.config.instance);
    let v1 = format!("/sys/fs/cgroup/cpu/{group}/cpu.shares");
    let v2 = format!("/sys/fs/cgroup/{group}/cpu.weight");
    fs::write(v1, "262144").or_else(|_| fs::write(v2, "10000")).unwrap();
}

fn govern(world: &World) -> (Governor, Running) {
    let dir = world.dir.path().join("governor");
    let config = Config { dir, load_limit: u32::MAX, clock: Clock::default() };
    let (logs, _lines) = lathe_logs::channel(16);
    Governor::start(config, world.engine.clone(), logs).unwrap()
}

fn enforce(governor: &Governor) {
    let setting = Some(Setting::Enforce { percent: 100, strength: 100 });
    governor.change(Change { scope: Scope::Cell, setting, trial: None }).unwrap();
}

fn only(governor: &Governor) -> Option<Credit> {
    governor.credits(None).pop()
}

/// Waits until the dyno is held: what it had then, and for how long the governor did not look at it
/// at most. On a crowded machine its decisions come late, and until they come the dyno runs.
async fn held(governor: &Governor) -> (Credit, Duration) {
    let (mut used, mut looked, mut late) = (0.0, Instant::now(), Duration::ZERO);
    let mut found = None;
    wait_for("the dyno to be held", || {
        let Some(credit) = only(governor) else { return false };
        if credit.used > used {
            late = late.max(looked.elapsed());
            (used, looked) = (credit.used, Instant::now());
        }
        let held = credit.held;
        found = Some(credit).filter(|_| held);
        held
    })
    .await;
    (found.unwrap(), late)
}

/// fault R9
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_lasts_its_balance_and_then_the_baseline_is_all() {
    let world = World::new().await;
    hurry(&world);
    let (governor, running) = govern(&world);
    enforce(&governor);
    let mut start = world.start_of(BUSY);
    start.spec.class = sixteenth();
    let id = start.id;
    let began = Instant::now();
    world.engine.start(start).await.unwrap();

    // However fast the machine let it run: it has used what it had and what it earned meanwhile, and no
    // more than the governor could not know of.
    let (credit, late) = held(&governor).await;
    let allowed = 1.0 + began.elapsed().as_secs_f64() / 16.0 + late.as_secs_f64();
    assert!((0.95..allowed + 0.1).contains(&credit.used), "{late:?} late: {credit:?}");
    assert_eq!((credit.balance, credit.cap), (Some(0.0), Some(1.0)));

    // From when the kernel was told on, by the kernel's own account: the governor's is as old as its
    // last look.
    let group = world.engine.governed(id).await.unwrap().group;
    wait_for("the kernel to be told", || lathe_dynos::governor::quota(&group) == Some(6250)).await;
    let used_ns = async || world.engine.usage(id).await.unwrap().cpu_ns;
    let (before, before_ns, from) = (only(&governor).unwrap(), used_ns().await, Instant::now());
    wait_for("the kernel to hold it back often", || {
        only(&governor).unwrap().throttled_periods > before.throttled_periods + 20
    })
    .await;
    let after_ns = used_ns().await;
    let used = Duration::from_nanos(after_ns - before_ns).as_secs_f64();
    let baseline = from.elapsed().as_secs_f64() / 16.0;
    let after = only(&governor).unwrap();
    // A period that the machine kept from it is saved, and used in the next burst.
    assert!(used < 1.5 * baseline + 0.1, "{used} s of a CPU where {baseline} s are its: {after:?}");
    assert!(after.throttled > before.throttled);

    // Another governor goes on where this one has ended, and meanwhile nobody bursts.
    let stopped = Instant::now();
    running.stop();
    let safe = lathe_dynos::governor::quota(&group).unwrap();
    assert_eq!(safe, 6250, "without a governor it has its baseline");
    let (governor, running) = govern(&world);
    wait_for("the new governor to meet the dyno", || only(&governor).is_some()).await;
    let credit = only(&governor).unwrap();
    let earned = stopped.elapsed().as_secs_f64() / 16.0;
    assert!(credit.balance.unwrap() < 0.2 + earned, "no new balance: {credit:?}");
    running.stop();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_dyno_is_not_held_and_owes() {
    let world = World::new().await;
    hurry(&world);
    let (governor, running) = govern(&world);
    let mut start = world.start_of(BUSY);
    start.spec.class = sixteenth();
    let id = start.id;
    world.engine.start(start).await.unwrap();
    wait_for("it to owe", || {
        only(&governor).and_then(|credit| credit.balance).is_some_and(|balance| balance < -0.2)
    })
    .await;
    let group = world.engine.governed(id).await.unwrap().group;
    assert_eq!(lathe_dynos::governor::quota(&group), Some(100_000));
    assert!(only(&governor).unwrap().held, "it would be");
    running.stop();
    world.close().await;
}

#[tokio::test]
async fn cpus_of_ones_own_are_nobody_elses() {
    let world = World::new().await;
    let cpus = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    assert!(cpus >= 2, "with one CPU there is none to set aside");
    let see = "while read -r name list; do [ $name = Cpus_allowed_list: ] && echo $list; done \
               < /proc/self/status; [ $DYNO = seen.1 ] || read -r _ < <(sleep 100)";
    let start = |name: &str, own_cpus: u32| {
        let mut start = world.start_of(see);
        start.spec.name = name.into();
        start.spec.class = Class { own_cpus, ..class() };
        start
    };
    let last = (cpus - 1).to_string();
    let own = start("own.1", 1);
    let id = own.id;
    world.engine.start(own).await.unwrap();
    world.hear(id, &last, 1).await;

    // Its successor starts beside it and has the same; others have the rest, or are refused.
    let next = start("own.1", 1);
    let next_id = next.id;
    world.engine.start(next).await.unwrap();
    world.hear(next_id, &last, 1).await;
    let (seen, _) = world.run_start(start("seen.1", 0)).await;
    let listed = |list: &str| list.trim().split([',', '-']).any(|cpu| cpu == last);
    assert!(!listed(&seen), "{seen} has {last}");
    match world.engine.start(start("greedy.1", cpus)).await {
        Err(StartError::NoRoom(shortage)) => {
            let left = cpus - 1;
            let why = format!("of the {cpus} that this machine can set aside {left} are left");
            assert!(shortage.to_string().contains(&why), "{shortage}");
            assert_eq!(
                shortage.promised,
                u64::from(Demand::from(&Class { own_cpus: 1, ..class() }).own_cpus)
            );
        }
        other => panic!("{other:?}"),
    }
    for id in [id, next_id] {
        world.engine.kill(id).await.unwrap();
        world.end(id).await;
    }
    let mut all = String::new();
    for _ in 0..100 {
        // The end is told before its CPUs are shared again.
        all = world.run_start(start("seen.1", 0)).await.0;
        if listed(&all) {
            break;
        }
    }
    assert!(listed(&all), "{all} has not {last}");
    world.close().await;
}
