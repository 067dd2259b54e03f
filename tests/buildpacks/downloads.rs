//! Where downloads of a build come from, and what they must be.

use super::Bench;
use std::fs::{create_dir_all, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_download_at_hand_is_taken_and_must_be_what_was_published() {
    let mirror = tempfile::tempdir().unwrap();
    // Builds are users of their own.
    set_permissions(mirror.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let releases = mirror.path().join("nodejs.org/dist/v20.11.1");
    create_dir_all(&releases).unwrap();
    let archive = format!("node-v20.11.1-linux-{}.tar.gz", architecture());
    write(releases.join("SHASUMS256.txt"), format!("{}  {archive}\n", "0".repeat(64))).unwrap();
    write(releases.join(&archive), "not what nodejs.org has under this name").unwrap();

    let bench = Bench::with("nodejs", &[&format!("build.mirror={}", mirror.path().display())]);
    let damaged = format!("https://nodejs.org/dist/v20.11.1/{archive} is damaged");
    bench.push_unread("npm").rejected(&[&damaged]);
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" }
}
