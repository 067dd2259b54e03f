//! A container's start, from the order to the answer.

use super::berths::{Waiting, end_now, last_word};
use super::held::{Held, Starting};
use super::{Source, Spawner};
use crate::native::record::{Files, Streams};
use crate::native::stream::Stream;
use crate::native::wire::{self, Answer, Boarded, Boarding, Failure, Message, Report};
use crate::spec::DynoId;
use rustix::fs::FileType;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What a dyno's start hands over.
#[derive(Default)]
struct Luggage {
    for_app: Vec<OwnedFd>,
    /// Read ends of its output, for its first process.
    kept: Vec<OwnedFd>,
    /// The spawner's own.
    output: Option<[Stream; 2]>,
}

impl Spawner {
    pub(super) fn start(&mut self, number: u64, boarding: Boarding, fds: Vec<OwnedFd>) {
        let started = match self.take(boarding.berth) {
            Ok(Some(waiting)) => self.board(number, boarding, waiting, fds),
            Ok(None) => return self.reply(number, Answer::Unknown),
            Err(failure) => Err(failure),
        };
        match started {
            Ok(()) => {}
            // Who waited has been killed, and that was not heard yet.
            Err(failure) if failure.errno == libc::EPIPE => self.reply(number, Answer::Unknown),
            Err(failure) => self.reply(number, Answer::Failed(failure)),
        }
    }

    /// Hands a dyno over to the first process that has waited for one.
    fn board(
        &mut self,
        number: u64,
        boarding: Boarding,
        waiting: Waiting,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let dyno = boarding.dyno;
        let Waiting { pid, process, line } = waiting;
        let known = pack(boarding, fds).and_then(|luggage| {
            // From now on it can be adopted.
            Files::of(&self.dir, dyno)
                .write_pid(pid)
                .and_then(|()| self.watches.begin(&process, Source::Process(dyno)))
                .and_then(|()| self.watches.begin(&line, Source::Report(dyno)))
                .and_then(|()| hand_over(&line, dyno, &luggage))
                .map_err(Failure::at("keep track of container"))?;
            Ok(luggage.output)
        });
        let output = known.map_err(|failure| {
            self.watches.end(&process);
            self.watches.end(&line);
            end_now(&process);
            // It may have ended just before, and have said why.
            last_word(&line).unwrap_or(failure)
        })?;
        let starting = Some(Starting { number, report: line, terminal: None, failure: None });
        self.hold(dyno, Held { pid, process: Some(process), output, status: None, starting });
        Ok(())
    }

    /// A container says how its start goes; when it closes the socket, its program runs. Whether
    /// it may have more to say.
    pub(super) fn hear(&mut self, dyno: DynoId) -> bool {
        let Some(held) = self.held.get_mut(&dyno) else { return false };
        let Some(starting) = &mut held.starting else { return false };
        match wire::receive::<Report>(&starting.report) {
            Ok(Some((Report::Terminal, mut fds))) => starting.terminal = fds.pop(),
            Ok(Some((Report::Failed(failure), _))) => starting.failure = Some(failure),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(None) | Err(_) => {
                self.settle(dyno);
                return false;
            }
        }
        true
    }

    /// Answers a start.
    pub(super) fn settle(&mut self, dyno: DynoId) {
        let Some(held) = self.held.get_mut(&dyno) else { return };
        let Some(starting) = held.starting.take() else { return };
        self.watches.end(&starting.report);
        let number = starting.number;
        if let Some(failure) = starting.failure {
            if let Some(Held { process: Some(process), .. }) = self.let_go(dyno) {
                end_now(&process);
            }
            return self.reply(number, Answer::Failed(failure));
        }
        let answer = Answer::Started { pid: held.pid };
        let fds: Vec<&OwnedFd> = starting.terminal.iter().collect();
        self.tell(&Message::Reply { number, answer }, &fds);
    }
}

fn pack(boarding: Boarding, mut fds: Vec<OwnedFd>) -> Result<Luggage, Failure> {
    let mut luggage = Luggage::default();
    match boarding.streams {
        Streams::Logged => {
            let null = File::open("/dev/null").map_err(Failure::at("open /dev/null"))?;
            let (out, out_end) = Stream::open().map_err(Failure::at("make output pipe"))?;
            let (err, err_end) = Stream::open().map_err(Failure::at("make output pipe"))?;
            for stream in [&out, &err] {
                luggage.kept.push(stream.reader().map_err(Failure::at("make output pipe"))?);
            }
            luggage.for_app.extend([null.into(), out_end, err_end]);
            luggage.output = Some([out, err]);
        }
        Streams::Given if fds.len() >= 3 => luggage.for_app.extend(fds.drain(..3)),
        Streams::Given => {
            return Err(Failure { step: "take stdio".to_owned(), errno: libc::EBADF });
        }
        Streams::Terminal { .. } => {}
    }
    give_pipes(&luggage.for_app, boarding.uid).map_err(Failure::at("give output pipes away"))?;
    luggage.for_app.extend(fds);
    Ok(luggage)
}

fn hand_over(line: &OwnedFd, dyno: DynoId, luggage: &Luggage) -> io::Result<()> {
    let boarded = Boarded { dyno, for_app: luggage.for_app.len() };
    let fds: Vec<_> = luggage.for_app.iter().chain(&luggage.kept).map(AsFd::as_fd).collect();
    wire::send(line, &boarded, &fds)
}

/// Makes pipes the dyno's own: programs open `/dev/stdout` and `/dev/stderr` by name, and the kernel
/// asks then whose they are.
fn give_pipes(files: &[OwnedFd], uid: u32) -> io::Result<()> {
    for file in files {
        let kind = rustix::fs::fstat(file)?.st_mode;
        if FileType::from_raw_mode(kind) == FileType::Fifo {
            std::os::unix::fs::fchown(file, Some(uid), Some(uid))?;
        }
    }
    Ok(())
}
