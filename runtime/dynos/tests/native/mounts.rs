//! Host directories and images inside a dyno.

use super::world::{UID, World};
use lathe_dynos::containers::{Containers, Mount, MountSource};
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

#[tokio::test]
async fn a_directory_is_seen_and_protected() {
    let world = World::new().await;
    let shared = world.dir.path().join("shared: a,b");
    fs::create_dir(&shared).unwrap();
    chown(&shared, Some(UID), Some(UID)).unwrap();
    fs::write(shared.join("file"), "content").unwrap();
    let mut start = world.start_of("cat /deep/in/here/file; touch /deep/in/here/x /rw/y; ls /rw");
    let mount = |target: &str, writable| Mount {
        source: MountSource::Path(shared.clone()),
        target: PathBuf::from(target),
        writable,
    };
    start.mounts = vec![mount("/deep/in/here", false), mount("/rw", true)];
    let (text, _) = world.run_start(start).await;
    assert!(text.starts_with("contentfile\ny\n"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    world.close().await;
}

#[tokio::test]
async fn an_image_keeps_its_files_is_bounded_and_serves_one_dyno_at_a_time() {
    let world = World::new().await;
    let image = world.dir.path().join("cache.img");
    let with_image = |command: &str| {
        let mut start = world.start_of(command);
        start.mounts = vec![Mount {
            source: MountSource::Image { path: image.clone(), bytes: 16 << 20 },
            target: PathBuf::from("/cache"),
            writable: true,
        }];
        start
    };
    let command = "dd if=/dev/zero of=/cache/big bs=1M count=32 2>&1; rm -f /cache/big; echo kept > /cache/file; sleep 0.3";
    let first = with_image(command);
    let id = first.id;
    world.engine.start(first).await.unwrap();
    // Waits for the first one's disk: never two at a time.
    let (text, ended) = world.run_start(with_image("cat /cache/file")).await;
    assert_eq!((text.as_str(), ended.status), ("kept\n", 0));
    assert!(world.output(id).await.contains("No space left"));
    world.close().await;
}
