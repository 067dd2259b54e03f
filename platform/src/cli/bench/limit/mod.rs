//! The limit: the least that still makes a container, by a small process that does nothing else.
//!
//! Namespaces by one `clone3`, a control group with limits, the app's layer over the stack by
//! overlayfs, `/proc`, a new root, the program. No network of use, no filter of system calls, no user,
//! no first process of its own, no record of anything.

mod clone;
mod container;

use super::figures::Sample;
use super::ready::Ready;
use super::{BenchError, probe};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The process that makes the containers, and the way to ask it.
pub(super) struct Limit {
    own_network: bool,
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Limit {
    pub(super) fn name(&self) -> &'static str {
        if self.own_network { "limit, own network" } else { "limit" }
    }

    /// With `own_network` the containers have an empty network of their own: that alone costs
    /// the kernel about half as much again.
    pub(super) fn open(ready: &Ready, own_network: bool) -> Result<Self, BenchError> {
        let this = std::env::current_exe().map_err(BenchError::at("find this program"))?;
        let mut child = Command::new(this)
            .args(["bench", "limit", "--dir"])
            .arg(&ready.dir)
            .args(own_network.then_some("--own-network"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BenchError::at("run the limit"))?;
        let gone = || BenchError::at("talk to the limit")(std::io::ErrorKind::BrokenPipe);
        let ask = child.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        Ok(Self { own_network, child, ask, answers })
    }

    pub(super) fn start(&mut self) -> Result<Sample, BenchError> {
        let mut line = String::new();
        self.ask
            .write_all(b"\n")
            .and_then(|()| self.answers.read_line(&mut line))
            .map_err(BenchError::at("talk to the limit"))?;
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten().map(Duration::from_nanos);
        match (next(), next()) {
            (Some(exec), cpu) => Ok(Sample { exec, cpu }),
            // It has said on stderr what is wrong.
            _ => Err(BenchError::at("measure the limit")(std::io::ErrorKind::UnexpectedEof)),
        }
    }

    /// It ends when nobody asks any more.
    pub(super) fn close(self) -> Result<(), BenchError> {
        let Self { mut child, ask, .. } = self;
        drop(ask);
        child.wait().map(drop).map_err(BenchError::at("end the limit"))
    }
}

/// Makes one container for each line of stdin and answers with nanoseconds: until the first
/// instruction, and of processor time.
pub(super) fn serve(dir: &Path, own_network: bool) -> Result<(), BenchError> {
    let maker = container::Maker::open(dir)?;
    let (mut out, lines) = (std::io::stdout(), std::io::stdin().lock());
    for line in lines.lines() {
        line.map_err(BenchError::at("read a request"))?;
        let before = container::cpu();
        let begin = probe::now();
        let exec = maker.make(own_network)?.saturating_sub(begin);
        let cpu = container::cpu().saturating_sub(before);
        writeln!(out, "{} {}", exec.as_nanos(), cpu.as_nanos())
            .map_err(BenchError::at("answer"))?;
    }
    maker.close()
}
