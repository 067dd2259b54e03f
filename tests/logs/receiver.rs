//! A receiver of `application/logplex-1` frames that keeps every message once, whatever is sent twice.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, Default)]
pub(super) struct Receiver {
    pub(super) port: u16,
    messages: Arc<Mutex<(HashSet<String>, Vec<String>)>>,
    silent: Arc<AtomicBool>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let receiver = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let shared = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let receiver = shared.clone();
                std::thread::spawn(move || receiver.serve(stream));
            }
        });
        receiver
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// From now on frames are taken and neither kept nor answered, or that is over.
    pub(super) fn fall_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Everything received so far, without the syslog heads.
    pub(super) fn texts(&self) -> Vec<String> {
        self.messages.lock().unwrap().1.clone()
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut writer = stream;
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).ok()? == 0 {
                    return None;
                }
            }
            let value = |name: &str| {
                let line = head.lines().find_map(|line| {
                    let (key, value) = line.split_once(": ")?;
                    key.eq_ignore_ascii_case(name).then_some(value)
                });
                line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
            };
            let mut body = vec![0; value("content-length").parse().ok()?];
            reader.read_exact(&mut body).ok()?;
            if self.silent.load(Ordering::SeqCst) {
                continue;
            }
            let texts = texts(&String::from_utf8(body).unwrap());
            assert_eq!(value("logplex-msg-count"), texts.len().to_string());
            {
                let mut messages = self.messages.lock().unwrap();
                if messages.0.insert(value("logplex-frame-id")) {
                    messages.1.extend(texts);
                }
            }
            writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
        }
    }
}

/// The messages of a frame, each without its syslog head.
fn texts(mut body: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = body.split_once(' ') {
        let (message, rest) = rest.split_at(length.parse().unwrap());
        let (_, text) = message.split_once(" - ").unwrap();
        texts.push(text.trim_end_matches('\n').to_owned());
        body = rest;
    }
    texts
}
