//! What a test's dyno does, in words that a shell can carry out and the fake can pretend.

use lathe_dynos::fake::Behaviour;
use std::time::Duration;

/// A dyno's life: it takes memory, listens, says its words, and stays or ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Script {
    pub(crate) takes_bytes: u64,
    /// On its port; needs python in the stack.
    pub(crate) listens: bool,
    pub(crate) says: &'static str,
    pub(crate) complains: &'static str,
    pub(crate) at_term: AtTerm,
    /// None: it stays.
    pub(crate) ends: Option<(Duration, u8)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum AtTerm {
    #[default]
    Dies,
    Ignores,
    SaysAndEnds(&'static str, u8),
}

const SERVE: &str = "python3 -c \"import socket, os
s = socket.create_server(('0.0.0.0', int(os.environ['PORT'])))
while True: s.accept()[0].close()\" &";

impl Script {
    pub(crate) fn saying(says: &'static str) -> Self {
        Self { says, ..Self::default() }
    }

    pub(crate) fn ending(says: &'static str, status: u8) -> Self {
        Self { says, ends: Some((Duration::ZERO, status)), ..Self::default() }
    }

    /// For `bash -c`. A trap is set before the first word is said: who heard it may signal.
    pub(crate) fn command(&self) -> String {
        let mut lines = vec![match self.at_term {
            AtTerm::Dies => String::new(),
            AtTerm::Ignores => "trap '' TERM".to_owned(),
            AtTerm::SaysAndEnds(word, status) => {
                format!("trap 'echo {word}; exit {status}' TERM")
            }
        }];
        if self.takes_bytes > 0 {
            lines.push(format!("exec python3 -c 'x = bytearray({})'", self.takes_bytes));
        }
        if self.listens {
            lines.push(SERVE.to_owned());
        }
        for (text, to) in [(self.says, ""), (self.complains, " >&2")] {
            if !text.is_empty() {
                lines.push(format!("echo {text}{to}"));
            }
        }
        lines.push(match (self.ends, self.at_term) {
            (Some((after, status)), _) => {
                format!("sleep {}; exit {status}", after.as_secs_f64())
            }
            (None, AtTerm::Dies) => "exec sleep 1000".to_owned(),
            // Signals reach the sleep, too, and the shell would tell of its end.
            (None, _) => "exec 2>/dev/null; while :; do sleep 0.02; done".to_owned(),
        });
        lines.join("\n")
    }

    pub(crate) fn behaviour(&self) -> Behaviour {
        let line = |text: &str| if text.is_empty() { String::new() } else { format!("{text}\n") };
        let (obeys_after, at_term) = match self.at_term {
            AtTerm::Dies => (Some(Duration::ZERO), (String::new(), 143)),
            AtTerm::Ignores => (None, (String::new(), 0)),
            AtTerm::SaysAndEnds(word, status) => (Some(Duration::ZERO), (line(word), status)),
        };
        Behaviour {
            listens_after: self.listens.then_some(Duration::ZERO),
            ends_after: self.ends,
            obeys_after,
            at_term: (at_term.0.into_bytes(), at_term.1),
            says: line(self.says).into_bytes(),
            complains: line(self.complains).into_bytes(),
            takes_bytes: self.takes_bytes,
            ..Behaviour::default()
        }
    }
}
