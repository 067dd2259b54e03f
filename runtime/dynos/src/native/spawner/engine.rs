//! The spawner and its engine: who is asked, what is asked, and what is answered.

use super::{Source, Spawner};
use crate::native::stream::Stream;
use crate::native::wire::{self, Answer, Failure, Message, Order, Request, VERSION};
use crate::spec::DynoId;
use rustix::net::SocketFlags;
use rustix::process::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl Spawner {
    /// A new engine replaces the old one, which then is dead or about to be.
    pub(super) fn accept(&mut self) -> io::Result<()> {
        let engine = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?;
        // An engine that does not read must not hold up the dynos' ends.
        let patience = Some(std::time::Duration::from_secs(5));
        let timeout = rustix::net::sockopt::Timeout::Send;
        rustix::net::sockopt::set_socket_timeout(&engine, timeout, patience)?;
        self.part();
        self.watches.begin(&engine, Source::Engine)?;
        self.engine = Some(engine);
        self.kept.engine_came();
        self.alone.engine_came();
        self.tell(&Message::Hello { version: VERSION, pid: std::process::id() }, &[]);
        let held: Vec<Message> = self
            .held
            .iter()
            .filter(|(_, held)| held.starting.is_none())
            .map(|(dyno, held)| Message::Held { dyno: *dyno, pid: held.pid, status: held.status })
            .collect();
        for message in &held {
            self.tell(message, &[]);
        }
        self.tell(&Message::Ready, &[]);
        Ok(())
    }

    /// The engine is gone: what it read, nobody reads now.
    fn part(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.watches.end(&engine);
            let now = Instant::now();
            self.kept.engine_went(now);
            self.alone.engine_went(now);
            self.vacate_all();
            for (dyno, held) in &mut self.held {
                let Some(output) = &mut held.output else { continue };
                output.iter_mut().for_each(Stream::release);
                if held.status.is_none() {
                    self.unread.insert(*dyno);
                }
            }
        }
    }

    pub(super) fn tell(&mut self, message: &Message, fds: &[&OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Some(engine) = &self.engine
            && wire::send(engine, message, &fds).is_err()
        {
            self.part();
        }
    }

    pub(super) fn reply(&mut self, number: u64, answer: Answer) {
        self.tell(&Message::Reply { number, answer }, &[]);
    }

    pub(super) fn serve(&mut self) {
        let Some(engine) = &self.engine else { return };
        match wire::receive::<Request>(engine) {
            Ok(Some((request, fds))) => self.obey(request, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.part(),
        }
    }

    fn obey(&mut self, request: Request, fds: Vec<OwnedFd>) {
        let Request { number, order } = request;
        match order {
            Order::Prepare(berth, groups) => {
                let answer = self
                    .prepare(berth, &groups, fds)
                    .map_or_else(Answer::Failed, |()| Answer::Done);
                self.reply(number, answer);
            }
            Order::Start(boarding) => self.start(number, boarding, fds),
            Order::Output(dyno) => self.hand_out(number, dyno),
            Order::Signal(dyno, signal) => {
                let answer = self.signal(dyno, signal);
                self.reply(number, answer);
            }
            Order::Forget(dyno) => {
                drop(self.let_go(dyno));
                self.reply(number, Answer::Done);
            }
            Order::Keep(names, patience) => {
                let kept = self.kept.replace(names, fds, patience);
                let answer = kept.map_or_else(Answer::Failed, |()| Answer::Done);
                self.reply(number, answer);
            }
            Order::Kept => self.hand_back(number),
            Order::Retire => {
                self.retired = true;
                self.reply(number, Answer::Done);
            }
        }
    }

    fn hand_out(&mut self, number: u64, dyno: DynoId) {
        let Some(output) = self.held.get_mut(&dyno).and_then(|held| held.output.as_mut()) else {
            return self.reply(number, Answer::Unknown);
        };
        self.unread.remove(&dyno);
        let dropped_bytes = output.iter_mut().map(Stream::claim).sum();
        let ends: io::Result<Vec<OwnedFd>> = output.iter().map(Stream::reader).collect();
        match ends {
            Ok(ends) => {
                let answer = Answer::Output { dropped_bytes };
                let fds: Vec<&OwnedFd> = ends.iter().collect();
                self.tell(&Message::Reply { number, answer }, &fds);
            }
            Err(error) => {
                let failure = Failure::at("hand out output")(error);
                self.reply(number, Answer::Failed(failure));
            }
        }
    }

    fn hand_back(&mut self, number: u64) {
        let answer = Answer::Kept(self.kept.names());
        let sockets: io::Result<Vec<OwnedFd>> =
            self.kept.sockets().into_iter().map(OwnedFd::try_clone).collect();
        match sockets {
            Ok(sockets) => {
                let sockets: Vec<&OwnedFd> = sockets.iter().collect();
                self.tell(&Message::Reply { number, answer }, &sockets);
            }
            Err(error) => {
                let failure = Failure::at("hand back sockets")(error);
                self.reply(number, Answer::Failed(failure));
            }
        }
    }

    fn signal(&self, dyno: DynoId, signal: i32) -> Answer {
        let Some(held) = self.held.get(&dyno) else { return Answer::Unknown };
        let (Some(process), None) = (&held.process, held.status) else { return Answer::Done };
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Answer::Failed(Failure { step: "signal".to_owned(), errno: libc::EINVAL });
        };
        match rustix::process::pidfd_send_signal(process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Answer::Done,
            Err(error) => Answer::Failed(Failure::at("signal")(error)),
        }
    }
}
