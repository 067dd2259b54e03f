//! What holds of everything that reads what strangers wrote: it ends, within its limits, and what it
//! accepts keeps its promises. Fuzz targets and the tests that replay their corpus share these.
#![allow(dead_code, reason = "each fuzz target uses one")]

use lathe_slug::{Ignore, Layout, Limits, Procfile, check_tar};
use std::path::Path;

/// A tar is refused, or holds no more than the limits allow.
pub(crate) fn archive(data: &[u8]) {
    let limits = Limits { unpacked_bytes_max: 1 << 20, entries_max: 200, ..Limits::default() };
    for layout in [Layout::Slug, Layout::Tree, Layout::Stripped] {
        if let Ok(unpacked) = check_tar(data, layout, &limits) {
            assert!(unpacked.bytes <= limits.unpacked_bytes_max);
            assert!(unpacked.entries <= limits.entries_max);
        }
    }
}

/// A Procfile is refused, or reads as itself when it is written anew.
pub(crate) fn procfile(data: &[u8]) {
    let Ok(procfile) = Procfile::parse(data) else { return };
    let lines = procfile.processes().map(|(name, command)| format!("{name}: {command}\n"));
    let again = Procfile::parse(lines.collect::<String>().as_bytes());
    assert_eq!(again.as_ref(), Ok(&procfile));
    for (name, command) in procfile.processes() {
        assert!(!name.contains(['/', '.', ' ']) && !command.contains(['\n', '\r', '\0']));
    }
}

/// Rules are refused, or can be asked about any path. What is always removed stays removed.
pub(crate) fn slugignore(data: &[u8]) {
    let Ok(ignore) = Ignore::parse(data) else { return };
    assert!(ignore.matches(Path::new("log"), true));
    let path = String::from_utf8_lossy(&data[..data.len().min(200)]);
    for folder in [false, true] {
        ignore.matches(Path::new(path.as_ref()), folder);
        ignore.matches(Path::new("a/b/c.d"), folder);
    }
}

/// What `bin/release` says is refused, or is a few names and process types that a Procfile may have.
pub(crate) fn release(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(release) = lathe_compiler::parse_release(text) {
        assert!(release.config_vars.len() <= 200 && release.process_types.len() <= 200);
        for (name, command) in &release.process_types {
            assert!(Procfile::parse(format!("{name}: {command}").as_bytes()).is_ok());
        }
    }
}
