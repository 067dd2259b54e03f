//! Which sections of two programs differ (System V ABI, "Object Files").
//!
//! Only 64-bit little-endian files are looked into, which the stacks' programs are. What a header
//! claims is believed only as far as the file has it.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
/// Linked programs have some forty; object files with one a function have thousands.
const SECTIONS_MAX: u16 = 20_000;
const NAMES_BYTES_MAX: u64 = 1 << 20;
/// Of one name: mangled functions have long ones. Whoever says more has it cut.
const NAME_BYTES_MAX: usize = 1 << 10;
const PIECE_BYTES: u64 = 64 << 10;
/// Type of a section that takes no space in the file, as `.bss`.
const NOBITS: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    name: String,
    offset: u64,
    bytes: u64,
    in_file: bool,
}

/// Names of the sections that are not equal or only in one; none for what are not two programs.
pub(super) fn differing_sections(left: &File, right: &File) -> io::Result<Vec<String>> {
    let (Some(ours), Some(theirs)) = (sections(left)?, sections(right)?) else {
        return Ok(Vec::new());
    };
    // Names may repeat: the first of a name is held against the first.
    let mut others: HashMap<&str, VecDeque<&Section>> = HashMap::new();
    for section in &theirs {
        others.entry(&section.name).or_default().push_back(section);
    }
    let mut names = Vec::new();
    for section in &ours {
        let other = others.get_mut(section.name.as_str()).and_then(VecDeque::pop_front);
        let equal = match other {
            Some(other) => equal(left, section, right, other)?,
            None => false,
        };
        if !equal {
            names.push(section.name.clone());
        }
    }
    // In their order, and as often as they are there alone.
    let mut alone = theirs.iter().rev().filter(|section| {
        others.get_mut(section.name.as_str()).and_then(VecDeque::pop_back).is_some()
    });
    let mut added: Vec<String> = alone.by_ref().map(|section| section.name.clone()).collect();
    added.reverse();
    names.append(&mut added);
    names.dedup();
    Ok(names)
}

/// What the first section of that name holds, at most `bytes_max` bytes of it; none in what is no program
/// or has no such section.
pub fn elf_section(file: &File, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let found = sections(file)?.into_iter().flatten();
    let Some(section) = found.into_iter().find(|it| it.in_file && it.name == name) else {
        return Ok(None);
    };
    let bytes = usize::try_from(section.bytes).unwrap_or(usize::MAX).min(bytes_max);
    read(file, section.offset, bytes)
}

/// The sections in the order of the file's table; none where there is no such table.
fn sections(file: &File) -> io::Result<Option<Vec<Section>>> {
    let Some(header) = read(file, 0, HEADER_BYTES)? else { return Ok(None) };
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (table, size) = (u64_at(&header, 0x28), u16_at(&header, 0x3a));
    let (count, names) = (u16_at(&header, 0x3c), u16_at(&header, 0x3e));
    if usize::from(size) != SECTION_BYTES || count > SECTIONS_MAX || names >= count {
        return Ok(None);
    }
    let Some(table) = read(file, table, SECTION_BYTES * usize::from(count))? else {
        return Ok(None);
    };
    let entries: Vec<&[u8]> = table.chunks_exact(SECTION_BYTES).collect();
    let strings = entries[usize::from(names)];
    let bytes = u64_at(strings, 0x20).min(NAMES_BYTES_MAX);
    let bytes = usize::try_from(bytes).unwrap_or(0);
    let Some(strings) = read(file, u64_at(strings, 0x18), bytes)? else { return Ok(None) };
    let sections: Vec<_> = entries.iter().skip(1).map(|entry| section(entry, &strings)).collect();
    // Sections do not overlap: who claims more than the file has would have it read again and again.
    let claimed = sections.iter().filter(|section| section.in_file).map(|section| section.bytes);
    let claimed = claimed.fold(0_u64, u64::saturating_add);
    Ok((claimed <= file.metadata()?.len()).then_some(sections))
}

