//! Which bytes of a layer are asked for (RFC 9110, section 14). Pure.

/// A piece of something, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Span {
    All,
    /// From the first to the last byte, counted from 0.
    Part {
        first: u64,
        last: u64,
    },
    /// None of what is asked for is there.
    Outside,
}

impl Span {
    /// What a `Range` header asks of so many bytes. One that cannot be read, or asks for several
    /// pieces, counts as none, as the RFC allows.
    pub(super) fn of(header: Option<&str>, bytes: u64) -> Self {
        let Some((first, last)) =
            header.and_then(|text| text.strip_prefix("bytes=")?.split_once('-'))
        else {
            return Self::All;
        };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        let end = bytes.saturating_sub(1);
        let (first, last) = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.min(end)),
            (Some(first), None) if last.is_empty() => (first, end),
            (None, Some(0)) if first.is_empty() => return Self::Outside,
            (None, Some(count)) if first.is_empty() => (bytes.saturating_sub(count), end),
            _ => return Self::All,
        };
        if first < bytes { Self::Part { first, last } } else { Self::Outside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_rfc_says() {
        let part = |first, last| Span::Part { first, last };
        for (header, expected) in [
            (None, Span::All),
            (Some("bytes=0-0"), part(0, 0)),
            (Some("bytes=2-4"), part(2, 4)),
            (Some("bytes=2-"), part(2, 9)),
            (Some("bytes=-3"), part(7, 9)),
            (Some("bytes=-30"), part(0, 9)),
            (Some("bytes=5-99999999999999999999999"), part(5, 9)),
            (Some("bytes=10-"), Span::Outside),
            (Some("bytes=-0"), Span::Outside),
            (Some("bytes=4-2"), Span::All),
            (Some("bytes=0-1,3-4"), Span::All),
            (Some("bytes=-"), Span::All),
            (Some("bytes=+1-2"), Span::All),
            (Some("lines=1-2"), Span::All),
        ] {
            assert_eq!(Span::of(header, 10), expected, "{header:?}");
        }
        assert_eq!(Span::of(Some("bytes=0-"), 0), Span::Outside);
    }
}
