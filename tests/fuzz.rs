//! The corpus of the fuzz targets, replayed, with seeded mutations of it.

#[path = "../fuzz/properties.rs"]
mod properties;

use std::path::Path;

const MUTATIONS: usize = 1000;

/// Every file of a target's corpus, and mutations whose seed is their number: a failure comes again.
fn replay(target: &str, property: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut corpus: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    corpus.sort();
    assert!(!corpus.is_empty(), "{target} has no corpus");
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for bytes in &corpus {
        property(bytes);
    }
    for seed in 0..MUTATIONS {
        let mut random = Random(seed as u64);
        let mut bytes = corpus[seed % corpus.len()].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, &corpus, &mut random);
        }
        let told = std::panic::catch_unwind(|| property(&bytes));
        assert!(told.is_ok(), "{target}, seed {seed}: {}", bytes.escape_ascii());
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % bound.max(1) as u64).unwrap()
    }
}

/// One byte, a run, a cut, a repetition, or a piece of another file.
fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    let end = (at + random.below(64)).min(bytes.len());
    match random.below(6) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.extend_from_within(at..end),
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            let piece = &other[from..(from + random.below(600)).min(other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
    }
}

#[test]
fn no_archive_gets_past_its_limits() {
    replay("archive", properties::archive);
}

#[test]
fn a_procfile_reads_as_it_is_written() {
    replay("procfile", properties::procfile);
}

#[test]
fn any_slugignore_can_be_asked() {
    replay("slugignore", properties::slugignore);
}

#[test]
fn no_release_of_a_buildpack_does_harm() {
    replay("release", properties::release);
}
