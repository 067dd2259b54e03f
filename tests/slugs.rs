//! One tree, packed under everything that may differ between two machines.

use lathe_tests::{Disk, lathe};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The same tree each time, its entries made in the order of `order`.
fn tree(parent: &Path, order: impl Iterator<Item = usize>) -> PathBuf {
    let app = parent.join("app");
    fs::create_dir(&app).unwrap();
    for number in order {
        let folder = app.join(format!("folder-{}", number % 7));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("file-{number}"));
        fs::write(&path, format!("{number}\n").repeat(number * 50)).unwrap();
        let mode = if number % 2 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(app.join("folder-1/file-1"), app.join("hard")).unwrap();
    symlink("../outside", app.join("link")).unwrap();
    app
}

/// The slug as `lathe slug pack` writes it when it is started through `through`.
fn pack(app: &Path, through: &[&str]) -> Vec<u8> {
    let room = tempfile::tempdir().unwrap();
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let slug = room.path().join("slug");
    let mut words: Vec<_> = through.iter().map(Into::into).collect();
    words.extend([lathe().into_os_string(), "slug".into(), "pack".into(), app.into()]);
    words.extend(["--output".into(), slug.clone().into_os_string()]);
    let mut command = Command::new(&words[0]);
    let output = command.args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{through:?}: {said}");
    fs::read(slug).unwrap()
}

#[test]
fn the_same_tree_is_the_same_slug_whoever_packs_it_and_wherever() {
    let room = tempfile::tempdir().unwrap();
    let app = tree(room.path(), 0..100);
    let first = pack(&app, &["env"]);
    // A user of its own, who may read and write like root but owns nothing.
    let user = [
        "setpriv",
        "--reuid=12345",
        "--regid=12345",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--",
    ];
    let hostname = "echo elsewhere > /proc/sys/kernel/hostname; exec \"$@\"";
    let ways: [&[&str]; 5] = [
        &["unshare", "--uts", "sh", "-c", hostname, "sh"],
        &["sh", "-c", "umask 0077; exec \"$@\"", "sh"],
        &user,
        &["taskset", "--cpu-list", "0"],
        &["env", "-i", "TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8"],
    ];
    for through in ways {
        assert!(pack(&app, through) == first, "{through:?} made another slug");
    }

    let (ext4, xfs, tmpfs) = (Disk::ext4(64 << 20), Disk::xfs(512 << 20), Disk::tmpfs(64 << 20));
    for disk in [&ext4, &xfs, &tmpfs] {
        let app = tree(&disk.path(), (0..100).rev());
        let aged = File::options().write(true).open(app.join("folder-4/file-4")).unwrap();
        aged.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        drop(aged);
        chown(app.join("folder-2/file-2"), Some(77), Some(78)).unwrap();
        fs::set_permissions(app.join("folder-3"), fs::Permissions::from_mode(0o2700)).unwrap();
        assert!(pack(&app, &["env"]) == first, "{} made another slug", disk.path().display());
    }
}
