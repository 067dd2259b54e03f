//! The Range header of the Platform API: `version ]12..; max=15, order=desc`.

/// Which page of a list is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Range {
    /// The property it is ordered by; an empty one is the list's own.
    pub(super) property: String,
    /// The page begins here.
    pub(super) start: Option<Bound>,
    pub(super) end: Option<Bound>,
    pub(super) max: usize,
    pub(super) descending: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bound {
    pub(super) value: String,
    /// `]value` at the start, `value[` at the end.
    pub(super) exclusive: bool,
}

const MAX_DEFAULT: usize = 200;
const MAX_LIMIT: usize = 1000;

impl Default for Range {
    fn default() -> Self {
        Self {
            property: String::new(),
            start: None,
            end: None,
            max: MAX_DEFAULT,
            descending: false,
        }
    }
}

impl Range {
    /// Clients put `;` and `,` between the options, before and after them; an empty header asks
    /// for nothing in particular. None: it cannot be read.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let mut range = Self::default();
        let (interval, options) = header.split_once(';').unwrap_or((header, ""));
        let mut words = interval.split_whitespace();
        words.next().unwrap_or_default().clone_into(&mut range.property);
        if let Some(interval) = words.next() {
            let (start, end) = interval.split_once("..")?;
            range.start = bound(start);
            range.end = bound(end);
        }
        if words.next().is_some() {
            return None;
        }
        for option in options.split([';', ',']).map(str::trim).filter(|text| !text.is_empty()) {
            match option.split_once('=')? {
                ("max", max) => range.max = max.parse::<usize>().ok()?.clamp(1, MAX_LIMIT),
                ("order", "desc") => range.descending = true,
                ("order", "asc") => range.descending = false,
                _ => return None,
            }
        }
        Some(range)
    }

    /// The header that asks for what comes after `last`.
    pub(super) fn next(&self, property: &str, last: &str) -> String {
        let order = if self.descending { ", order=desc" } else { "" };
        format!("{property} ]{last}..; max={}{order}", self.max)
    }
}

fn bound(text: &str) -> Option<Bound> {
    let exclusive = text.starts_with(']') || text.ends_with('[');
    let value = text.trim_start_matches(']').trim_end_matches('[').to_owned();
    (!value.is_empty()).then_some(Bound { value, exclusive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_clients_were_seen_to_send() {
        let range = |property: &str, start: Option<(&str, bool)>, max, descending| Range {
            property: property.into(),
            start: start.map(|(value, exclusive)| Bound { value: value.into(), exclusive }),
            end: None,
            max,
            descending,
        };
        let cases = [
            ("version ..; max=15, order=desc", range("version", None, 15, true)),
            ("version ..; order=desc,max=1", range("version", None, 1, true)),
            ("id ..; max=1000;", range("id", None, 1000, false)),
            ("id ..; ;", range("id", None, 200, false)),
            ("", range("", None, 200, false)),
            ("version ]12..; max=200, order=desc", range("version", Some(("12", true)), 200, true)),
            ("version 3..", range("version", Some(("3", false)), 200, false)),
            ("id ..; max=99999", range("id", None, 1000, false)),
        ];
        for (header, expected) in cases {
            assert_eq!(Range::parse(header), Some(expected), "{header}");
        }
        for header in ["id", "id ..; max=x", "id ..; order=up", "id a b", "id 1"] {
            let parsed = Range::parse(header);
            assert!(parsed.is_none() || header == "id", "{header}: {parsed:?}");
        }
        let range = Range::parse("version ..; max=15, order=desc").unwrap();
        assert_eq!(range.next("version", "12"), "version ]12..; max=15, order=desc");
    }
}
