//! Objects that were pushed, read by a git of its own: what is wrong with one is the end of that process.

use crate::plumbing;
use git2::Oid;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};

/// Of an answer's first line: an id, a kind, a size.
const LINE_BYTES_MAX: u64 = 128;
/// Kept of what git says at its end.
const SAID_BYTES_MAX: u64 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("git could not be run")]
    Run(#[source] io::Error),
    #[error("{id} is not there")]
    Absent { id: String },
    #[error("git answered {line:?}")]
    Answer { line: String },
    #[error("git ended ({how}): {said}")]
    Ended { how: ExitStatus, said: String },
}

/// Git's own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

/// What an object is, before anything of it was unfolded here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) bytes: u64,
}

/// A running `git cat-file --batch`; Git documentation, git-cat-file(1), "Batch output".
pub(super) struct Objects {
    git: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Objects {
    fn drop(&mut self) {
        // It may have ended; nobody else waits for it.
        self.git.kill().ok();
        self.git.wait().ok();
    }
}

impl Objects {
    /// `quarantine` is where git keeps the objects of a push that is not accepted yet.
    pub(super) fn open(
        repo: &Path,
        quarantine: Option<&Path>,
        memory_bytes: u64,
    ) -> Result<Self, ObjectError> {
        let mut command = plumbing::git(repo);
        command.env("GIT_DIR", repo).args(["cat-file", "--batch"]);
        if let Some(quarantine) = quarantine {
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(quarantine));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut git = command.spawn().map_err(ObjectError::Run)?;
        let (Some(asks), Some(answers)) = (git.stdin.take(), git.stdout.take()) else {
            return Err(ObjectError::Run(io::ErrorKind::BrokenPipe.into()));
        };
        let objects = Self { git, asks, answers: BufReader::new(answers) };
        plumbing::bound_memory(objects.git.id(), memory_bytes).map_err(ObjectError::Run)?;
        Ok(objects)
    }

    /// Asks for objects, whose answers come in this order. As many as fit into a pipe: nobody reads
    /// meanwhile.
    pub(super) fn ask(&mut self, ids: &[Oid]) -> Result<(), ObjectError> {
        let mut lines = String::new();
        for id in ids {
            writeln!(lines, "{id}").ok();
        }
        self.asks.write_all(lines.as_bytes()).map_err(|_| self.end())
    }

    /// The next answer. Its content comes after it, and has to be read before the one after that.
    pub(super) fn header(&mut self) -> Result<Header, ObjectError> {
        let mut line = Vec::new();
        let mut answer = self.answers.by_ref().take(LINE_BYTES_MAX);
        match answer.read_until(b'\n', &mut line) {
            Ok(1..) if line.ends_with(b"\n") => parse(&line),
            _ => Err(self.end()),
        }
    }

    pub(super) fn content(&mut self, bytes: u64) -> Content<'_> {
        Content { answers: &mut self.answers, left: bytes, is_closed: false, is_cut: false }
    }

    /// Why there is no more. It is ended, if it has not.
    pub(super) fn end(&mut self) -> ObjectError {
        self.git.kill().ok();
        let how = self.git.wait().unwrap_or_else(|_| ExitStatus::from_raw(0));
        let mut said = Vec::new();
        if let Some(stderr) = self.git.stderr.take() {
            // Without its words there is its status.
            stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).ok();
        }
        ObjectError::Ended { how, said: said.trim_ascii().escape_ascii().to_string() }
    }
}

/// One path where git reads a list of them: as a string of C. Git documentation, git(1).
fn quoted(path: &Path) -> OsString {
    let mut quoted = b"\"".to_vec();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

/// `<id> <kind> <size>`, or `<id> missing`.
fn parse(line: &[u8]) -> Result<Header, ObjectError> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let id = words.next().unwrap_or_default();
    let kind = match words.next() {
        Some("commit") => Some(Kind::Commit),
        Some("tree") => Some(Kind::Tree),
        Some("blob") => Some(Kind::Blob),
        Some("tag") => Some(Kind::Tag),
        Some("missing") => return Err(ObjectError::Absent { id: id.to_owned() }),
        _ => None,
    };
    let bytes = words.next().and_then(|word| word.parse().ok());
    match (kind, bytes, words.next()) {
        (Some(kind), Some(bytes), None) => Ok(Header { kind, bytes }),
        _ => Err(ObjectError::Answer { line: text.trim_end().to_owned() }),
    }
}

