//! Dyno classes that the operator adds: `[classes.NAME]` tables of the configuration file.
//!
//! ```toml
//! [classes.tiny]
//! memory = "128MiB"     # required
//! cpus = 1              # CPUs it may use at most; required
//! baseline = "1/32"     # CPUs it may count on, all together; required unless dedicated
//! dedicated = false     # whole CPUs of its own instead of a baseline
//! swap = "0"            # beyond its memory
//! disk = "64MiB"        # what it may write; half its memory when absent
//! pids = 256            # processes and threads together
//! price_cents = 300     # of a month, for reports
//! ```

use super::value;
use lathe_dynos::class::{Class, Classes, SHARES_OF_CPU};
use lathe_dynos::governor::credit::{INITIAL, MAX, Terms};
use serde::Deserialize;
use std::collections::BTreeMap;

const MEMORY_BYTES_MIN: u64 = 16 << 20;
const CPUS_MAX: u32 = 1024;
const PIDS: std::ops::RangeInclusive<u32> = 16..=1 << 22;
/// The kernel gives no less than one millisecond of CPU in a period of a hundred.
const BASELINE_PPM_MIN: u32 = 10_000;

/// The part of the file that is ours; the rest is settings.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    classes: BTreeMap<Name, Draft>,
}

/// Adds the classes of a file to those there are. The error knows line and reason.
pub(super) fn read(text: &str, classes: &mut Classes) -> Result<(), toml::de::Error> {
    let file: File = toml::from_str(text)?;
    for (Name(name), draft) in file.classes {
        classes.add(draft.named(name)).map_err(|class| {
            let why = format!("there is a dyno class {} already: choose another name", class.name);
            serde::de::Error::custom(why)
        })?;
    }
    Ok(())
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if (1..=40).contains(&name.len()) && name.bytes().all(sound) {
            return Ok(Self(name));
        }
        Err("the name of a dyno class has 1 to 40 letters, digits and -")
    }
}

/// As it is written; checked when it is read, so that the error has its line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    memory: Bytes,
    cpus: u32,
    baseline: Option<Ppm>,
    #[serde(default)]
    dedicated: bool,
    swap: Option<Bytes>,
    disk: Option<Bytes>,
    pids: Option<u32>,
    price_cents: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Bytes(u64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        value::bytes(&text).map(Self)
    }
}

/// Millionths of one CPU; a number, or a text with a fraction.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
struct Ppm(u32);

impl TryFrom<toml::Value> for Ppm {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let number = match value {
            toml::Value::Float(number) => Some(number),
            toml::Value::Integer(number) => i32::try_from(number).ok().map(f64::from),
            toml::Value::String(text) => fraction(&text),
            _ => None,
        };
        let ppm = number.map(|number| number * 1e6).filter(|ppm| (0.0..=1e9).contains(ppm));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let whole = ppm.map(|ppm| Self(ppm.round() as u32));
        whole.ok_or("baseline is a number of CPUs, such as 0.25 or \"1/16\"")
    }
}

fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    Some(above.trim().parse::<f64>().ok()? / below.trim().parse::<f64>().ok()?)
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Draft(Written);

impl TryFrom<Written> for Draft {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { memory, cpus, disk, pids, .. } = &written;
        if memory.0 < MEMORY_BYTES_MIN {
            return Err(format!("memory is at least {}MiB", MEMORY_BYTES_MIN >> 20));
        }
        if !(1..=CPUS_MAX).contains(cpus) {
            return Err(format!("cpus is a whole number from 1 to {CPUS_MAX}"));
        }
        if disk.is_some_and(|disk| disk.0 >= memory.0) {
            return Err("disk must be less than memory: what a dyno writes is memory here".into());
        }
        if pids.is_some_and(|pids| !PIDS.contains(&pids)) {
            return Err(format!("pids is a number from {} to {}", PIDS.start(), PIDS.end()));
        }
        match (written.dedicated, written.baseline) {
            (true, Some(_)) => Err("a dedicated class has its CPUs whole: no baseline".into()),
            (false, None) => Err("baseline is missing: the CPUs it may count on, as 0.25".into()),
            (false, Some(Ppm(ppm))) if ppm < BASELINE_PPM_MIN || ppm > cpus * 1_000_000 => {
                Err(format!("baseline is from 0.01 to cpus, here {cpus}"))
            }
            _ => Ok(Self(written)),
        }
    }
}

