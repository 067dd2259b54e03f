//! What a visitor sees when no dyno answers: one plain page, the code in a comment.

use crate::fault::Fault;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

/// The page of a fault that still can be told to the client.
pub(crate) fn fault(fault: Fault) -> Response<Bytes> {
    let row = fault.row();
    let status = row.status.and_then(|s| StatusCode::from_u16(s).ok());
    let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let (title, advice) = words(fault);
    let mut response = page(status, row.code, title, advice);
    if let Some(seconds) = row.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The page for a host that no app has.
pub(crate) fn no_such_app() -> Response<Bytes> {
    page(
        StatusCode::NOT_FOUND,
        "no such app",
        "No such app",
        "There is no app at this address. If it is yours, check the app's name and domains.",
    )
}

/// An answer for a program.
pub(crate) fn plain(text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn words(fault: Fault) -> (&'static str, &'static str) {
    match fault {
        Fault::BadRequest(_) => ("Bad request", "The request could not be understood."),
        Fault::Maintenance => {
            ("Offline for maintenance", "This app is being worked on. Please come back soon.")
        }
        Fault::BlankApp => {
            ("Nothing here yet", "This app exists, but nothing has been deployed to it so far.")
        }
        Fault::BootTimeout | Fault::BacklogTooDeep => {
            ("App is not ready", "The app is starting or very busy. Please try again shortly.")
        }
        _ => (
            "Application error",
            "The app could not answer this request. If you run it, its logs say why.",
        ),
    }
}

fn page(status: StatusCode, code: &str, title: &str, advice: &str) -> Response<Bytes> {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>body{{font:1.1em/1.5 sans-serif;max-width:34em;\
         margin:20vh auto;padding:0 1em;color:#222}}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p>{advice}</p>\n</body>\n</html>\n<!-- {code} -->\n"
    );
    let mut response = Response::new(Bytes::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Refusal;

    #[test]
    fn pages_carry_status_and_code() {
        for (given, status, comment, retry) in [
            (Fault::AppCrashed, 503, "<!-- H10 -->", false),
            (Fault::BootTimeout, 503, "<!-- H20 -->", true),
            (Fault::Maintenance, 503, "<!-- H80 -->", true),
            (Fault::BadRequest(Refusal::LongHeader), 431, "<!-- H26 -->", false),
            (Fault::ForcedClose, 503, "<!-- H24 -->", false),
        ] {
            let page = fault(given);
            assert_eq!(page.status(), status, "{given:?}");
            assert_eq!(page.headers().contains_key("retry-after"), retry, "{given:?}");
            assert!(String::from_utf8_lossy(page.body()).contains(comment), "{given:?}");
        }
        assert_eq!(no_such_app().status(), 404);
    }
}
