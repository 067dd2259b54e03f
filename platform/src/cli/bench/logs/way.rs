//! One way for lines: a process that is fed, carries to a sink, and is asked what it cost.

use super::super::BenchError;
use super::sink::Sink;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Lines written at once.
const CHUNK_LINES: u64 = 500;
/// Lines that may be under way; less than any buffer holds.
const WINDOW_LINES: u64 = 16_000;
/// Without one line more in this time it has failed.
const STALL: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Lathe,
    Rsyslog,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) wall: Duration,
    /// For each line, user and system, start and end of the process included.
    pub(super) cpu_ns: f64,
}

pub(super) fn rsyslog_is_here() -> bool {
    let mut command = Command::new("rsyslogd");
    command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Way {
    pub(super) fn carry(self, lines: u64) -> Result<Run, BenchError> {
        let sink = Sink::open().map_err(BenchError::at("listen"))?;
        let before = cpu_of_children()?;
        let (begun, ended) = match self {
            Self::Lathe => through_lathe(lines, &sink)?,
            Self::Rsyslog => through_rsyslog(lines, &sink)?,
        };
        let cpu = cpu_of_children()?.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let cpu_ns = cpu.as_nanos() as f64 / lines as f64;
        Ok(Run { wall: ended.duration_since(begun), cpu_ns })
    }
}

fn through_lathe(lines: u64, sink: &Sink) -> Result<(Instant, Instant), BenchError> {
    let lathe = std::env::current_exe().map_err(BenchError::at("find this program"))?;
    let mut child = Command::new(lathe)
        .args(["bench", "logs-hub", &format!("syslog://127.0.0.1:{}", sink.port)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BenchError::at("start lathe"))?;
    let begun = Instant::now();
    let fed = child.stdin.take().ok_or_else(|| io::Error::other("no pipe"));
    let fed = fed.and_then(|pipe| feed(pipe, &line(""), lines, sink));
    fed.map_err(BenchError::at("feed lathe"))?;
    let ended = Instant::now();
    let said = child.wait_with_output().map_err(BenchError::at("wait for lathe"))?.stdout;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said != format!("{lines} 0 {lines} 0") {
        let wrong = io::Error::other(format!("emitted, dropped, delivered, lost: {said}"));
        return Err(BenchError::at("account for every line")(wrong));
    }
    Ok((begun, ended))
}

fn through_rsyslog(lines: u64, sink: &Sink) -> Result<(Instant, Instant), BenchError> {
    let room = tempfile::tempdir().map_err(BenchError::at("make a directory"))?;
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let port = port.map_err(BenchError::at("find a free port"))?.port();
    let config = room.path().join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{}\" processInternalMessages=\"off\")\n\
         module(load=\"imtcp\")\n\
         input(type=\"imtcp\" port=\"{port}\" ruleset=\"on\")\n\
         ruleset(name=\"on\") {{ action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" \
         protocol=\"tcp\" TCP_Framing=\"octet-counted\" template=\"RSYSLOG_SyslogProtocol23Format\") }}\n",
        room.path().display(),
        sink.port
    );
    fs::write(&config, text).map_err(BenchError::at("write a configuration"))?;
    let mut child = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(room.path().join("pid"))
        .stdin(Stdio::null())
        .spawn()
        .map_err(BenchError::at("start rsyslogd"))?;
    let carried = connect(port).and_then(|stream| {
        let begun = Instant::now();
        let head = "<190>1 2026-01-01T00:00:00.000000+00:00 host app web.1 - - ";
        feed(stream, &line(head), lines, sink)?;
        Ok((begun, Instant::now()))
    });
    end(&mut child)?;
    carried.map_err(BenchError::at("feed rsyslogd"))
}

/// 120 bytes of text behind the head, and a line feed.
fn line(head: &str) -> Vec<u8> {
    let text = "at=info method=GET path=\"/things/4711\" host=app.example.com ";
    format!("{head}{text}{}\n", "x".repeat(120 - text.len())).into_bytes()
}

/// Returns when all lines are in the sink.
fn feed(mut to: impl Write, line: &[u8], lines: u64, sink: &Sink) -> io::Result<()> {
    let chunk = line.repeat(usize::try_from(CHUNK_LINES).unwrap_or(1));
    let mut written = 0;
    while written < lines {
        wait(sink, (written + CHUNK_LINES).saturating_sub(WINDOW_LINES))?;
        let now = CHUNK_LINES.min(lines - written);
        let bytes = usize::try_from(now).unwrap_or(0) * line.len();
        to.write_all(chunk.get(..bytes).unwrap_or_default())?;
        written += now;
    }
    to.flush()?;
    wait(sink, lines)
}

/// Until the sink has so many.
fn wait(sink: &Sink, lines: u64) -> io::Result<()> {
    let (mut last, mut since) = (sink.lines(), Instant::now());
    while sink.lines() < lines {
        std::thread::sleep(Duration::from_micros(200));
        if sink.lines() > last {
            (last, since) = (sink.lines(), Instant::now());
        } else if since.elapsed() > STALL {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{last} of {lines} lines"),
            ));
        }
    }
    Ok(())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Err(_) if begun.elapsed() < STALL => std::thread::sleep(Duration::from_millis(20)),
            connected => return connected,
        }
    }
}

fn end(child: &mut Child) -> Result<(), BenchError> {
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGTERM).map_err(BenchError::at("end rsyslogd"))?;
    child.wait().map(drop).map_err(BenchError::at("wait for rsyslogd"))
}

/// User and system time of all children that have ended and been waited for.
fn cpu_of_children() -> Result<Duration, BenchError> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(BenchError::at("see the usage"))?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}
