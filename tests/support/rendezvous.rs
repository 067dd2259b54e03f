//! A client of attached one-offs.

use crate::{Platform, Secured};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

const GREETING: &str = "rendezvous\r\n";
/// For any one thing a session is waited for.
const BOUND: Duration = Duration::from_mins(1);
/// For one look at whether something has come.
const LOOK: Duration = Duration::from_millis(200);

/// A one-off about to be run: what the body of `POST /apps/:app/dynos` says.
#[derive(Clone, Debug)]
pub struct OneOff {
    pub name: String,
    pub attach_url: Option<String>,
}

impl OneOff {
    /// Asks for one; `body` is added to `command` and `attach`.
    pub fn ask(platform: &Platform, app: &str, command: &str, body: &Value) -> Self {
        let mut whole = json!({"command": command, "attach": true});
        whole.as_object_mut().unwrap().extend(body.as_object().cloned().unwrap_or_default());
        let (status, answer) = platform.api("POST", &format!("/apps/{app}/dynos"), &whole);
        assert_eq!(status, 201, "{answer}");
        Self {
            name: answer["name"].as_str().unwrap().to_owned(),
            attach_url: answer["attach_url"].as_str().map(str::to_owned),
        }
    }

    pub fn token(&self) -> &str {
        self.attach_url.as_ref().unwrap().rsplit('/').next().unwrap()
    }

    /// Comes for it and is greeted.
    pub fn attach(&self, platform: &Platform) -> Session {
        let url = self.attach_url.as_ref().unwrap();
        assert!(url.starts_with("rendezvous://localhost:"), "{url}");
        let mut session = Session::open(platform);
        session.send(format!("{}\r\n", self.token()).as_bytes());
        session.until(GREETING);
        assert!(session.text().starts_with(GREETING), "nothing comes before the greeting");
        session.received.drain(..GREETING.len());
        session
    }
}

/// A connection to the rendezvous port, verified against the platform's own authority.
#[derive(Debug)]
pub struct Session {
    stream: Secured,
    received: Vec<u8>,
    ended: bool,
}

impl Session {
    pub fn open(platform: &Platform) -> Self {
        let mut stream = platform.secured("rendezvous", "localhost");
        // Here and not with the first words, which would wait for it no longer than a look.
        stream.sock.set_read_timeout(Some(BOUND)).unwrap();
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.sock.set_read_timeout(Some(LOOK)).unwrap();
        Self { stream, received: Vec::new(), ended: false }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the platform takes the bytes");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads until `text` has been received.
    pub fn until(&mut self, text: &str) {
        self.read_while(|seen| !seen.contains(text));
        assert!(self.text().contains(text), "no {text:?} in {:?}", self.text());
    }

    /// Reads to the end, which has to come in time, and gives everything after the greeting.
    pub fn end(mut self) -> String {
        self.read_while(|_| true);
        assert!(self.ended, "the session does not end; so far: {:?}", self.text());
        self.text()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn read_while(&mut self, wants_more: impl Fn(&str) -> bool) {
        let started = Instant::now();
        let mut buffer = vec![0; 64 * 1024];
        while !self.ended && wants_more(&self.text()) && started.elapsed() < BOUND {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.received.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Without a farewell in TLS; an end all the same.
                Err(_) => self.ended = true,
            }
        }
    }
}
