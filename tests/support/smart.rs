//! Git's smart HTTP by hand, for what no honest git would send.

use crate::{Answer, Checkout, Platform};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

pub const ZERO: &str = "0000000000000000000000000000000000000000";
const CAPABILITIES: &str = "report-status side-band-64k agent=by-hand";
/// Longer than any silence that git or we allow.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The list of refs to move, from `old` to `new`, that begins a push.
pub fn commands(updates: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (index, (old, new, name)) in updates.iter().enumerate() {
        let capabilities = if index == 0 { format!("\0{CAPABILITIES}") } else { String::new() };
        let line = [format!("{old} {new} ").as_bytes(), *name, capabilities.as_bytes()].concat();
        list.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
        list.extend_from_slice(&line);
    }
    list.extend_from_slice(b"0000");
    list
}

/// `Authorization` as git sends it.
pub fn basic(token: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("git:{token}")))
}

impl Checkout {
    pub fn head(&self) -> String {
        let output = self.git(&["rev-parse", "HEAD"]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Everything that `HEAD` reaches, as one pack.
    pub fn pack(&self) -> Vec<u8> {
        let mut command = self.git_command(&["pack-objects", "--quiet", "--stdout", "--revs"]);
        Self::fed(&mut command, b"HEAD\n")
    }

    /// Writes an object as it is, however wrong, and gives its id.
    pub fn object(&self, kind: &str, content: &[u8]) -> String {
        let mut command =
            self.git_command(&["hash-object", "-w", "--literally", "--stdin", "-t", kind]);
        String::from_utf8(Self::fed(&mut command, content)).unwrap().trim().to_owned()
    }

    /// A tree of `(mode, name, id)`, checked by nobody.
    pub fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let mut content = Vec::new();
        for (mode, name, id) in entries {
            content.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            let byte = |at: usize| u8::from_str_radix(&id[at..at + 2], 16).unwrap();
            content.extend((0..id.len()).step_by(2).map(byte));
        }
        self.object("tree", &content)
    }

    fn fed(command: &mut std::process::Command, input: &[u8]) -> Vec<u8> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}");
        output.stdout
    }
}

impl Platform {
    /// One whole `git-receive-pack` request.
    pub fn receive_pack(&self, app: &str, body: &[u8]) -> Answer {
        let authorization = basic(&self.token());
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/x-git-receive-pack-request"),
        ];
        let path = format!("/{app}.git/git-receive-pack");
        crate::request(self.address("api_plain"), "POST", "localhost", &path, &headers, body)
            .expect("an answer")
    }

    /// A `git-receive-pack` request that announces `length` bytes and has sent only `part` so far.
    pub fn begin_push(&self, app: &str, part: &[u8], length: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address("api_plain")).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let authorization = basic(&self.token());
        let head = format!(
            "POST /{app}.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: {authorization}\r\nContent-Length: {length}\r\nConnection: close\r\n\
             Content-Type: application/x-git-receive-pack-request\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(part).unwrap();
        stream
    }
}

/// All that still comes; empty when the other end is gone without a word.
pub fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("nothing for {TIMEOUT:?}: the client hangs");
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}
