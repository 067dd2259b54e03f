//! The Procfile: which process types an app has, and the command of each.

use std::str;

/// Process types in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Procfile {
    processes: Vec<(String, String)>,
}

const FILE_BYTES_MAX: usize = 64 << 10;
const PROCESSES_MAX: usize = 100;
const TYPE_BYTES_MAX: usize = 63;
const COMMAND_BYTES_MAX: usize = 8 << 10;

/// Line numbers begin at 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcfileError {
    #[error("the Procfile is {bytes} bytes long, more than {FILE_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("the Procfile has more than {PROCESSES_MAX} process types at line {line}")]
    TooMany { line: usize },
    #[error("Procfile line {line} is not UTF-8 text")]
    NotText { line: usize },
    #[error("Procfile line {line} has no colon; write `web: command`")]
    NoColon { line: usize },
    #[error(
        "Procfile line {line} names the process type {name:?}; use up to {TYPE_BYTES_MAX} letters, \
         digits, `-` and `_`, beginning with a letter or digit"
    )]
    Name { line: usize, name: String },
    #[error("Procfile line {line} gives process type {name} no command")]
    NoCommand { line: usize, name: String },
    #[error("Procfile line {line} has a control character in the command of {name}")]
    Control { line: usize, name: String },
    #[error("Procfile line {line} has a command longer than {COMMAND_BYTES_MAX} bytes")]
    CommandTooLong { line: usize },
    #[error("Procfile line {line} has process type {name} again, which line {first} has already")]
    Twice { line: usize, name: String, first: usize },
}

impl Procfile {
    /// One `<process type>: <command>` a line (Heroku Dev Center, The Procfile). Empty lines and lines
    /// that begin with `#` are passed over; line ends may be CRLF.
    pub fn parse(text: &[u8]) -> Result<Self, ProcfileError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(ProcfileError::TooLong { bytes: text.len() });
        }
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let mut processes: Vec<(String, String)> = Vec::new();
        let mut lines = Vec::new();
        for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let text = str::from_utf8(bytes).map_err(|_| ProcfileError::NotText { line })?.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (name, command) = parse_line(text, line)?;
            if let Some(at) = processes.iter().position(|(known, _)| known == name) {
                return Err(ProcfileError::Twice { line, name: name.into(), first: lines[at] });
            }
            if processes.len() == PROCESSES_MAX {
                return Err(ProcfileError::TooMany { line });
            }
            processes.push((name.into(), command.into()));
            lines.push(line);
        }
        Ok(Self { processes })
    }

    /// Process type and command, in the order of the file.
    pub fn processes(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.processes.iter().map(|(name, command)| (name.as_str(), command.as_str()))
    }
}

fn parse_line(text: &str, line: usize) -> Result<(&str, &str), ProcfileError> {
    let (name, command) = text.split_once(':').ok_or(ProcfileError::NoColon { line })?;
    let (name, command) = (name.trim_end(), command.trim_start());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let named = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.len() <= TYPE_BYTES_MAX
        && name.bytes().all(plain);
    if !named {
        let name = name.chars().take(TYPE_BYTES_MAX).collect();
        return Err(ProcfileError::Name { line, name });
    }
    if command.is_empty() {
        return Err(ProcfileError::NoCommand { line, name: name.into() });
    }
    if command.chars().any(|c| c.is_control() && c != '\t') {
        return Err(ProcfileError::Control { line, name: name.into() });
    }
    if command.len() > COMMAND_BYTES_MAX {
        return Err(ProcfileError::CommandTooLong { line });
    }
    Ok((name, command))
}

#[cfg(test)]
mod tests {
    use super::{FILE_BYTES_MAX, Procfile, ProcfileError};
    use proptest::prelude::*;

    fn parsed(text: &[u8]) -> Vec<(String, String)> {
        let procfile = Procfile::parse(text).unwrap();
        procfile.processes().map(|(name, command)| (name.into(), command.into())).collect()
    }

    #[test]
    fn reads_what_heroku_reads() {
        type Wanted = &'static [(&'static str, &'static str)];
        let cases: &[(&[u8], Wanted)] = &[
            (b"", &[]),
            (b"web: node index.js", &[("web", "node index.js")]),
            (b"web:node", &[("web", "node")]),
            (b"web: a\r\nworker: b\r\n", &[("web", "a"), ("worker", "b")]),
            (b"\xef\xbb\xbfweb: a", &[("web", "a")]),
            (b"# what runs\n\n  web: a  \n", &[("web", "a")]),
            (b"z: 1\na: 2", &[("z", "1"), ("a", "2")]),
            (b"release: rake db:migrate", &[("release", "rake db:migrate")]),
            (b"my-clock_2: x # not a comment", &[("my-clock_2", "x # not a comment")]),
            ("web: écho ✓".as_bytes(), &[("web", "écho ✓")]),
            (b"web: a\tb", &[("web", "a\tb")]),
        ];
        for (text, wanted) in cases {
            let wanted: Vec<_> =
                wanted.iter().map(|(name, command)| ((*name).into(), (*command).into())).collect();
            assert_eq!(parsed(text), wanted, "{:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn refuses_with_the_line() {
        use ProcfileError as E;
        let name = |line, name: &str| E::Name { line, name: name.into() };
        let many = (0..101).map(|n| format!("t{n}: x")).collect::<Vec<_>>().join("\n");
        let long = format!("web: {}", "x".repeat(8193));
        let cases: Vec<(&[u8], ProcfileError)> = vec![
            (b"web node", E::NoColon { line: 1 }),
            (b"# x\nweb: a\nhello", E::NoColon { line: 3 }),
            (b"../x: a", name(1, "../x")),
            (b"-x: a", name(1, "-x")),
            (b"a b: c", name(1, "a b")),
            (b": c", name(1, "")),
            (b"web:", E::NoCommand { line: 1, name: "web".into() }),
            (b"web: \r\n", E::NoCommand { line: 1, name: "web".into() }),
            (b"web: a\nweb: b", E::Twice { line: 2, name: "web".into(), first: 1 }),
            (b"ok: a\nweb: \xff", E::NotText { line: 2 }),
            (b"web: a\0b", E::Control { line: 1, name: "web".into() }),
            (b"web: a\rworker: b", E::Control { line: 1, name: "web".into() }),
            (many.as_bytes(), E::TooMany { line: 101 }),
            (long.as_bytes(), E::CommandTooLong { line: 1 }),
            (&[b'#'; FILE_BYTES_MAX + 1], E::TooLong { bytes: FILE_BYTES_MAX + 1 }),
        ];
        for (text, wanted) in cases {
            assert_eq!(Procfile::parse(text).unwrap_err(), wanted);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(Procfile::parse(&text));
        }

        #[test]
        fn reads_back_what_was_written(
            types in proptest::collection::btree_map("[a-z0-9][a-z0-9_-]{0,20}", "[!-~]([ -~]{0,30}[!-~])?", 0..8)
        ) {
            let lines: Vec<_> = types.iter().map(|(name, command)| format!("{name}: {command}")).collect();
            let text = lines.join("
    ");
            let read = parsed(text.as_bytes());
            prop_assert_eq!(read, types.into_iter().collect::<Vec<_>>());
        }
    }
}