fn section(entry: &[u8], strings: &[u8]) -> Section {
    let name = usize::try_from(u32_at(entry, 0)).unwrap_or(usize::MAX);
    let name = strings.get(name..).unwrap_or_default();
    let name = name.get(..NAME_BYTES_MAX).unwrap_or(name).split(|byte| *byte == 0).next();
    Section {
        name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        offset: u64_at(entry, 0x18),
        bytes: u64_at(entry, 0x20),
        in_file: u32_at(entry, 0x04) != NOBITS,
    }
}

fn equal(left: &File, ours: &Section, right: &File, theirs: &Section) -> io::Result<bool> {
    if ours.bytes != theirs.bytes || ours.in_file != theirs.in_file {
        return Ok(false);
    }
    let mut at = 0;
    while ours.in_file && at < ours.bytes {
        let bytes = usize::try_from((ours.bytes - at).min(PIECE_BYTES)).unwrap_or(0);
        let one = read(left, ours.offset.saturating_add(at), bytes)?;
        if one != read(right, theirs.offset.saturating_add(at), bytes)? {
            return Ok(false);
        }
        if one.is_none() {
            // Both claim more than there is.
            break;
        }
        at += bytes as u64;
    }
    Ok(true)
}

/// `bytes` bytes at `offset`; none where the file does not have them.
fn read(file: &File, offset: u64, bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut held = vec![0; bytes];
    match file.read_exact_at(&mut held, offset) {
        Ok(()) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        // An offset no file can have.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Zeros where there is nothing.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        array.copy_from_slice(found);
    }
    array
}

#[cfg(test)]
mod tests {
    use super::{differing_sections, sections};
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn copy(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_section_that_was_changed_is_named() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let (one, two) = (copy(&own), copy(&own));
        assert_eq!(differing_sections(&one, &two).unwrap(), [""; 0]);
        for name in [".rodata", ".text"] {
            let all = sections(&two).unwrap().unwrap();
            let section = all.iter().find(|section| section.name == name).unwrap();
            let at = section.offset + section.bytes - 1;
            let last = own[usize::try_from(at).unwrap()];
            two.write_all_at(&[!last], at).unwrap();
        }
        let mut names = differing_sections(&one, &two).unwrap();
        names.sort();
        assert_eq!(names, [".rodata", ".text"]);
    }

    #[test]
    fn what_claims_to_be_a_program_does_no_harm() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let real = copy(&own);
        let huge = [&own[..0x28], &[0xff; 8], &own[0x30..]].concat();
        let many = [&own[..0x3c], &[0xff; 4], &own[0x40..]].concat();
        let greedy = with_sections(3, u64::from(u32::MAX));
        for bytes in [
            &b""[..],
            b"\x7fELF",
            b"#!/bin/sh",
            &own[..100],
            &own[..own.len() / 2],
            &huge,
            &many,
            &greedy,
        ] {
            assert_eq!(differing_sections(&real, &copy(bytes)).unwrap(), [""; 0]);
        }
    }

    /// A program of so many sections whose names all are the whole table of names.
    fn with_sections(count: u16, bytes: u64) -> Vec<u8> {
        let names = u64::from(count) * 64 + 64;
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28] = 64;
        file[0x3a] = 64;
        file[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
        for index in 0..count {
            let (offset, bytes) = if index == 0 { (names, 1 << 20) } else { (0, bytes) };
            let mut entry = [0; 64];
            entry[0x18..0x20].copy_from_slice(&offset.to_le_bytes());
            entry[0x20..0x28].copy_from_slice(&bytes.to_le_bytes());
            file.extend(entry);
        }
        file.resize(file.len() + (1 << 20), b'x');
        file
    }

    #[test]
    fn names_of_sections_take_no_more_than_they_may() {
        let file = copy(&with_sections(20_000, 1));
        let all = sections(&file).unwrap().unwrap();
        assert!(all.iter().all(|section| section.name.len() == super::NAME_BYTES_MAX));
        assert_eq!(differing_sections(&file, &file).unwrap(), [""; 0]);
    }
}
