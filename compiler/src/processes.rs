//! What a group of processes is at, told by their command lines: for a build that ran out of time.

use rustix::process::Pid;
use std::fs;

const SHOWN_MAX: usize = 3;
const CHARS_MAX: usize = 300;

/// The command lines of the group's processes that wait for no other of it. A build that hangs
/// most often waits for a download, and its URL is among the arguments.
pub(crate) fn at_work(group: Pid) -> Vec<String> {
    let members: Vec<Member> = all().filter(|m| m.group == group.as_raw_nonzero().get()).collect();
    let is_leaf = |one: &&Member| !members.iter().any(|other| other.parent == one.pid);
    let lines = members.iter().filter(is_leaf).filter_map(|leaf| command_line(leaf.pid));
    lines.take(SHOWN_MAX).collect()
}

struct Member {
    pid: i32,
    parent: i32,
    group: i32,
}

fn all() -> impl Iterator<Item = Member> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // proc(5): the name is in parentheses and may hold anything, even those.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Member { pid, parent, group })
    })
}

fn command_line(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let line = crate::transcript::plain(&words.join(" "));
    (!line.is_empty()).then(|| line.chars().take(CHARS_MAX).collect())
}
