//! What `ps` shows of a first process, which else would show the command line of the spawner it was
//! cloned from.

use super::syscalls;
use std::fs;
use std::ops::Range;
use std::sync::OnceLock;

/// Where this process has its command line. A clone has it at the same place.
static COMMAND_LINE: OnceLock<Option<Range<usize>>> = OnceLock::new();

/// Finds the place once for all that are cloned from this process.
pub(super) fn find() {
    COMMAND_LINE.get_or_init(command_line);
}

/// Shows `title`, or as much of it as the command line has room for. Where the kernel does not say
/// where that lies, it stays: a title is for people to read.
pub(super) fn set(title: &str) {
    if let Some(range) = COMMAND_LINE.get_or_init(command_line) {
        syscalls::overwrite_command_line(range, title.as_bytes());
    }
    if let Ok(name) = std::ffi::CString::new(title) {
        // The kernel takes the first 15 bytes and refuses none.
        let _named = rustix::thread::set_name(&name);
    }
}

fn command_line() -> Option<Range<usize>> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 48 and 49 of `/proc/<pid>/stat`, `arg_start` and `arg_end` (proc(5)).
fn parse(stat: &str) -> Option<Range<usize>> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
    let mut address = || fields.next()?.parse::<usize>().ok();
    let range = address()?..address()?;
    (range.start != 0 && !range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_command_line_is_read_where_the_kernel_tells_it() {
        let fields = (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse(&format!("7 (a) b) S {fields}")), Some(48..49));
        assert_eq!(parse(&format!("7 (a) S {}", fields.replace("48 49", "0 0"))), None);
        assert_eq!(parse("7 (a) S 1 2"), None);
        assert!(command_line().is_some_and(|range| !range.is_empty()));
    }
}
