//! Log lines on the link: many in a frame, each as few bytes, because there is one a request.

use super::error::LinkError;
use bytes::{Buf, BufMut, Bytes};
use jiff::Timestamp;
use lathe_logs::{AppId, Line, Source};
use std::sync::Arc;

/// Lines in one frame; with the longest a router writes they stay far below the frame's limit.
pub(super) const ITEMS_MAX: usize = 256;

/// An app's id has so many bytes at most, as in the ledger of lines.
const APP_BYTES_MAX: usize = 55;

const LINE: u8 = 0;
const LOST: u8 = 1;

/// One line of a router, or how many of an app could not be kept for the platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Item {
    pub(super) app: AppId,
    /// Of the line, or of the first that was lost; to the microsecond.
    pub(super) time: Timestamp,
    pub(super) what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    Line(Bytes),
    Lost(u64),
}

impl Item {
    /// Nobody keeps an account of an app with another id.
    pub(super) fn fits(&self) -> bool {
        (1..=APP_BYTES_MAX).contains(&self.app.as_str().len())
    }

    /// How many lines it stands for.
    pub(super) fn lines(&self) -> u64 {
        match self.what {
            What::Line(_) => 1,
            What::Lost(lines) => lines,
        }
    }

    pub(super) fn is_line(&self) -> bool {
        matches!(self.what, What::Line(_))
    }

    /// The line as the platform logs it: whatever a router sends, it speaks as the router.
    pub(super) fn line(&self) -> Option<Line> {
        let What::Line(text) = &self.what else { return None };
        Some(Line {
            app: self.app.clone(),
            time: self.time,
            source: Source::Heroku,
            process: Arc::from("router"),
            text: text.clone(),
        })
    }
}

/// Each: what it is (1 byte), length of the app's id (1), the id, time in microseconds since 1970
/// (8), then length (4) and text, or the number (8). All little endian.
pub(super) fn pack<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<u8> {
    let mut out = Vec::new();
    for Item { app, time, what } in items {
        let id = app.as_str().as_bytes();
        let (kind, Ok(length)) =
            (if matches!(what, What::Line(_)) { LINE } else { LOST }, u8::try_from(id.len()))
        else {
            continue;
        };
        out.put_slice(&[kind, length]);
        out.put_slice(id);
        out.put_i64_le(time.as_microsecond());
        match what {
            What::Line(text) => {
                let text = text.get(..text.len().min(lathe_logs::LINE_BYTES_MAX)).unwrap_or(text);
                out.put_u32_le(u32::try_from(text.len()).unwrap_or(0));
                out.put_slice(text);
            }
            What::Lost(lines) => out.put_u64_le(*lines),
        }
    }
    out
}

pub(super) fn unpack(body: Vec<u8>) -> Result<Vec<Item>, LinkError> {
    let mut rest = Bytes::from(body);
    let mut items = Vec::new();
    while rest.has_remaining() {
        if items.len() == ITEMS_MAX {
            return Err(LinkError::Malformed { what: "parcel of too many lines" });
        }
        items.push(next(&mut rest).ok_or(LinkError::Malformed { what: "log line" })?);
    }
    Ok(items)
}

fn next(rest: &mut Bytes) -> Option<Item> {
    let kind = rest.try_get_u8().ok()?;
    let length = usize::from(rest.try_get_u8().ok()?);
    let id = take(rest, length)?;
    let app = AppId::new(std::str::from_utf8(&id).ok()?);
    let time = Timestamp::from_microsecond(rest.try_get_i64_le().ok()?).ok()?;
    let what = match kind {
        LINE => {
            let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
            What::Line(take(rest, length).filter(|text| text.len() <= lathe_logs::LINE_BYTES_MAX)?)
        }
        LOST => What::Lost(rest.try_get_u64_le().ok()?),
        _ => return None,
    };
    Some(Item { app, time, what }).filter(Item::fits)
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.remaining()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let text =
            prop::collection::vec(any::<u8>(), 0..200).prop_map(|text| What::Line(text.into()));
        let what = prop_oneof![text, any::<u64>().prop_map(What::Lost)];
        let time =
            (0i64..4_000_000_000_000_000).prop_map(|us| Timestamp::from_microsecond(us).unwrap());
        let item = ("[a-z0-9é-]{1,20}", time, what);
        let item = item.prop_map(|(app, time, what)| Item { app: AppId::new(app), time, what });
        prop::collection::vec(item, 0..20)
    }

    #[test]
    fn what_no_router_sends_is_refused() {
        let item = |app: &str| Item {
            app: AppId::new(app),
            time: Timestamp::UNIX_EPOCH,
            what: What::Line(Bytes::from_static(b"x")),
        };
        for app in ["", &*"x".repeat(56)] {
            assert!(unpack(pack([item(app)].iter())).is_err(), "{app}");
        }
        let many = vec![item("a"); ITEMS_MAX + 1];
        assert!(unpack(pack(many.iter())).is_err());
        assert_eq!(unpack(pack(many[1..].iter())).unwrap().len(), ITEMS_MAX);
    }

    proptest! {
        #[test]
        fn lines_arrive_as_they_were_sent(items in items()) {
            prop_assert_eq!(unpack(pack(items.iter())).unwrap(), items);
        }

        #[test]
        fn a_damaged_parcel_does_no_harm(items in items(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut wire = pack(items.iter());
            if !wire.is_empty() {
                let at = at.index(wire.len());
                wire[at] = byte;
                wire.truncate(cut.index(wire.len() + 1));
            }
            if let Ok(items) = unpack(wire) {
                for item in items {
                    prop_assert!((1..=APP_BYTES_MAX).contains(&item.app.as_str().len()));
                }
            }
        }
    }
}
