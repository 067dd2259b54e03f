//! What a dyno uses and what is told of it.

use super::{Machine, Running, SECOND, slot};
use crate::cell::Stop;
use crate::containers::Usage;
use crate::fake::{Behaviour, desired};
use crate::spec::{Desired, EndCause, Slot, Wanted};
use imbl::OrdMap;
use std::sync::Arc;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn memory_is_told_and_ended() {
    let usage = |rss_mib: u64, swap_mib: u64| Usage {
        memory_rss_bytes: rss_mib << 20,
        memory_swap_bytes: swap_mib << 20,
        ..Usage::default()
    };
    let machine = Machine::new(Behaviour { usage: usage(512, 8), ..Behaviour::default() });
    let mut cell = machine.cell(desired(1, ["worker.1"]));
    sleep(SECOND * 45).await;
    let r14 = "heroku[worker.1]: Error R14 (Memory quota exceeded)";
    assert_eq!(cell.said().iter().filter(|line| *line == r14).count(), 2);
    cell.end(Stop::StopDynos).await;

    let machine = Machine::new(Behaviour { usage: usage(512, 600), ..Behaviour::default() });
    let mut cell = machine.cell(desired(1, ["worker.1"]));
    cell.until("a crash", |o| o.dynos.values().any(|dyno| dyno.crashes == 1)).await;
    assert_eq!(
        cell.said()[3..7],
        [
            "heroku[worker.1]: Process running mem=1112MB(217.1%)",
            "heroku[worker.1]: Error R15 (Memory quota vastly exceeded)",
            "heroku[worker.1]: Stopping process with SIGKILL",
            "heroku[worker.1]: Process exited with status 137",
        ]
    );
    let end = cell.observed.borrow().dynos[&slot("worker.1")].last_end.clone().unwrap();
    assert_eq!(end.cause, EndCause::OutOfMemory);
    cell.end(Stop::LeaveDynos).await;
}

fn with_metrics(wish: &Desired, metrics: bool) -> OrdMap<Slot, Arc<Wanted>> {
    let dynos = wish.dynos.iter();
    let told = |wanted: &Wanted| Arc::new(Wanted { metrics, ..wanted.clone() });
    dynos.map(|(slot, wanted)| (slot.clone(), told(wanted))).collect()
}

#[tokio::test(start_paused = true)]
async fn metrics_are_told_every_twenty_seconds_while_they_are_wanted() {
    let usage = Usage { memory_rss_bytes: 21 << 20, ..Usage::default() };
    let machine = Machine::new(Behaviour { usage, runnable: 2, ..Behaviour::default() });
    let mut wish = desired(1, ["worker.1"]);
    let mut cell = machine.cell(wish.clone());
    let metrics = |cell: &mut Running| -> Vec<String> {
        let said = cell.said().into_iter();
        said.filter(|line| line.starts_with("heroku[worker.1]: source=")).collect()
    };
    sleep(SECOND * 90).await;
    assert!(metrics(&mut cell).is_empty(), "nobody has asked");
    wish.generation += 1;
    wish.dynos = with_metrics(&wish, true);
    cell.desired.send_replace(Arc::new(wish.clone()));
    sleep(SECOND * 90).await;
    let told = metrics(&mut cell);
    assert!((8..=10).contains(&told.len()), "{told:?}");
    let last = &told[told.len() - 2..];
    assert!(
        last[0].contains(" dyno=heroku.") && last[0].contains("sample#load_avg_1m=1."),
        "{last:?}"
    );
    assert!(last[1].contains("sample#memory_total=21.00MB sample#memory_rss=21.00MB"), "{last:?}");
    wish.generation += 1;
    wish.dynos = with_metrics(&wish, false);
    cell.desired.send_replace(Arc::new(wish));
    sleep(SECOND * 30).await;
    metrics(&mut cell);
    sleep(SECOND * 90).await;
    assert!(metrics(&mut cell).is_empty(), "nobody asks any more");
    let starts = machine.fake.starts().len();
    assert_eq!(starts, 1, "no dyno was restarted for it");
    cell.end(Stop::StopDynos).await;
}
