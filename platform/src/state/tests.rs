//! The state as its callers use it: releases turn, names are exclusive, nothing leaks.

use super::model::{Account, App, Config, Phase, ReleaseStatus};
use super::releases::Change;
use super::restarts::Restart;
use super::slugs::NewSlug;
use super::{
    StateError, Store, Tx, accounts, apps, builds, drains, formation, oneoffs, releases, restarts,
    slugs,
};
use lathe_slug::SlugId;

struct Fixture {
    store: Store,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: Store::open(dir.path()).unwrap(), _dir: dir }
    }

    async fn in_app<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>, &App, &Account) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        self.store
            .write(|tx| {
                let owner = accounts::find_or_create(tx, "owner@example.com")?;
                let app = match apps::for_account(tx, &owner.id, "demo") {
                    Ok(app) => app,
                    Err(_) => apps::create(tx, "demo", &owner)?,
                };
                work(tx, &app, &owner)
            })
            .await
    }
}

fn new_slug(types: &[(&str, &str)]) -> NewSlug {
    NewSlug {
        digest: Some(SlugId::from_digest([7; 32])),
        diff_id: None,
        bytes: 10,
        commit: None,
        stack: "lathe-12".into(),
        process_types: types.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
        buildpacks: Vec::new(),
        config_defaults: Config::from([("LANG".into(), "C.UTF-8".into())]),
        inputs: None,
    }
}

fn change(description: &str) -> Change {
    Change { description: description.into(), slug: None, config: None }
}

#[tokio::test]
async fn a_release_serves_only_after_it_booted_and_a_failed_one_never_does() {
    let fixture = Fixture::new();
    let first = fixture
        .in_app(|tx, app, account| {
            let config = Config::from([("KEY".into(), "value".into())]);
            let set = releases::append(
                tx,
                app,
                account,
                Change { config: Some(config), ..change("Set KEY") },
            )?;
            assert_eq!((set.version, set.status), (1, ReleaseStatus::Succeeded));
            let slug = slugs::insert(tx, &app.id, &new_slug(&[("web", "run")]))?;
            releases::append(tx, app, account, Change { slug: Some(slug), ..change("Deploy") })
        })
        .await
        .unwrap();
    assert_eq!(
        (first.version, first.status, first.phase),
        (2, ReleaseStatus::Pending, Phase::Booting)
    );
    assert_eq!(first.config["KEY"], "value");
    assert_eq!(first.config["LANG"], "C.UTF-8", "defaults of the first slug");
    let (app, bad) = fixture
        .in_app(|tx, app, account| {
            releases::promote(tx, &app.id, 2)?;
            let config = Config::from([("KEY".into(), "broken".into())]);
            let bad = releases::append(
                tx,
                app,
                account,
                Change { config: Some(config), ..change("Set KEY") },
            )?;
            releases::fail(tx, &app.id, bad.version, "web.1 exited")?;
            Ok((apps::by_id(tx, &app.id)?, releases::by_version(tx, &app.id, 3)?))
        })
        .await
        .unwrap();
    assert_eq!((app.current, app.candidate), (Some(2), None));
    assert_eq!(bad.failure.as_deref(), Some("web.1 exited"));
    let head = fixture.in_app(|tx, app, _| releases::head(tx, &app.id)).await.unwrap().unwrap();
    assert_eq!((head.version, head.config["KEY"].as_str()), (2, "value"));
}

