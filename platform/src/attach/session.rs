//! One attached session: the dyno starts, bytes go both ways, and one of the two ends it.

use super::chunks::Chunks;
use super::client::Client;
use super::input::Input;
use super::output;
use super::pending::Expected;
use super::record::{self, End, NotStarted};
use super::streams::Streams;
use super::traffic::Traffic;
use crate::causes::causes;
use crate::services::Services;
use lathe_dynos::containers::{EngineError, StartError};
use lathe_dynos::oneoff::Attachment;
use std::pin::pin;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Heroku Dev Center, "One-off dynos": a connection without traffic is closed after an hour.
const IDLE_MAX: Duration = Duration::from_hours(1);
/// A client that has what it came for leaves at once; a dyno that ends by itself so soon after is
/// not hung up, and keeps its own exit status.
const SELF_END_MAX: Duration = Duration::from_millis(500);
/// How long a dyno may take to read what a client sent before it left.
const LAST_INPUT_MAX: Duration = Duration::from_secs(2);
/// A client without input sends its end of input right after the greeting; a connection that is
/// closed before that makes the Heroku CLI lose the exit status. It may be a slow one; somebody at a
/// terminal sends nothing and should not wait for that.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_AT_A_TERMINAL: Duration = Duration::from_secs(1);
/// How long a client that has closed its side may take to read what is left.
const LAST_OUTPUT_MAX: Duration = Duration::from_secs(30);

/// Its exit status is not known, and is not told.
const FAREWELL: &[u8] =
    b"\r\n !     The platform is restarted, which ends this connection, and the dyno with it.\r\n \
    !     Run it again; `heroku run:detached` is for what shall outlast a restart.\r\n";

/// Who ended a session.
enum EndedBy {
    Dyno,
    Client,
    /// The platform stops.
    Stop,
}

/// Runs one session to its end. The dyno's own end is on record when it returns, unless `stop`
/// came first.
pub(super) async fn run(
    services: &Services,
    mut client: Client,
    expected: Expected,
    early: Vec<u8>,
    stop: &CancellationToken,
) {
    let id = expected.id;
    let chunks = Chunks::of(&expected.spec.command);
    let at_a_terminal = expected.window.is_some_and(|window| window.is_seen);
    // Seen through even when this session is dropped: the row must follow the dyno.
    let start = tokio::spawn(start(services.clone(), expected));
    let started = tokio::select! {
        started = start => started.unwrap_or_else(|_| Err(gone())),
        () = stop.cancelled() => return,
    };
    let (mut dyno, input) = match started {
        Ok(Dyno { streams, terminal, end }) => {
            let dyno = Link { output: streams.output, end, chunks, traffic: Traffic::new() };
            (dyno, Input::new(streams.input, terminal, early))
        }
        Err(error) => {
            let reason = format!("The dyno could not be started: {}", causes(&error));
            return client.refuse(&reason).await;
        }
    };
    let ended_by = match client.greet().await {
        Ok(()) => {
            let hang_up = || services.oneoffs.hang_up(id);
            relay(&mut client, &mut dyno, input, hang_up, stop).await
        }
        Err(_gone) => EndedBy::Client,
    };
    match ended_by {
        EndedBy::Dyno => {
            if !dyno.traffic.heard() {
                let linger = if at_a_terminal { LINGER_AT_A_TERMINAL } else { LINGER };
                drop(timeout(linger, client.next_bytes()).await);
            }
            client.close().await;
        }
        EndedBy::Client => {
            services.oneoffs.hang_up(id);
            drop(client);
            tokio::select! {
                () = output::discard(&mut dyno.output, &mut dyno.end) => {}
                () = stop.cancelled() => {}
            }
        }
        EndedBy::Stop => {
            // A client that is gone needs no reason.
            drop(client.say(FAREWELL).await);
            client.close().await;
        }
    }
}

/// What a session has of its dyno once its input is on its way.
struct Link {
    output: Receiver,
    end: End,
    chunks: Chunks,
    traffic: Traffic,
}

/// A dyno that runs and that a client is about to speak with.
struct Dyno {
    streams: Streams,
    terminal: bool,
    end: End,
}

async fn start(services: Services, expected: Expected) -> Result<Dyno, NotStarted> {
    let Expected { id, spec, window } = expected;
    let step = |step: &str| {
        let step = step.to_owned();
        move |source: std::io::Error| NotStarted::from(StartError::Step { step, source })
    };
    let (pipes, attachment) = match window {
        Some(window) => (None, Attachment::Terminal { rows: window.rows, columns: window.columns }),
        None => match Streams::pipes() {
            Ok((ours, [stdin, stdout, stderr])) => {
                (Some(ours), Attachment::Pipes { stdin, stdout, stderr })
            }
            Err(source) => {
                record::complete(&services, id, record::NEVER_RAN).await;
                return Err(step("make pipes")(source));
            }
        },
    };
    let live = record::start(&services, id, spec, attachment).await?;
    let streams = match (pipes, live.started.terminal) {
        (Some(pipes), _) => Ok(pipes),
        (None, Some(master)) => Streams::of_terminal(master).map_err(step("use terminal")),
        (None, None) => Err(gone()),
    };
    let streams = streams.inspect_err(|_| services.oneoffs.hang_up(id))?;
    Ok(Dyno { streams, terminal: window.is_some(), end: live.end })
}

/// Passes bytes both ways until one side ends. A client that goes away first has its dyno hung up
/// by `hang_up`, and hears what that still says, as long as it listens.
async fn relay(
    client: &mut Client,
    dyno: &mut Link,
    input: Input,
    hang_up: impl Fn(),
    stop: &CancellationToken,
) -> EndedBy {
    let Link { output, end, chunks, traffic } = dyno;
    let Client { reader, writer, socket } = client;
    let mut forward = pin!(output::forward(output, writer, end, chunks, traffic));
    let gone = async {
        tokio::select! {
            () = input.feed(reader, traffic) => {}
            () = async { socket.closed().await; sleep(LAST_INPUT_MAX).await } => {}
            () = traffic.idle(IDLE_MAX) => {}
        }
    };
    let leaves = async {
        gone.await;
        sleep(SELF_END_MAX).await;
    };
    tokio::select! {
        sent = &mut forward => return if sent.is_ok() { EndedBy::Dyno } else { EndedBy::Client },
        () = stop.cancelled() => return EndedBy::Stop,
        () = leaves => hang_up(),
    }
    tokio::select! {
        sent = timeout(LAST_OUTPUT_MAX, forward) => match sent {
            Ok(Ok(())) => EndedBy::Dyno,
            Ok(Err(_)) | Err(_) => EndedBy::Client,
        },
        () = stop.cancelled() => EndedBy::Stop,
    }
}

fn gone() -> NotStarted {
    StartError::from(EngineError::Gone).into()
}
