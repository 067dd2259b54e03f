//! The hooks that git runs: this same executable under another name, asking the platform.
//!
//! A hook is never generated text: nothing of a push can become part of a program.

use super::wire::{
    CALL_BYTES_MAX, Call, EXIT, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, PRE_RECEIVE, PUSH_VARIABLE,
    SOCKET_VARIABLE, TEXT, frame_header,
};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

pub use super::wire::NAMES;

#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("the environment has no {0}")]
    Environment(&'static str),
    #[error("what git says could not be read")]
    Input(#[source] io::Error),
    #[error("the platform does not answer")]
    Platform(#[source] io::Error),
    #[error("the platform answered something else")]
    Answer,
}

/// Does what the hook `name` has to do. The result is the exit code for git; it is not 0 when the
/// platform cannot be asked, so that nothing is accepted behind its back.
pub fn main(name: &str) -> u8 {
    // A transaction that is only prepared, or given up, has changed nothing yet.
    let args: Vec<String> = std::env::args().skip(1).collect();
    if name != PRE_RECEIVE && args.first().is_none_or(|state| state != "committed") {
        return 0;
    }
    match ask(name, args) {
        Ok(code) => code,
        Err(error) => {
            let text = format!(" !     Push rejected: {error}.\n !     Push again in a moment.\n");
            drop(io::stderr().write_all(text.as_bytes()));
            1
        }
    }
}

fn ask(name: &str, args: Vec<String>) -> Result<u8, HookError> {
    let variable = |name| std::env::var(name).map_err(|_| HookError::Environment(name));
    let mut input = String::new();
    io::stdin().take(CALL_BYTES_MAX).read_to_string(&mut input).map_err(HookError::Input)?;
    let call = Call {
        push: variable(PUSH_VARIABLE)?,
        hook: name.to_owned(),
        args,
        input,
        quarantine: std::env::var_os("GIT_QUARANTINE_PATH").map(PathBuf::from),
    };
    let mut line = serde_json::to_vec(&call).map_err(|error| HookError::Platform(error.into()))?;
    line.push(b'\n');
    let mut platform =
        UnixStream::connect(variable(SOCKET_VARIABLE)?).map_err(HookError::Platform)?;
    platform.write_all(&line).map_err(HookError::Platform)?;
    relay(&mut platform)
}

/// Prints the platform's text until it says how to exit.
fn relay(platform: &mut impl Read) -> Result<u8, HookError> {
    loop {
        let mut header = [0; FRAME_HEADER_BYTES];
        platform.read_exact(&mut header).map_err(HookError::Platform)?;
        let (kind, length) = frame_header(header);
        if length > FRAME_BYTES_MAX {
            return Err(HookError::Answer);
        }
        let mut data = vec![0; length];
        platform.read_exact(&mut data).map_err(HookError::Platform)?;
        match (kind, data.as_slice()) {
            (TEXT, text) => {
                let mut out = io::stdout().lock();
                // Git has gone: the platform learns of it when this process ends.
                out.write_all(text).and_then(|()| out.flush()).map_err(HookError::Input)?;
            }
            (EXIT, [code]) => return Ok(*code),
            _ => return Err(HookError::Answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::frame;
    use super::*;

    #[test]
    fn an_answer_ends_with_a_code() {
        let answer = [frame(TEXT, b""), frame(EXIT, &[7])].concat();
        assert_eq!(relay(&mut answer.as_slice()).unwrap(), 7);
        for answer in
            [frame(EXIT, &[]), frame(b'?', b""), frame(TEXT, b""), vec![TEXT, 255, 0, 0, 0]]
        {
            assert!(relay(&mut answer.as_slice()).is_err());
        }
    }
}
