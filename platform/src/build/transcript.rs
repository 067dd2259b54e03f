//! What a build says: a bounded file that any number of readers follow while it grows.
//!
//! Readers read the file and not the build: a slow pusher never slows a build down, and one that
//! comes late reads all of it.

use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// Of what the compiler says of itself, beyond the output that it shows.
const WORDS_BYTES_MAX: u64 = 1 << 20;
/// Transcripts kept, and their bytes together; the oldest go first.
const KEPT_MAX: usize = 500;
const KEPT_BYTES_MAX: u64 = 1 << 30;
const PIECE_BYTES: usize = 32 * 1024;

/// `<data>/builds`: one file a build.
#[derive(Clone, Debug)]
pub struct Transcripts {
    dir: PathBuf,
    /// Of what the compiler says. It bounds itself too, but what it runs is not ours.
    output_bytes_max: u64,
    live: Arc<Mutex<HashMap<String, watch::Receiver<u64>>>>,
}

/// The one who writes a transcript. Dropping it ends the transcript for its readers.
#[derive(Debug)]
pub(super) struct Transcript {
    id: String,
    file: File,
    /// Bytes that readers may read.
    written: watch::Sender<u64>,
    output: u64,
    transcripts: Transcripts,
}

/// A reader of a transcript, from its beginning.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
    /// None for a transcript that had ended before.
    written: Option<watch::Receiver<u64>>,
}

impl Transcripts {
    /// `output_bytes_max` is what a build may show of the output of its programs.
    pub(super) fn open(dir: PathBuf, output_bytes_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let output_bytes_max = output_bytes_max.saturating_add(WORDS_BYTES_MAX);
        Ok(Self { dir, output_bytes_max, live: Arc::default() })
    }

    /// Begins the transcript of a build and makes room for it.
    pub(super) fn create(&self, build: &str) -> io::Result<Transcript> {
        self.prune()?;
        let file = File::options()
            .append(true)
            .read(true)
            .create_new(true)
            .open(self.dir.join(format!("{build}.log")))?;
        let (written, reader) = watch::channel(0);
        self.live().insert(build.to_owned(), reader);
        let id = build.to_owned();
        Ok(Transcript { id, file, written, output: 0, transcripts: self.clone() })
    }

    /// A reader of what the build with this id says or has said; none when that is not kept.
    pub fn follow(&self, build: &str) -> Option<Follower> {
        // Looked up first: a transcript that ends in between is complete on disk.
        let written = self.live().get(build).cloned();
        let file = File::open(self.dir.join(format!("{build}.log"))).ok()?;
        Some(Follower { file, at: 0, written })
    }

    fn live(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<u64>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prune(&self) -> io::Result<()> {
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            kept.push((about.modified()?, about.len(), entry.path()));
        }
        kept.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
        let mut bytes = 0;
        for (n, (_, size, path)) in kept.into_iter().enumerate() {
            bytes += size;
            if n + 1 >= KEPT_MAX || bytes > KEPT_BYTES_MAX {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Transcript {
    /// Our own words; never cut.
    pub(super) fn say(&mut self, text: &str) {
        self.append(text.as_bytes());
    }

    /// Each line after ` !     `, as Heroku marks what went wrong.
    pub(super) fn error(&mut self, lines: &[String]) {
        for line in lines {
            self.say(&format!(" !     {line}\n"));
        }
    }

    /// What the compiler says. False once it has said too much.
    pub(super) fn output(&mut self, bytes: &[u8]) -> bool {
        let max = self.transcripts.output_bytes_max;
        let room = max.saturating_sub(self.output);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.append(kept);
        let was_whole = self.output <= max;
        self.output = self.output.saturating_add(bytes.len() as u64);
        if self.output <= max {
            return true;
        }
        if was_whole {
            let cut = "Output is cut here: the build wrote more than its limit (build.output).";
            self.say(&format!("\n !     {cut}\n"));
        }
        false
    }

    pub(super) fn follow(&self) -> io::Result<Follower> {
        let written = Some(self.written.subscribe());
        Ok(Follower { file: self.file.try_clone()?, at: 0, written })
    }

    /// A transcript that cannot be written must not fail the build it tells about.
    fn append(&mut self, bytes: &[u8]) {
        match self.file.write_all(bytes) {
            Ok(()) => self.written.send_modify(|written| *written += bytes.len() as u64),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a build's transcript");
                // Readers see whatever did arrive.
                let length = self.file.metadata().map_or(0, |about| about.len());
                self.written.send_modify(|written| *written = length);
            }
        }
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.transcripts.live().remove(&self.id);
    }
}

impl Follower {
    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Read before the length, so that nothing written before the end is missed.
            let ended = match &mut self.written {
                None => true,
                Some(written) => written.has_changed().is_err(),
            };
            let limit = match &mut self.written {
                None => u64::MAX,
                Some(written) => *written.borrow_and_update(),
            };
            let room = limit.saturating_sub(self.at).min(PIECE_BYTES as u64);
            let mut piece = vec![0; usize::try_from(room).unwrap_or(PIECE_BYTES)];
            let read = self.file.read_at(&mut piece, self.at).unwrap_or(0);
            if read > 0 {
                piece.truncate(read);
                self.at += read as u64;
                return Some(Bytes::from(piece));
            }
            if ended {
                return None;
            }
            if let Some(written) = &mut self.written {
                // An error means that the writer has gone: seen as the end in the next round.
                drop(written.changed().await);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rest(follower: &mut Follower) -> String {
        let mut bytes = Vec::new();
        while let Some(piece) = follower.next().await {
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn everybody_reads_everything() {
        let dir = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::open(dir.path().join("builds"), 1000).unwrap();
        let mut transcript = transcripts.create("b1").unwrap();
        transcript.say("one\n");
        let mut early = transcripts.follow("b1").unwrap();
        let mut own = transcript.follow().unwrap();
        assert_eq!(early.next().await.unwrap(), "one\n");
        let reader = tokio::spawn(async move { rest(&mut early).await });
        transcript.output(b"two\n");
        transcript.error(&["three".into()]);
        drop(transcript);
        assert_eq!(reader.await.unwrap(), "two\n !     three\n");
        assert_eq!(rest(&mut own).await, "one\ntwo\n !     three\n");
        assert_eq!(rest(&mut transcripts.follow("b1").unwrap()).await, "one\ntwo\n !     three\n");
        assert!(transcripts.follow("b2").is_none());
    }

    #[tokio::test]
    async fn too_much_output_is_cut_once_and_our_words_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::open(dir.path().to_owned(), 15 << 20).unwrap();
        let mut transcript = transcripts.create("b1").unwrap();
        let mut follower = transcript.follow().unwrap();
        let (piece, mut going) = (vec![b'x'; 1 << 20], 0);
        for _ in 0..20 {
            going += usize::from(transcript.output(&piece));
        }
        assert_eq!(going, 16);
        transcript.say("the end\n");
        drop(transcript);
        let text = rest(&mut follower).await;
        assert_eq!(text.matches("Output is cut here").count(), 1);
        assert!(text.len() < 17 << 20 && text.ends_with("the end\n"));
    }

    #[test]
    fn old_ones_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let transcripts = Transcripts::open(dir.path().to_owned(), 1000).unwrap();
        for n in 0..KEPT_MAX + 20 {
            drop(transcripts.create(&format!("b{n}")).unwrap());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), KEPT_MAX);
    }
}
