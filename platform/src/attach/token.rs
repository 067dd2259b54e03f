//! The first line of a rendezvous: the token by which a client says which dyno it has come for.

use super::pending::{Expected, Pending};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Tokens are this many hexadecimal digits.
const TOKEN_BYTES: usize = 64;
/// What a client may send at once in front of the greeting.
const BUFFER_BYTES: usize = 4096;
/// How long the end of the line may lag behind the token: some clients send none at all.
const LINE_END_MAX: Duration = Duration::from_millis(100);

/// Reads a token and claims what it stands for; with it come bytes that the client sent behind the
/// line. None when the client has no token of ours. The caller bounds the time.
pub(super) async fn read(
    client: &mut (impl AsyncRead + Unpin),
    pending: &Pending,
) -> Option<(Expected, Vec<u8>)> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let token = loop {
        match token(&buffer) {
            Token::Is(token) => break token.to_owned(),
            Token::Never => return None,
            Token::More => more(client, &mut buffer).await?,
        }
    };
    let expected = pending.claim(&token)?;
    let mut rest = buffer.split_off(TOKEN_BYTES);
    loop {
        let (bytes, complete) = line_end(&rest);
        let waits = !complete
            && matches!(timeout(LINE_END_MAX, more(client, &mut rest)).await, Ok(Some(())));
        if !waits {
            return Some((expected, rest.split_off(bytes)));
        }
    }
}

/// None when the client has nothing more to say.
async fn more(client: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    let room = BUFFER_BYTES - buffer.len();
    let read = client.take(room as u64).read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}

#[derive(PartialEq, Eq, Debug)]
enum Token<'a> {
    Is(&'a str),
    More,
    Never,
}

/// The token at the beginning of what was received, as soon as it is whole: what follows it does
/// not matter.
fn token(received: &[u8]) -> Token<'_> {
    let head = &received[..received.len().min(TOKEN_BYTES)];
    match str::from_utf8(head) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            if text.len() == TOKEN_BYTES { Token::Is(text) } else { Token::More }
        }
        _ => Token::Never,
    }
}

/// How many bytes of `rest` are the end of the token's line, and whether more may belong to it.
fn line_end(rest: &[u8]) -> (usize, bool) {
    match rest {
        [] => (0, false),
        [b'\r'] => (1, false),
        [b'\r', b'\n', ..] => (2, true),
        [b'\r' | b'\n', ..] => (1, true),
        _ => (0, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::secrets::random_token;

    #[test]
    fn a_token_is_known_by_its_digits_alone() {
        let whole = random_token("");
        assert_eq!(whole.len(), TOKEN_BYTES);
        for end in ["", "\r\n", "\n", "bytes", "\0\0"] {
            let line = format!("{whole}{end}");
            assert_eq!(token(line.as_bytes()), Token::Is(&whole));
        }
        for part in [0, 1, 63] {
            assert_eq!(token(&whole.as_bytes()[..part]), Token::More);
        }
        let never: [&[u8]; 5] =
            [b"\r\n", b"GET / HTTP/1.1\r\n", b"abc\r\n", b"/abc", &[0xEF, 0xBF, 0xBF]];
        for line in never {
            assert_eq!(token(line), Token::Never, "{line:?}");
        }
    }

    #[test]
    fn a_line_may_end_in_any_way_or_not_at_all() {
        let cases: [(&[u8], (usize, bool)); 8] = [
            (b"", (0, false)),
            (b"\r", (1, false)),
            (b"\n", (1, true)),
            (b"\r\n", (2, true)),
            (b"\r\n\r\n", (2, true)),
            (b"\n\n", (1, true)),
            (b"\rls", (1, true)),
            (b"ls\r\n", (0, true)),
        ];
        for (rest, end) in cases {
            assert_eq!(line_end(rest), end, "{rest:?}");
        }
    }
}
