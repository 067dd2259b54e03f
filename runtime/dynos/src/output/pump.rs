//! Carries what dynos write into the log, from their pipes, as whole lines.

use crate::containers::{Containers, EngineError, Output};
use crate::output::voice::Voice;
use crate::spec::DynoId;
use bytes::Bytes;
use lathe_logs::{AppId, Sender, Splitter};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// As much as a pipe holds.
const READ_BYTES: usize = 64 << 10;
const ENGINE_RETRY: Duration = Duration::from_secs(1);

/// Of a dyno's last lines, so many are kept for whoever explains its end, and so much of each.
const LAST_LINES: usize = 8;
const LAST_LINE_BYTES: usize = 500;

/// The pumps of one cell. Dropping them leaves what is unread in the pipes, for the next cell.
#[derive(Debug)]
pub(crate) struct Pumps {
    running: JoinSet<()>,
    /// Expected and not yet opened: the other end of an entry in `ends`.
    expected: HashMap<DynoId, watch::Sender<bool>>,
    ends: HashMap<DynoId, (watch::Receiver<bool>, LastLines)>,
    stop: watch::Sender<bool>,
}

/// Lets others wait until a dyno's last line is in the log.
#[derive(Clone, Debug)]
pub(crate) struct PumpEnd(Option<(watch::Receiver<bool>, LastLines)>);

impl PumpEnd {
    /// Returns when everything is read, when there is nothing to read, or after `at_most`; with
    /// what was read last.
    pub(crate) async fn wait(self, at_most: Duration) -> Vec<String> {
        let Self(Some((mut end, lines))) = self else { return Vec::new() };
        // An error is a pump that is gone: it will read no more.
        drop(tokio::time::timeout(at_most, end.wait_for(|ended| *ended)).await);
        lines.shown()
    }
}

/// The newest lines of one dyno, of both its streams.
#[derive(Clone, Debug, Default)]
struct LastLines(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl LastLines {
    /// Takes note of whole lines.
    fn push(&self, text: &[u8]) {
        let body = text.strip_suffix(b"\n").unwrap_or(text);
        let newest: Vec<_> = body.rsplit(|byte| *byte == b'\n').take(LAST_LINES).collect();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in newest.into_iter().rev() {
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(line.iter().copied().take(LAST_LINE_BYTES).collect());
        }
    }

    /// Without control characters: they are shown to people.
    fn shown(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
        let text =
            |line: &Vec<u8>| String::from_utf8_lossy(line).trim_end().chars().map(shown).collect();
        lines.iter().map(text).collect()
    }
}

impl Pumps {
    pub(crate) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            expected: HashMap::new(),
            ends: HashMap::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// A pump will be opened for this dyno: from now on its end can be waited for.
    pub(crate) fn expect(&mut self, id: DynoId) {
        let (sender, receiver) = watch::channel(false);
        self.expected.insert(id, sender);
        self.ends.insert(id, (receiver, LastLines::default()));
    }

    pub(crate) fn knows(&self, id: DynoId) -> bool {
        self.ends.contains_key(&id)
    }

    /// Opens the pump of a dyno that runs or has run. Does nothing the second time.
    pub(crate) fn open<C: Containers>(&mut self, engine: Arc<C>, id: DynoId, voice: Voice) {
        if !self.knows(id) {
            self.expect(id);
        }
        let Some(end) = self.expected.remove(&id) else { return };
        let stop = self.stop.subscribe();
        let lines = self.ends.get(&id).map(|(_, lines)| lines.clone()).unwrap_or_default();
        let scribe = Scribe { voice, lines };
        self.running.spawn(async move {
            pump(engine.as_ref(), id, &scribe, stop).await;
            end.send_replace(true);
        });
        while self.running.try_join_next().is_some() {}
    }

    pub(crate) fn end(&self, id: DynoId) -> PumpEnd {
        PumpEnd(self.ends.get(&id).cloned())
    }

    pub(crate) fn forget(&mut self, id: DynoId) {
        self.expected.remove(&id);
        self.ends.remove(&id);
    }

    /// Forgets all that are not `kept`: starts that failed, containers that vanished.
    pub(crate) fn retain(&mut self, mut kept: impl FnMut(DynoId) -> bool) {
        self.expected.retain(|id, _| kept(*id));
        self.ends.retain(|id, _| kept(*id));
    }

    /// Stops reading; unfinished lines go out as they are.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        while self.running.join_next().await.is_some() {}
    }
}

