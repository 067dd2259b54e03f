//! Slugs as the lower layer of dynos.

use super::world::World;
use lathe_dynos::containers::{Containers, StartError};
use lathe_slug::{Ignore, PackLimits, SlugId, pack};
use std::fs;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A slug of an app with a profile script and a file.
fn slug() -> (SlugId, Vec<u8>) {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join(".profile.d")).unwrap();
    fs::write(tree.path().join(".profile.d/a.sh"), "export FROM=profile.d; set -- spoilt").unwrap();
    fs::write(tree.path().join(".profile"), "export THEN=profile").unwrap();
    fs::write(tree.path().join("file"), "of the slug").unwrap();
    let mut bytes = Vec::new();
    let manifest = pack(tree.path(), &Ignore::default(), &PackLimits::default(), &mut bytes);
    (manifest.unwrap().id, bytes)
}

/// A world whose store hands out each of `answers` in turn, the last one for ever.
async fn world(answers: Vec<Option<Vec<u8>>>) -> (World, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let world = World::with_slugs(Box::new(move |_| {
        let turn = count.fetch_add(1, Ordering::Relaxed) as usize;
        match &answers[turn.min(answers.len() - 1)] {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }));
    (world.await, asked)
}

#[tokio::test]
async fn a_slug_is_unpacked_once_and_written_over_without_harm() {
    let (id, bytes) = slug();
    let (world, asked) = world(vec![Some(bytes)]).await;
    for _ in 0..2 {
        let mut start = world
            .start_of("cat file; echo; echo $FROM $THEN; echo mine > file; touch new; cat file");
        start.spec.slug = Some(id);
        let (text, ended) = world.run_start(start).await;
        assert_eq!(text, "of the slug\nprofile.d profile\nmine\n");
        assert_eq!(ended.status, 0);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    world.close().await;
}

#[tokio::test]
async fn a_damaged_slug_is_fetched_again_and_then_refused() {
    let (id, bytes) = slug();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;

    let (healed, asked) = world(vec![Some(damaged.clone()), Some(bytes)]).await;
    let mut start = healed.start_of("cat file");
    start.spec.slug = Some(id);
    assert_eq!(healed.run_start(start).await.0, "of the slug");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    healed.close().await;

    for (answer, missing) in [(Some(damaged), false), (None, true)] {
        let (world, _) = world(vec![answer]).await;
        let mut start = world.start_of("cat file");
        start.spec.slug = Some(id);
        match world.engine.start(start).await {
            Err(StartError::SlugChecksum { expected, .. }) if !missing => assert_eq!(expected, id),
            Err(StartError::SlugMissing(slug)) if missing => assert_eq!(slug, id),
            other => panic!("{other:?}"),
        }
        assert!(world.engine.list().await.unwrap().is_empty());
        assert_eq!(fs::read_dir(world.config.dir.join("slugs")).unwrap().count(), 0);
        world.close().await;
    }
}
