//! Start, output, status, signals, adoption.

use super::world::World;
use lathe_dynos::containers::Containers;

#[tokio::test]
async fn a_dyno_starts_speaks_ends_and_is_forgotten() {
    let world = World::new().await;
    let begin = std::time::Instant::now();
    let (id, started) = world.start("echo $GREETING $DYNO $PORT; echo bad >&2; exit 7").await;
    println!("started in {:?}, pid {}", begin.elapsed(), started.pid);
    println!("ended {:?}", world.end(id).await);
    assert_eq!(world.output(id).await, "hello world web.1 5000\nbad\n");
    let ended = world.end(id).await;
    assert_eq!(ended.status, 7);
    assert!(!ended.oom_killed);
    world.engine.forget(id).await.unwrap();
    assert!(world.engine.list().await.unwrap().is_empty());
    world.close().await;
}