impl Draft {
    fn named(self, name: String) -> Class {
        let Self(written) = self;
        let cpus = written.cpus;
        let ppm = written.baseline.map_or(cpus * 1_000_000, |baseline| baseline.0);
        let shares = u64::from(ppm) * u64::from(SHARES_OF_CPU) / 1_000_000;
        let terms = Terms { cpus, baseline_ppm: ppm / cpus, initial: INITIAL, max: MAX };
        let memory_bytes = written.memory.0;
        Class {
            name,
            memory_bytes,
            swap_bytes: written.swap.map_or(0, |swap| swap.0),
            cpu_shares: u32::try_from(shares).unwrap_or(u32::MAX),
            cpu_millis_max: Some(cpus * 1000),
            credit: (!written.dedicated).then_some(terms),
            own_cpus: if written.dedicated { cpus } else { 0 },
            pids_max: written.pids.unwrap_or(256),
            disk_bytes: written.disk.map_or(memory_bytes / 2, |disk| disk.0),
            price_cents: written.price_cents,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_read_with_what_it_does_not_say() {
        let mut classes = Classes::standard();
        let text = "api_host = 'x'\n[classes.tiny]\nmemory = '128MiB'\ncpus = 2\nbaseline = '1/8'\n\
                    [classes.own]\nmemory = '1GiB'\ncpus = 1\ndedicated = true\nprice_cents = 900\n";
        read(text, &mut classes).unwrap();
        let tiny = classes.named("Tiny").unwrap();
        assert_eq!((tiny.cpu_shares, tiny.cpu_millis_max), (128, Some(2000)));
        let terms = tiny.credit.unwrap();
        assert_eq!((terms.baseline_ppm_pooled(), tiny.disk_bytes), (125_000, 64 << 20));
        let own = classes.named("own").unwrap();
        assert_eq!((own.own_cpus, own.credit, own.price_cents), (1, None, Some(900)));
    }

    #[test]
    fn a_bad_class_is_refused_with_line_and_reason() {
        for (class, line, reason) in [
            ("memory = '1MiB'\ncpus = 1\nbaseline = 1", 2, "at least 16MiB"),
            ("memory = 'much'\ncpus = 1\nbaseline = 1", 3, "500MB or 8GiB"),
            ("memory = '1GiB'\ncpus = 0\nbaseline = 1", 2, "from 1 to 1024"),
            ("memory = '1GiB'\ncpus = 1\nbaseline = 2", 2, "from 0.01 to cpus"),
            ("memory = '1GiB'\ncpus = 1\nbaseline = 'x/y'", 5, "0.25"),
            ("memory = '1GiB'\ncpus = 1", 2, "baseline is missing"),
            ("memory = '1GiB'\ncpus = 1\ndedicated = true\nbaseline = 1", 2, "no baseline"),
            ("memory = '1GiB'\ncpus = 1\nbaseline = 1\ndisk = '1GiB'", 2, "less than memory"),
            ("memory = '1GiB'\ncpus = 1\nbaseline = 1\npids = 1", 2, "pids"),
            ("memory = '1GiB'\ncpus = 1\nbaseline = 1\ncolour = 1", 6, "unknown field `colour`"),
            ("cpus = 1\nbaseline = 1", 2, "missing field `memory`"),
        ] {
            let text = format!("# classes\n[classes.tiny]\n{class}\n");
            let error = read(&text, &mut Classes::standard()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(error.contains(&format!("line {line},")), "{class}: {error}");
        }
        for name in ["Standard-1X", "2x", "'a b'"] {
            let text = format!("[classes.{name}]\nmemory = '1GiB'\ncpus = 1\nbaseline = 1\n");
            assert!(read(&text, &mut Classes::standard()).is_err(), "{name}");
        }
    }
}
