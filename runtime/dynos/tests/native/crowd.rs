//! Many starts at once, of which some fail and some end at once: the spawner keeps them apart.

use super::world::{PATIENCE, World};
use lathe_dynos::containers::{Containers, StartError};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const ROUNDS: usize = 12;
const AT_ONCE: usize = 9;

/// Descriptor numbers are used again at once, and the kernel goes on telling about a closed
/// descriptor while a container that has just been cloned holds a copy. A spawner that took such
/// word for another container's would wait for that one's end, and answer nobody meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn starts_at_once_do_not_mix() {
    let world = Arc::new(World::new().await);
    for _ in 0..ROUNDS {
        let mut starts = JoinSet::new();
        for number in 0..AT_ONCE {
            let world = Arc::clone(&world);
            starts.spawn(async move {
                let mut start =
                    world.start_of(if number % 3 == 1 { "exit 5" } else { "sleep 100" });
                if number % 3 == 0 {
                    start.argv = Some(vec!["/no/such/program".to_owned()]);
                }
                let id = start.id;
                let started = timeout(PATIENCE, world.engine.start(start)).await;
                match started.expect("the spawner answers") {
                    Err(StartError::Step { .. }) if number % 3 == 0 => return,
                    other => drop(other.unwrap()),
                }
                if number % 3 == 2 {
                    world.engine.kill(id).await.unwrap();
                }
                let expected = if number % 3 == 1 { 5 } else { 137 };
                assert_eq!(world.end(id).await.status, expected);
                world.engine.forget(id).await.unwrap();
            });
        }
        while let Some(done) = starts.join_next().await {
            done.unwrap();
        }
    }
    Arc::into_inner(world).unwrap().close().await;
}
