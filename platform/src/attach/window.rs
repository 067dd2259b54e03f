//! The size of a client's terminal.

use std::collections::BTreeMap;

/// Larger than any screen; programs allocate by it.
const SIDE_MAX: u16 = 4096;

/// In character cells. There is no message for a change of it later: the protocol has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub rows: u16,
    pub columns: u16,
    /// Whether the client has one: it says no size otherwise.
    pub is_seen: bool,
}

impl Window {
    /// What the client says in `LINES` and `COLUMNS` of its request; 24 by 80 where it says
    /// nothing, or nothing usable.
    pub fn of(env: &BTreeMap<String, String>) -> Self {
        let side = |name: &str, default: u16| {
            let said = env.get(name).and_then(|value| value.trim().parse::<u16>().ok());
            said.filter(|side| (1..=SIDE_MAX).contains(side)).unwrap_or(default)
        };
        let is_seen = ["LINES", "COLUMNS"].iter().any(|name| env.contains_key(*name));
        Self { rows: side("LINES", 24), columns: side("COLUMNS", 80), is_seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client says, and its rows and columns.
    type Case<'a> = (&'a [(&'a str, &'a str)], (u16, u16));

    #[test]
    fn a_window_is_what_the_client_says_within_reason() {
        let cases: &[Case] = &[
            (&[], (24, 80)),
            (&[("LINES", "50"), ("COLUMNS", "132")], (50, 132)),
            (&[("COLUMNS", " 100 ")], (24, 100)),
            (&[("LINES", "0"), ("COLUMNS", "-1")], (24, 80)),
            (&[("LINES", "4096"), ("COLUMNS", "4097")], (4096, 80)),
            (&[("LINES", "99999999999"), ("COLUMNS", "wide")], (24, 80)),
        ];
        for (said, (rows, columns)) in cases {
            let env = said.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let window = Window { rows: *rows, columns: *columns, is_seen: !said.is_empty() };
            assert_eq!(Window::of(&env), window, "{said:?}");
        }
    }
}
