//! How the text of a setting becomes a value; a refusal is the remedy to show.

use super::{EngineKind, RouterPlace};
use lathe_dynos::native::Network;
use lathe_logs::drain;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

pub(super) fn network(text: &str) -> Result<Network, String> {
    match text.parse::<Network>() {
        Ok(network) if network.is_private() => Ok(network),
        _ => Err("Write a private IPv4 network such as 10.213.0.0/16, from /8 to /24.".into()),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "Write address:port, such as 127.0.0.1:8443.".to_owned())
}

pub(super) fn router_place(text: &str) -> Result<RouterPlace, String> {
    let found = RouterPlace::ALL.iter().find(|(name, _)| *name == text);
    found.map(|(_, place)| *place).ok_or_else(|| "Write apart or inside.".to_owned())
}

pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("Tokens would cross the network unencrypted: use a loopback address here, \
             and listen.api_tls for the network."
            .into())
    }
}

/// A DNS name of letters, digits, `-` and `.`, or an IPv4 address.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("Write a host name without scheme or port, such as lathe.example.com.".into())
    }
}

/// Plain bytes, or a number with `kB MB GB TB` (powers of 1000) or `KiB MiB GiB TiB` (of 1024).
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("B", 1),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
    number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| "Write a size such as 500MB or 8GiB.".into())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("Write a number of seconds from 1 to 86400.".into()),
    }
}

pub(super) fn seconds_or_never(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { seconds(text) }
}

pub(super) fn count<T>(text: &str, allowed: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let remedy = || format!("Write a number from {} to {}.", allowed.start(), allowed.end());
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(remedy)
}

pub(super) fn engine(text: &str) -> Result<EngineKind, String> {
    let known = [EngineKind::Native, EngineKind::Docker];
    let found = known.into_iter().find(|kind| kind.to_string() == text);
    found.ok_or_else(|| "Write native or docker.".into())
}

/// A host; nothing for `none` and the empty text.
pub(super) fn maybe_host(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() || text == "none" { Ok(None) } else { host_name(text).map(Some) }
}

/// The name of a dyno class; whether there is one is seen when all sources have been read.
pub(super) fn class(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("Write the name of a dyno class.".into()) } else { Ok(text.into()) }
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("Write a path.".into());
    }
    Ok(super::absolute(Path::new(text)))
}

/// A path that must exist; nothing for `none` and the empty text.
pub(super) fn existing(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() || text == "none" {
        return Ok(None);
    }
    let path = super::absolute(Path::new(text));
    if path.exists() {
        Ok(Some(path))
    } else {
        Err(format!("{} does not exist; name one that does, or `none`.", path.display()))
    }
}

pub(super) fn http_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("Write a URL that begins with http:// or https://.".into()),
    }
}

pub(super) fn https_url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        http_url(text)
    } else {
        Err("Write a URL that begins with https://.".into())
    }
}

/// A mail address; nothing for `none` and the empty text.
pub(super) fn maybe_email(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() || text == "none" {
        return Ok(None);
    }
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    let sound = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && host.contains('.') && host_name(host).is_ok()
    });
    if plain && sound {
        Ok(Some(text.to_owned()))
    } else {
        Err("Write a mail address such as ops@example.com, or none.".into())
    }
}

/// A URL; nothing for `none` and the empty text.
pub(super) fn proxy(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() || text == "none" { Ok(None) } else { http_url(text).map(Some) }
}

/// What is between commas.
fn items(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Debian package names, comma-separated.
pub(super) fn packages(text: &str) -> Result<Vec<String>, String> {
    let names = items(text);
    let sound = |name: &String| {
        name.len() >= 2
            && name.as_bytes()[0].is_ascii_alphanumeric()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    if names.iter().all(sound) {
        Ok(names)
    } else {
        Err("Write names of Debian packages, separated by commas.".into())
    }
}

/// A Debian suite, `bookworm`.
pub(super) fn suite(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase()) {
        Ok(text.to_owned())
    } else {
        Err("Write the code name of a Debian release, such as bookworm.".into())
    }
}

pub(super) fn env_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(())
    } else {
        Err("The name of an environment variable has letters, digits and _ only.".into())
    }
}

pub(super) fn log(text: &str) -> Result<String, String> {
    let remedy = |error| format!("{error}; write a level, or crate=level pairs and commas.");
    EnvFilter::try_new(text).map(|filter| filter.to_string()).map_err(remedy)
}

pub(super) fn percent(text: &str) -> Result<u32, String> {
    count(text, &(1..=1_000_000))
}

pub(super) fn cpus(text: &str) -> Result<u32, String> {
    count(text, &(0..=4096))
}

pub(super) fn pids(text: &str) -> Result<u32, String> {
    count(text, &(64..=1 << 22))
}

pub(super) fn entries(text: &str) -> Result<u64, String> {
    count(text, &(100..=10_000_000))
}

/// Linux takes no path of 4096 bytes or more.
pub(super) fn path_bytes(text: &str) -> Result<usize, String> {
    count(text, &(100..=4095))
}

pub(super) fn depth(text: &str) -> Result<usize, String> {
    count(text, &(8..=2047))
}

/// A header is held in memory as a whole.
pub(super) fn header_bytes(text: &str) -> Result<u64, String> {
    count(text, &(4096..=16 << 20))
}

pub(super) fn ring_lines(text: &str) -> Result<usize, String> {
    count(text, &(1..=100_000))
}

pub(super) fn line_bytes(text: &str) -> Result<usize, String> {
    count(text, &(256..=1 << 20))
}

#[expect(clippy::unnecessary_wraps, reason = "the table wants one shape for all")]
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    Ok(items(text))
}

pub(super) fn networks(text: &str) -> Result<Vec<drain::Network>, String> {
    let remedy = |error| format!("{error}; write networks and commas between them.");
    items(text).iter().map(|network| network.parse().map_err(remedy)).collect()
}
