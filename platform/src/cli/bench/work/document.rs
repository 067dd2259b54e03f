//! The document that a request reads: records as JSON, always the same, and sealed.

use super::BenchError;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use serde_json::{Value, json};
use std::io;

/// No secret: what counts is the work of opening.
const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];

pub(super) struct Document {
    text: Vec<u8>,
    sealed: Vec<u8>,
}

impl Document {
    /// About 240 bytes for each record.
    pub(super) fn new(records: u32) -> Result<Self, BenchError> {
        let mut dice = Dice(42);
        let all: Vec<Value> = (0..records).map(|number| record(number, &mut dice)).collect();
        let text = Value::Array(all).to_string().into_bytes();
        let sealed = cipher().encrypt(&Nonce::from(NONCE), text.as_slice());
        let sealed = sealed.map_err(|_| BenchError::at("seal a document")(refused()))?;
        Ok(Self { text, sealed })
    }

    /// Parses it; gives the number of records.
    pub(super) fn parse(&self) -> Result<usize, BenchError> {
        parse(&self.text)
    }

    /// Opens and parses it; gives the number of records.
    pub(super) fn decrypt(&self) -> Result<usize, BenchError> {
        let text = cipher().decrypt(&Nonce::from(NONCE), self.sealed.as_slice());
        parse(&text.map_err(|_| BenchError::at("open a document")(refused()))?)
    }
}

fn cipher() -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&Key::from(KEY))
}

fn refused() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn parse(text: &[u8]) -> Result<usize, BenchError> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| BenchError::at("parse a document")(io::Error::from(error)))?;
    Ok(value.as_array().map_or(0, Vec::len))
}

fn record(number: u32, dice: &mut Dice) -> Value {
    let word = |roll: u64| format!("{:08x}", roll >> 32);
    json!({
        "id": number,
        "name": format!("{} {}", word(dice.roll()), word(dice.roll())),
        "email": format!("{}@example.com", word(dice.roll())),
        "balance": dice.roll() % 1_000_000,
        "active": dice.roll().is_multiple_of(2),
        "place": {"lat": dice.roll() % 180, "lon": dice.roll() % 360},
        "tags": [word(dice.roll()), word(dice.roll()), word(dice.roll())],
        "about": "the quick brown fox jumps over the lazy dog",
    })
}

/// `SplitMix64` (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_every_time_and_comes_out_whole() {
        let (one, other) = (Document::new(100).unwrap(), Document::new(100).unwrap());
        assert_eq!(one.text, other.text);
        assert!((180..300).contains(&(one.text.len() / 100)), "{}", one.text.len());
        assert_eq!((one.parse().unwrap(), one.decrypt().unwrap()), (100, 100));
    }
}
