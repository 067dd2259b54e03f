//! What can go wrong with a request: Heroku's H-codes, their texts and statuses.

use crate::policy::Refusal;
use http::StatusCode;

/// One row of "Heroku Error Codes" (Heroku Dev Center) each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    AppCrashed,
    BacklogTooDeep,
    RequestTimeout,
    ClosedWithoutResponse,
    NoWebProcesses,
    DynoIdle,
    BadResponse,
    ResponseInterrupted,
    ConnectTimeout,
    BootTimeout,
    ConnectRefused,
    ForcedClose,
    RiskyResponse(Risk),
    BadRequest(Refusal),
    ClientInterrupted,
    ClientIdle,
    Maintenance,
    BlankApp,
    Platform,
}

/// What in a response would harm a client, so that it is not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Risk {
    ContentLength,
    Cookie,
    Header,
    StatusLine,
}

/// How a fault is told, to the client and in the log.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) code: &'static str,
    pub(crate) desc: &'static str,
    /// `None`: nothing can be sent any more, and the log's `status=` stays empty.
    pub(crate) status: Option<u16>,
    pub(crate) level: &'static str,
    /// Which side broke, where Heroku says so.
    pub(crate) socket: Option<&'static str>,
    pub(crate) retry_after_seconds: Option<u16>,
}

/// Not registered: what nginx and Heroku log when the client went away.
const CLIENT_CLOSED: u16 = 499;

impl Fault {
    pub(crate) fn row(self) -> Row {
        match self {
            Self::AppCrashed => error("H10", "App crashed"),
            Self::BacklogTooDeep => later(&error("H11", "Backlog too deep")),
            Self::RequestTimeout => error("H12", "Request timeout"),
            Self::ClosedWithoutResponse => error("H13", "Connection closed without response"),
            Self::NoWebProcesses => error("H14", "No web processes running"),
            Self::DynoIdle => error("H15", "Idle connection"),
            Self::BadResponse => error("H17", "Poorly formatted HTTP response"),
            Self::ResponseInterrupted => {
                Row { socket: Some("backend"), ..error("H18", "Server Request Interrupted") }
            }
            Self::ConnectTimeout => error("H19", "Backend connection timeout"),
            Self::BootTimeout => later(&error("H20", "App boot timeout")),
            Self::ConnectRefused => error("H21", "Backend connection refused"),
            Self::ForcedClose => Row { status: None, ..error("H24", "Forced close") },
            Self::RiskyResponse(risk) => {
                let status = Some(StatusCode::BAD_GATEWAY.as_u16());
                Row { status, ..error("H25", risk.desc()) }
            }
            Self::BadRequest(refusal) => {
                Row { status: Some(refusal.status().as_u16()), ..error("H26", "Request Error") }
            }
            Self::ClientInterrupted => {
                Row { socket: Some("client"), ..warning("H27", "Client Request Interrupted") }
            }
            Self::ClientIdle => warning("H28", "Client Connection Idle"),
            Self::Maintenance => later(&info("H80", "Maintenance mode")),
            Self::BlankApp => info("H81", "Blank app"),
            Self::Platform => later(&error("H99", "Platform error")),
        }
    }

    pub(crate) fn cause(self) -> Option<&'static str> {
        match self {
            Self::BadRequest(refusal) => Some(refusal.cause()),
            _ => None,
        }
    }
}

impl Risk {
    fn desc(self) -> &'static str {
        match self {
            Self::ContentLength => "HTTP restriction: invalid content length",
            Self::Cookie => "HTTP restriction: oversized cookie",
            Self::Header => "HTTP restriction: oversized header",
            Self::StatusLine => "HTTP restriction: oversized status line",
        }
    }
}

fn error(code: &'static str, desc: &'static str) -> Row {
    let status = Some(StatusCode::SERVICE_UNAVAILABLE.as_u16());
    Row { code, desc, status, level: "error", socket: None, retry_after_seconds: None }
}

fn info(code: &'static str, desc: &'static str) -> Row {
    Row { level: "info", ..error(code, desc) }
}

fn warning(code: &'static str, desc: &'static str) -> Row {
    Row { level: "warning", status: Some(CLIENT_CLOSED), ..error(code, desc) }
}

/// For states that pass by themselves.
fn later(row: &Row) -> Row {
    Row { retry_after_seconds: Some(10), ..*row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_texts_and_statuses() {
        use Fault::*;
        let table = [
            (AppCrashed, "error H10 App crashed 503"),
            (BacklogTooDeep, "error H11 Backlog too deep 503"),
            (RequestTimeout, "error H12 Request timeout 503"),
            (ClosedWithoutResponse, "error H13 Connection closed without response 503"),
            (NoWebProcesses, "error H14 No web processes running 503"),
            (DynoIdle, "error H15 Idle connection 503"),
            (BadResponse, "error H17 Poorly formatted HTTP response 503"),
            (ResponseInterrupted, "error H18 Server Request Interrupted 503"),
            (ConnectTimeout, "error H19 Backend connection timeout 503"),
            (BootTimeout, "error H20 App boot timeout 503"),
            (ConnectRefused, "error H21 Backend connection refused 503"),
            (ForcedClose, "error H24 Forced close -"),
            (
                RiskyResponse(Risk::ContentLength),
                "error H25 HTTP restriction: invalid content length 502",
            ),
            (RiskyResponse(Risk::Cookie), "error H25 HTTP restriction: oversized cookie 502"),
            (RiskyResponse(Risk::Header), "error H25 HTTP restriction: oversized header 502"),
            (
                RiskyResponse(Risk::StatusLine),
                "error H25 HTTP restriction: oversized status line 502",
            ),
            (BadRequest(Refusal::BadHeader), "error H26 Request Error 400"),
            (BadRequest(Refusal::UnsupportedExpect), "error H26 Request Error 417"),
            (BadRequest(Refusal::LongRequestLine), "error H26 Request Error 414"),
            (BadRequest(Refusal::LongHeader), "error H26 Request Error 431"),
            (ClientInterrupted, "warning H27 Client Request Interrupted 499"),
            (ClientIdle, "warning H28 Client Connection Idle 499"),
            (Maintenance, "info H80 Maintenance mode 503"),
            (BlankApp, "info H81 Blank app 503"),
            (Platform, "error H99 Platform error 503"),
        ];
        for (fault, expected) in table {
            let row = fault.row();
            let status = row.status.map_or("-".to_owned(), |s| s.to_string());
            assert_eq!(format!("{} {} {} {status}", row.level, row.code, row.desc), expected);
        }
    }
}
