//! A drain's receiver of `application/logplex-1` frames, which keeps every message once, whatever is sent twice.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    silent: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Received {
    frame_ids: HashSet<String>,
    heads: String,
    /// Each with its syslog head and without its line end.
    messages: Vec<String>,
}

impl Receiver {
    /// On any free port of this address.
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, received: Arc::default(), silent: Arc::default() };
        let shared = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let receiver = shared.clone();
                std::thread::spawn(move || receiver.serve(stream));
            }
        });
        receiver
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on frames are taken and neither kept nor answered, or that is over.
    pub fn fall_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Everything received so far, each message without its line end.
    pub fn messages(&self) -> Vec<String> {
        self.received.lock().unwrap().messages.clone()
    }

    /// The same without the syslog heads.
    pub fn texts(&self) -> Vec<String> {
        let text = |message: &String| message.split_once(" - ").unwrap().1.to_owned();
        self.received.lock().unwrap().messages.iter().map(text).collect()
    }

    /// The heads of all requests.
    pub fn heads(&self) -> String {
        self.received.lock().unwrap().heads.clone()
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
            let messages = messages(&String::from_utf8(body).unwrap());
            assert_eq!(value("logplex-msg-count"), messages.len().to_string());
            {
                let mut received = self.received.lock().unwrap();
                received.heads += &head;
                if received.frame_ids.insert(value("logplex-frame-id")) {
                    received.messages.extend(messages);
                }
            }
            writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
        }
    }
}

/// The messages of a frame.
fn messages(mut body: &str) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = body.split_once(' ') {
        let (message, rest) = rest.split_at(length.parse().unwrap());
        messages.push(message.trim_end_matches('\n').to_owned());
        body = rest;
    }
    messages
}
