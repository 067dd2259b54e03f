//! Folders that build tools have left, and their end.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a folder with all that is in it. Build tools leave folders without write permission (Go's
/// module cache does); a plain removal stops at them.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    open_up(path);
    fs::remove_dir_all(path)
}

/// Gives us every folder below; where that fails, the removal says why.
fn open_up(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o700)).ok();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