/// What is in an object: exactly as much as was announced.
pub(super) struct Content<'a> {
    answers: &'a mut BufReader<ChildStdout>,
    left: u64,
    is_closed: bool,
    is_cut: bool,
}

impl Content<'_> {
    /// Git has ended in the middle of it.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.is_closed || into.is_empty() {
            return Ok(0);
        }
        let read = self.answers.by_ref().take(self.left).read(into);
        let read = match read {
            // A line feed ends it.
            Ok(0) if self.left == 0 => self.answers.read_exact(&mut [0]).map(|()| {
                self.is_closed = true;
                0
            }),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        match &read {
            Ok(bytes) => self.left -= *bytes as u64,
            Err(error) => self.is_cut |= error.kind() != io::ErrorKind::Interrupted,
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::{ObjectType, Repository};

    const MEMORY: u64 = 512 << 20;

    #[test]
    fn answers_of_git() {
        let id = "a".repeat(40);
        let read = |text: &str| parse(format!("{id} {text}\n").as_bytes());
        for (text, kind, bytes) in
            [("commit 7", Kind::Commit, 7), ("tree 0", Kind::Tree, 0), ("tag 1", Kind::Tag, 1)]
        {
            assert_eq!(read(text).unwrap(), Header { kind, bytes });
        }
        assert!(matches!(read("missing"), Err(ObjectError::Absent { .. })));
        for text in ["", "blob", "blob -1", "blob x", "blob 1 1", "ambiguous", "submodule 1"] {
            assert!(matches!(read(text), Err(ObjectError::Answer { .. })), "{text}");
        }
    }

    #[test]
    fn contents_come_in_the_order_they_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let long = vec![b'x'; 100_000];
        let texts = [&b""[..], b"one", b"two\n", &long];
        let ids = texts.map(|text| repository.blob(text).unwrap());
        let mut objects = Objects::open(dir.path(), None, MEMORY).unwrap();
        objects.ask(&ids).unwrap();
        for text in texts {
            let header = objects.header().unwrap();
            assert_eq!(header, Header { kind: Kind::Blob, bytes: text.len() as u64 });
            let mut content = Vec::new();
            objects.content(header.bytes).read_to_end(&mut content).unwrap();
            assert_eq!(content, text);
        }
        objects.ask(&[Oid::from_bytes(&[7; 20]).unwrap()]).unwrap();
        assert!(matches!(objects.header(), Err(ObjectError::Absent { .. })));
    }

    #[test]
    fn a_git_that_is_killed_or_takes_too_much_is_an_error_and_no_end_of_content() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        // Larger than any pipe.
        let id = repository.blob(&vec![b'x'; 4 << 20]).unwrap();
        let mut objects = Objects::open(dir.path(), None, MEMORY).unwrap();
        objects.ask(&[id]).unwrap();
        let Header { bytes, .. } = objects.header().unwrap();
        objects.git.kill().unwrap();
        let mut content = objects.content(bytes);
        assert!(io::copy(&mut content, &mut io::sink()).is_err());
        assert!(content.is_cut());
        assert!(matches!(objects.end(), ObjectError::Ended { how, .. } if how.signal() == Some(9)));
        assert!(matches!(objects.header(), Err(ObjectError::Ended { .. })));

        let large = [b"tree x\n\n", &vec![b'x'; 64 << 20][..]].concat();
        let id = repository.odb().unwrap().write(ObjectType::Commit, &large).unwrap();
        let mut objects = Objects::open(dir.path(), None, 32 << 20).unwrap();
        objects.ask(&[id]).unwrap();
        let Header { bytes, .. } = objects.header().unwrap();
        assert!(objects.content(bytes).read_to_end(&mut Vec::new()).is_err());
        let said = objects.end().to_string();
        assert!(said.contains("ut of memory"), "{said}");
    }
}