#[tokio::test]
async fn a_newer_release_overtakes_one_that_is_still_booting() {
    let fixture = Fixture::new();
    let statuses = fixture
        .in_app(|tx, app, account| {
            let slug = slugs::insert(tx, &app.id, &new_slug(&[("web", "a"), ("release", "b")]))?;
            let one =
                releases::append(tx, app, account, Change { slug: Some(slug), ..change("one") })?;
            assert_eq!(one.phase, Phase::Releasing);
            releases::append(tx, app, account, change("two"))?;
            releases::promote(tx, &app.id, 1)?; // too late: it is not the candidate any more
            assert_eq!(apps::by_id(tx, &app.id)?.candidate, Some(2));
            assert_eq!(apps::by_id(tx, &app.id)?.current, None);
            let all = releases::all(tx, &app.id)?;
            let ids = releases::ids(tx, &app.id)?;
            assert_eq!(ids, all.iter().map(|r| (r.version, r.id.clone())).collect());
            Ok(all.iter().map(|r| r.status).collect::<Vec<_>>())
        })
        .await
        .unwrap();
    assert_eq!(statuses, [ReleaseStatus::Expired, ReleaseStatus::Pending]);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let fixture = Fixture::new();
    fixture.in_app(|_, _, _| Ok(())).await.unwrap();
    for name in ["demo", "Demo", "x", "-abc", "abc-", "a/../b", "a b", "ünï", &"a".repeat(31)] {
        let name = name.to_owned();
        let result =
            fixture.in_app(move |tx, _, owner| apps::create(tx, &name, owner).map(drop)).await;
        assert!(matches!(result, Err(StateError::Refused(_))));
    }
    let too_much = Config::from([("A".into(), "x".repeat(releases::CONFIG_BYTES_MAX))]);
    let result = fixture
        .in_app(|tx, app, account| {
            releases::append(tx, app, account, Change { config: Some(too_much), ..change("Set A") })
        })
        .await;
    assert!(matches!(result, Err(StateError::Refused(_))));
    assert_eq!(
        fixture.in_app(|tx, app, _| Ok(releases::all(tx, &app.id)?.len())).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn what_is_not_yours_does_not_exist_and_a_destroyed_apps_user_is_not_given_again() {
    let fixture = Fixture::new();
    fixture
        .in_app(|tx, app, owner| {
            let stranger = accounts::find_or_create(tx, "stranger@example.com")?;
            assert!(matches!(
                apps::for_account(tx, &stranger.id, "demo"),
                Err(StateError::NotFound("app"))
            ));
            apps::add_collaborator(tx, app, &stranger)?;
            assert_eq!(apps::for_account(tx, &stranger.id, &app.id)?.name, "demo");
            let slug = slugs::insert(tx, &app.id, &new_slug(&[("web", "run")]))?;
            releases::append(tx, app, owner, Change { slug: Some(slug), ..change("Deploy") })?;
            apps::destroy(tx, &app.id)?;
            let again = apps::create(tx, "demo", owner)?;
            assert!(again.uid > app.uid);
            assert!(matches!(
                apps::for_account(tx, &stranger.id, "demo"),
                Err(StateError::NotFound(_))
            ));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn tokens_are_found_by_their_plain_text_and_kept_only_as_a_hash() {
    let fixture = Fixture::new();
    let plain = fixture
        .in_app(|tx, _, owner| {
            for _ in 0..501 {
                accounts::issue_token(tx, owner, "an hour of CI", Some(tx.now))?;
            }
            let (token, plain) = accounts::issue_token(tx, owner, "laptop", None)?;
            let (_, over) = accounts::issue_token(tx, owner, "old", Some(tx.now))?;
            assert_eq!(accounts::authenticate(tx, &plain)?.unwrap().id, token.id);
            assert!(accounts::authenticate(tx, &over)?.is_none(), "expired");
            assert!(accounts::authenticate(tx, "lth_guess")?.is_none());
            Ok(plain)
        })
        .await
        .unwrap();
    let found = fixture
        .store
        .read(move |tx| {
            let sql = "SELECT COUNT(*) FROM tokens WHERE instr(CAST(hash AS TEXT), ?1) OR instr(description, ?1)";
            Ok(tx.sql.query_row(sql, [&plain], |row| row.get::<_, i64>(0))?)
        })
        .await
        .unwrap();
    assert_eq!(found, 0);
}

#[tokio::test]
async fn one_build_at_a_time_and_limits_hold() {
    let fixture = Fixture::new();
    fixture
        .in_app(|tx, app, owner| {
            let build = builds::begin(tx, &app.id, owner, "abc", "lathe-12")?;
            assert!(matches!(
                builds::begin(tx, &app.id, owner, "abc", "lathe-12"),
                Err(StateError::Refused(_))
            ));
            builds::fail(tx, &build.id)?;
            builds::begin(tx, &app.id, owner, "abc", "lathe-12")?;
            assert_eq!(builds::fail_interrupted(tx)?, 1);
            let slug =
                slugs::insert(tx, &app.id, &new_slug(&[("web", "run"), ("worker", "work")]))?;
            formation::adopt(tx, &app.id, &slug)?;
            formation::scale(tx, &app.id, "web", 99, "Standard-1X")?;
            formation::scale(tx, &app.id, "worker", 1, "Standard-2X")?;
            assert!(formation::scale(tx, &app.id, "worker", 2, "Standard-2X").is_err());
            assert!(matches!(
                formation::scale(tx, &app.id, "nothing", 1, "Standard-1X"),
                Err(StateError::NotFound(_))
            ));
            for n in 0..5 {
                drains::add(tx, &app.id, &format!("https://u:p{n}@example.com/"))?;
            }
            assert!(drains::add(tx, &app.id, "https://example.com/6").is_err());
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_operator_s_own_token_is_replaced_when_it_is_lost_or_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("owner-token");
    let fixture = Fixture::new();
    let keep = || {
        let path = path.clone();
        fixture.in_app(move |tx, _, _| {
            accounts::keep_operator_token(tx, &path)?;
            let plain = std::fs::read_to_string(&path).unwrap();
            Ok(accounts::authenticate(tx, plain.trim())?.unwrap())
        })
    };
    let first = keep().await.unwrap();
    assert_eq!(first.account.email, accounts::OPERATOR);
    assert_eq!(keep().await.unwrap(), first);
    let (account, id) = (first.account.id.clone(), first.id.clone());
    fixture
        .in_app(move |tx, _, _| accounts::revoke_token(tx, &account, &id).map(drop))
        .await
        .unwrap();
    let second = keep().await.unwrap();
    assert_ne!(second.id, first.id);
    for spoilt in [&b"lth_nobody's"[..], b"", b"\xff\n"] {
        std::fs::write(&path, spoilt).unwrap();
        assert_ne!(keep().await.unwrap().id, second.id);
    }
}

#[tokio::test]
async fn the_platform_s_own_name_is_free_for_it_and_it_is_no_app_of_anybody_s_number() {
    let fixture = Fixture::new();
    let named = fixture.in_app(|tx, _, owner| apps::create(tx, "lathe", owner).map(drop)).await;
    assert!(matches!(named, Err(StateError::Refused(_))));
    let made = fixture.in_app(|tx, app, owner| {
        for number in 1..100 {
            apps::create(tx, &format!("app-{number}"), owner)?;
        }
        assert!(matches!(apps::create(tx, "app-100", owner), Err(StateError::Refused(_))));
        let system = super::system::ensure(tx, owner)?;
        assert_eq!(system.name, super::system::NAME);
        apps::destroy(tx, &app.id)?;
        apps::create(tx, "app-100", owner).map(drop)
    });
    made.await.unwrap();
}

#[tokio::test]
async fn what_was_overtaken_and_then_failed_is_nobody_s_base() {
    let fixture = Fixture::new();
    let bases = fixture.in_app(|tx, app, owner| {
        let deploy = |tx: &Tx<'_>| {
            let slug = slugs::insert(tx, &app.id, &new_slug(&[("web", "run")]))?;
            let release =
                releases::append(tx, app, owner, Change { slug: Some(slug), ..change("Deploy") })?;
            Ok::<_, StateError>(release.version)
        };
        let set = |tx: &Tx<'_>| {
            let config = Some(Config::from([("A".into(), "1".into())]));
            let set = Change { config, ..change("Set A") };
            Ok::<_, StateError>(releases::append(tx, app, owner, set)?.version)
        };
        let base = |tx: &Tx<'_>| Ok::<_, StateError>(releases::head(tx, &app.id)?.unwrap().version);
        let serves = deploy(tx)?;
        releases::promote(tx, &app.id, serves)?;
        let (_pushed, with_config) = (deploy(tx)?, set(tx)?);
        assert_eq!(base(tx)?, with_config);
        releases::fail(tx, &app.id, with_config, "it did not boot")?;
        let after_failure = base(tx)?;
        let (pushed, with_config) = (deploy(tx)?, set(tx)?);
        releases::promote(tx, &app.id, with_config)?;
        let good = with_config;
        let failed = set(tx)?;
        releases::fail(tx, &app.id, failed, "it did not boot")?;
        assert!(pushed < with_config);
        let after_config = base(tx)?;
        // What was set between two pushes that did not boot stays set: it was no failure.
        let config = Some(Config::from([("A".into(), "1".into()), ("B".into(), "2".into())]));
        let _pushed = deploy(tx)?;
        releases::append(tx, app, owner, Change { config, ..change("Set B") })?;
        let failed = deploy(tx)?;
        releases::fail(tx, &app.id, failed, "it did not boot")?;
        assert_eq!(releases::head(tx, &app.id)?.unwrap().config.len(), 2);
        Ok([(after_failure, serves), (after_config, good), (base(tx)?, good)])
    });
    for (base, expected) in bases.await.unwrap() {
        assert_eq!(base, expected);
    }
}

#[tokio::test]
async fn who_names_a_dyno_restarts_it_in_each_release_and_the_platform_in_one() {
    let fixture = Fixture::new();
    let steps = [
        (false, Restart::Dyno("web.1"), [1, 1, 0]),
        (false, Restart::OfRelease(2, "web.1"), [2, 2, 0]),
        (true, Restart::OfRelease(2, "web.1"), [3, 2, 0]),
        (true, Restart::OfRelease(2, "web.2"), [3, 2, 1]),
        // What was counted of a release before it is of no use any more.
        (true, Restart::OfRelease(3, "web.1"), [2, 3, 0]),
    ];
    for (is_another_coming, which, counts) in steps {
        let restarts = fixture.in_app(move |tx, app, account| {
            if is_another_coming {
                let slug = slugs::insert(tx, &app.id, &new_slug(&[("web", "run")]))?;
                let deploy = Change { slug: Some(slug), ..change("Deploy") };
                releases::append(tx, app, account, deploy)?;
            }
            restarts::restart(tx, &app.id, which)?;
            restarts::of_app(tx, &app.id)
        });
        let restarts = restarts.await.unwrap();
        let seen = [(2, "web.1"), (3, "web.1"), (2, "web.2")];
        assert_eq!(seen.map(|(version, dyno)| restarts.of(version, dyno)), counts, "{which:?}");
    }
}

#[tokio::test]
async fn one_off_names_are_free_numbers() {
    let fixture = Fixture::new();
    let names = fixture
        .in_app(|tx, app, owner| {
            let new = |id: &str| oneoffs::NewOneOff {
                id: id.into(),
                process_type: "run".into(),
                command: "bash".into(),
                size: "Standard-1X".into(),
                release: 1,
                attached: true,
                account: owner.id.clone(),
            };
            let one = oneoffs::create(tx, &app.id, &new("1"), 9998)?;
            let two = oneoffs::create(tx, &app.id, &new("2"), 9998)?;
            oneoffs::complete(tx, &one.id, 3)?;
            assert_eq!(oneoffs::running(tx)?.len(), 1);
            Ok([one.name, two.name])
        })
        .await
        .unwrap();
    assert_eq!(names, ["run.9999", "run.1"]);
}

#[tokio::test]
async fn release_commands_of_earlier_releases_are_found_by_their_releases_ids() {
    let fixture = Fixture::new();
    let found = fixture.in_app(|tx, app, owner| {
        let release = |tx: &Tx<'_>| releases::append(tx, app, owner, change("Deploy"));
        let record = |tx: &Tx<'_>, id: &str, release: u32| {
            let new = oneoffs::NewOneOff {
                id: id.into(),
                process_type: "release".into(),
                command: "migrate".into(),
                size: "Standard-1X".into(),
                release,
                attached: false,
                account: owner.id.clone(),
            };
            oneoffs::create(tx, &app.id, &new, release)
        };
        let (ended, runs, own) = (release(tx)?, release(tx)?, release(tx)?);
        for release in [&ended, &runs, &own] {
            record(tx, &release.id, release.version)?;
        }
        record(tx, "by hand", runs.version)?;
        oneoffs::complete(tx, &ended.id, 0)?;
        let found = oneoffs::phases_before(tx, &app.id, own.version)?;
        assert_eq!(found, std::slice::from_ref(&runs.id));
        oneoffs::withdraw(tx, &runs.id)?;
        assert_eq!(oneoffs::find(tx, &ended.id)?.and_then(|row| row.status), Some(0));
        Ok((oneoffs::find(tx, &runs.id)?, oneoffs::phases_before(tx, &app.id, own.version)?))
    });
    let (row, left) = found.await.unwrap();
    assert!(row.is_none() && left.is_empty(), "{row:?} {left:?}");
}

#[tokio::test]
async fn what_waits_together_is_written_together_and_each_is_whole_or_not_there() {
    let fixture = Fixture::new();
    fixture.in_app(|_, _, _| Ok(())).await.unwrap();
    let before = *fixture.store.changes().borrow();
    // The thread is held up until all of them wait.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let store = fixture.store.clone();
    let hold = move |_: &Tx<'_>| Ok(begun.send(()).is_ok() && wait.recv().is_ok());
    let busy = tokio::spawn(async move { store.read(hold).await });
    has_begun.await.unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = fixture.store.clone();
        writes.spawn(async move {
            let email = format!("{number}@example.com");
            let written = store.write(move |tx| {
                accounts::find_or_create(tx, &email)?;
                if number % 4 == 0 { Err(StateError::Refused(email)) } else { Ok(()) }
            });
            (number, written.await.is_ok())
        });
    }
    while fixture.store.waiting() < 20 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    assert!(busy.await.unwrap().unwrap());
    while let Some(written) = writes.join_next().await {
        let (number, ok) = written.unwrap();
        assert_eq!(ok, number % 4 != 0);
    }
    for number in 0..20 {
        let email = format!("{number}@example.com");
        let found = fixture.store.read(move |tx| accounts::by_email(tx, &email)).await.unwrap();
        assert_eq!(found.is_some(), number % 4 != 0, "{number}");
    }
    assert_eq!(*fixture.store.changes().borrow(), before + 1, "one transaction");
}
