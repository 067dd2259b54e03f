//! What is said on the link, and the frames it is said in.

use super::error::LinkError;
use super::frame::{self, Frame};
use super::parcel::{self, Item};
use crate::{Keyring, Routes};
use lathe_logs::AppId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A router sends lines and figures; the platform also whole tables and keyrings.
const UP_BYTES_MAX: usize = 4 << 20;
const DOWN_BYTES_MAX: usize = 64 << 20;

/// From a router to the platform.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Up {
    /// First on a connection.
    Hello(Hello),
    Report(Report),
    Parcel(Vec<Item>),
}

/// From the platform to a router.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Down {
    /// The answer to `Hello`, and then from time to time: all lines before this position are taken.
    Taken(u64),
    Table(Arc<Routes>),
    Keyring(Arc<Keyring>),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    /// Its identity, never used again.
    pub(super) router: String,
}

impl Report {
    /// Apps asked for, and when by our own clock: that of the router may say something else.
    pub(super) fn asked_by(&self, own_now_ms: u64) -> impl Iterator<Item = (&AppId, u64)> {
        let ago_ms = |ms: u64| self.now_ms.saturating_sub(ms);
        self.asked.iter().map(move |(app, ms)| (app, own_now_ms.saturating_sub(ago_ms(*ms))))
    }
}

/// What a router sees: complete, but for who was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// Of the table in force.
    pub(super) generation: u64,
    /// Dynos with requests in flight.
    pub(super) busy: BTreeSet<String>,
    /// Apps asked for since the last report, and when; milliseconds of the router's clock.
    pub(super) asked: Vec<(AppId, u64)>,
    /// What that clock says now.
    #[serde(default)]
    pub(super) now_ms: u64,
    /// One of them sleeps.
    pub(super) rung: bool,
    /// It accepts no connections any more.
    pub(super) leaving: bool,
}

const HELLO: u8 = 1;
const REPORT: u8 = 2;
const PARCEL: u8 = 3;
const TAKEN: u8 = 17;
const TABLE: u8 = 18;
const KEYRING: u8 = 19;

impl Up {
    pub(super) async fn read(
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Self>, LinkError> {
        let Some(Frame { kind, body }) = frame::read(from, UP_BYTES_MAX).await? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            HELLO => Self::Hello(parse("hello", &body)?),
            REPORT => Self::Report(parse("report", &body)?),
            PARCEL => Self::Parcel(parcel::unpack(body)?),
            _ => return Err(LinkError::Kind(kind)),
        }))
    }

    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), LinkError> {
        let frame = match self {
            Self::Hello(hello) => json("hello", HELLO, hello)?,
            Self::Report(report) => json("report", REPORT, report)?,
            Self::Parcel(items) => Frame { kind: PARCEL, body: parcel::pack(items.iter()) },
        };
        frame::write(to, &frame, UP_BYTES_MAX).await
    }
}

impl Down {
    pub(super) async fn read(
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Self>, LinkError> {
        let Some(Frame { kind, body }) = frame::read(from, DOWN_BYTES_MAX).await? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            TAKEN => Self::Taken(parse("position", &body)?),
            TABLE => Self::Table(Arc::new(parse("route table", &body)?)),
            KEYRING => Self::Keyring(Arc::new(parse("keyring", &body)?)),
            _ => return Err(LinkError::Kind(kind)),
        }))
    }

    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), LinkError> {
        let frame = match self {
            Self::Taken(position) => json("position", TAKEN, position)?,
            Self::Table(routes) => json("route table", TABLE, routes)?,
            Self::Keyring(keyring) => json("keyring", KEYRING, keyring)?,
        };
        frame::write(to, &frame, DOWN_BYTES_MAX).await
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, body: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(body).map_err(|source| LinkError::Parse { what, source })
}

fn json<T: Serialize>(what: &'static str, kind: u8, message: &T) -> Result<Frame, LinkError> {
    let body = serde_json::to_vec(message).map_err(|source| LinkError::Parse { what, source })?;
    Ok(Frame { kind, body })
}

#[cfg(test)]
mod tests {
    use super::super::parcel::What;
    use super::*;
    use crate::Pair;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn everything_said_is_understood() {
        let busy = BTreeSet::from(["d1".to_owned()]);
        let asked = vec![(AppId::new("a"), 7)];
        let now_ms = 9;
        let report = Report { generation: 3, busy, asked, now_ms, rung: true, leaving: false };
        let what = What::Line("at=info".into());
        let line = Item { app: AppId::new("a"), time: Timestamp::UNIX_EPOCH, what };
        let ups = [
            Up::Hello(Hello { version: 1, router: "r1".into() }),
            Up::Report(report),
            Up::Parcel(vec![line]),
        ];
        let pair = Arc::new(Pair { chain: "c".into(), key: "k".into() });
        let downs = [
            Down::Taken(9),
            Down::Table(Arc::new(Routes { generation: 4, ..Routes::default() })),
            Down::Keyring(Arc::new(Keyring { default: Some(pair), ..Keyring::default() })),
        ];
        for up in ups {
            let mut wire = Vec::new();
            now(up.write(&mut wire)).unwrap();
            assert_eq!(now(Up::read(&mut &wire[..])).unwrap(), Some(up));
        }
        for down in downs {
            let mut wire = Vec::new();
            now(down.write(&mut wire)).unwrap();
            assert_eq!(now(Down::read(&mut &wire[..])).unwrap(), Some(down));
            assert!(matches!(now(Up::read(&mut &wire[..])), Err(LinkError::Kind(_))));
        }
    }

    /// fault S5: platform and router were started before and after a step of the system's clock.
    #[test]
    fn when_an_app_was_asked_for_is_told_by_how_long_ago() {
        let asked = vec![(AppId::new("a"), 70), (AppId::new("b"), 100), (AppId::new("c"), 500)];
        let report = Report { asked, now_ms: 100, ..Report::default() };
        for (own_now_ms, expected) in [(9_000, [8_970, 9_000, 9_000]), (10, [0, 10, 10])] {
            let times: Vec<u64> = report.asked_by(own_now_ms).map(|(_, ms)| ms).collect();
            assert_eq!(times, expected);
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused(kind in 0..20u8, body in prop::collection::vec(any::<u8>(), 1..100)) {
            let mut wire = Vec::new();
            now(frame::write(&mut wire, &Frame { kind, body }, 100)).unwrap();
            // Read or refused, never a panic; the rest of the link is not trusted after a refusal.
            drop((now(Up::read(&mut &wire[..])), now(Down::read(&mut &wire[..]))));
        }
    }
}