/// Writes a dyno's lines into the log, and remembers the last.
struct Scribe {
    voice: Voice,
    lines: LastLines,
}

impl Scribe {
    fn write(&self, lines: Bytes) {
        self.lines.push(&lines);
        self.voice.app(lines);
    }
}

async fn pump<C: Containers>(engine: &C, id: DynoId, scribe: &Scribe, stop: watch::Receiver<bool>) {
    let Some(output) = output(engine, id, stop.clone()).await else { return };
    if output.dropped_bytes > 0 {
        scribe
            .voice
            .heroku(&format!("Error L12: {} bytes of output were lost", output.dropped_bytes));
    }
    let (stdout, stderr) = tokio::join!(
        drain(output.stdout, scribe, stop.clone()),
        drain(output.stderr, scribe, stop)
    );
    for error in [stdout, stderr].into_iter().filter_map(Result::err) {
        tracing::warn!(dyno.id = %id, %error, "reading a dyno's output failed");
    }
}

async fn output<C: Containers>(
    engine: &C,
    id: DynoId,
    mut stop: watch::Receiver<bool>,
) -> Option<Output> {
    loop {
        match engine.output(id).await {
            Ok(output) => return Some(output),
            Err(EngineError::Unknown(_)) => return None,
            Err(error) => {
                tracing::warn!(dyno.id = %id, %error, "a dyno's output cannot be had, trying again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ENGINE_RETRY) => {}
            _ = stop.wait_for(|stop| *stop) => return None,
        }
    }
}

/// Carries what comes out of one pipe into the log of `app`, as what its `process` wrote, until the
/// pipe ends.
pub async fn carry(pipe: OwnedFd, app: &AppId, process: &str, logs: &Sender) -> io::Result<()> {
    let scribe = Scribe { voice: Voice::new(app, process, logs), lines: LastLines::default() };
    let (_never, stop) = watch::channel(false);
    drain(pipe, &scribe, stop).await
}

async fn drain(pipe: OwnedFd, scribe: &Scribe, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let pipe = Receiver::from_owned_fd(pipe)?;
    let mut splitter = Splitter::default();
    let result = loop {
        // A pipe that is never found empty is never waited for: others have this thread, too.
        tokio::task::coop::consume_budget().await;
        tokio::select! {
            ready = pipe.readable() => match ready.and_then(|()| read(&pipe, &mut splitter)) {
                Ok(Read::Lines(lines)) => scribe.write(lines),
                Ok(Read::Nothing) => {}
                Ok(Read::End) => break Ok(()),
                Err(error) => break Err(error),
            },
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
        }
    };
    splitter.finish().into_iter().for_each(|rest| scribe.write(rest));
    result
}

enum Read {
    Lines(Bytes),
    /// No whole line yet, or it was a false alarm.
    Nothing,
    End,
}

fn read(pipe: &Receiver, splitter: &mut Splitter) -> io::Result<Read> {
    thread_local! {
        /// For all pipes: thousands of dynos that say nothing need no room for it.
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    }
    BUFFER.with_borrow_mut(|buffer| match pipe.try_read(buffer) {
        Ok(0) => Ok(Read::End),
        Ok(length) => Ok(splitter.push(&buffer[..length]).map_or(Read::Nothing, Read::Lines)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::Nothing),
        Err(error) => Err(error),
    })
}
