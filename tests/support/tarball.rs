//! Tar archives entry by entry, for what no well-meaning writer would make.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use tar::{EntryType, Header};

/// One raw entry. Names are taken as they are.
#[derive(Clone, Debug)]
pub struct Raw {
    pub kind: EntryType,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
    pub mode: u32,
    /// What the header claims; the data may be another length.
    pub size: u64,
    pub data: Vec<u8>,
}

pub fn raw(kind: EntryType, name: &str) -> Raw {
    Raw { kind, name: name.into(), target: Vec::new(), mode: 0o644, size: 0, data: Vec::new() }
}

pub fn file(name: &str, data: &[u8]) -> Raw {
    Raw { size: data.len() as u64, data: data.into(), ..raw(EntryType::Regular, name) }
}

pub fn folder(name: &str) -> Raw {
    raw(EntryType::Directory, name)
}

pub fn symlink(name: &str, target: &str) -> Raw {
    link(EntryType::Symlink, name, target)
}

pub fn link(kind: EntryType, name: &str, target: &str) -> Raw {
    Raw { target: target.into(), ..raw(kind, name) }
}

/// A POSIX header with one record for the entry after it.
pub fn pax(record: &str) -> Raw {
    let mut length = record.len() + 3;
    while format!("{length} {record}\n").len() != length {
        length += 1;
    }
    Raw { kind: EntryType::XHeader, ..file("x", format!("{length} {record}\n").as_bytes()) }
}

/// GNU's header with the name of the entry after it.
pub fn long_name(name: &[u8]) -> Raw {
    Raw { kind: EntryType::GNULongName, ..file("././@LongLink", &[name, b"\0"].concat()) }
}

impl Raw {
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut header = Header::new_gnu();
        let fields = header.as_old_mut();
        fields.name[..self.name.len()].copy_from_slice(&self.name);
        fields.linkname[..self.target.len()].copy_from_slice(&self.target);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(self.size);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// The entries and the end mark.
pub fn tar(entries: &[Raw]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        entry.write(&mut out);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}
