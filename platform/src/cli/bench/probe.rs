//! The program whose first instruction is timed: it tells the monotonic clock and ends, or stays.
//!
//! A static program of a few hundred bytes, so that neither a dynamic linker nor a C library is
//! part of what is measured, and so that it runs in an empty root as well as in a full one.

use super::BenchError;
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Its name in every container's root.
pub(super) const NAME: &str = "probe";

/// The argument that makes it stay until it is killed.
pub(super) const STAY: &str = "stay";

const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;

/// System V ABI for x86-64: at its start `[rsp]` is the number of arguments.
const CODE: &[u8] = &[
    0x48, 0x8b, 0x1c, 0x24, //       mov  rbx, [rsp]
    0x48, 0x83, 0xec, 0x10, //       sub  rsp, 16
    0xb8, 228, 0, 0, 0, //           mov  eax, clock_gettime
    0xbf, 1, 0, 0, 0, //             mov  edi, CLOCK_MONOTONIC
    0x48, 0x89, 0xe6, //             mov  rsi, rsp
    0x0f, 0x05, //                   syscall
    0xb8, 1, 0, 0, 0, //             mov  eax, write
    0xbf, 1, 0, 0, 0, //             mov  edi, 1
    0x48, 0x89, 0xe6, //             mov  rsi, rsp
    0xba, 16, 0, 0, 0, //            mov  edx, 16
    0x0f, 0x05, //                   syscall
    0x48, 0xff, 0xcb, //             dec  rbx
    0x74, 9, //                      jz   exit
    0xb8, 34, 0, 0, 0, //      stay: mov  eax, pause
    0x0f, 0x05, //                   syscall
    0xeb, 0xf7, //                   jmp  stay
    0xb8, 60, 0, 0, 0, //      exit: mov  eax, exit
    0x31, 0xff, //                   xor  edi, edi
    0x0f, 0x05, //                   syscall
];

/// The program's file: an ELF header, one segment, the code (System V ABI, chapters 4 and 5).
pub(super) fn program() -> Result<Vec<u8>, BenchError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(BenchError::Processor);
    }
    let bytes = (HEADERS + CODE.len()) as u64;
    let mut file = Vec::new();
    file.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([2u16, 62].map(u16::to_le_bytes).as_flattened());
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + HEADERS as u64, 64, 0].map(u64::to_le_bytes).as_flattened());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).as_flattened());
    // A segment to be loaded, readable and executable.
    file.extend([1u32, 5].map(u32::to_le_bytes).as_flattened());
    file.extend([0, BASE, BASE, bytes, bytes, 4096].map(u64::to_le_bytes).as_flattened());
    file.extend(CODE);
    Ok(file)
}

/// Writes the program into a directory.
pub(super) fn install(dir: &Path) -> Result<(), BenchError> {
    let path = dir.join(NAME);
    let write = |bytes: Vec<u8>| {
        fs::create_dir_all(dir)?;
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    };
    write(program()?).map_err(BenchError::at(format!("write {}", path.display())))
}

/// The clock that the program tells, here: the same in all containers.
pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// What the program has told.
pub(super) fn told(mut from: impl Read) -> io::Result<Duration> {
    let mut bytes = [0; 16];
    from.read_exact(&mut bytes)?;
    Ok(read(bytes))
}

/// `struct timespec`: seconds and nanoseconds, 8 bytes each.
pub(super) fn read(bytes: [u8; 16]) -> Duration {
    let both = u128::from_le_bytes(bytes);
    let nanoseconds = u32::try_from(both >> 64).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of it")]
    Duration::new(both as u64, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn it_tells_the_time_of_its_start_and_ends_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path()).unwrap();
        for arguments in [&[][..], &[STAY]] {
            let before = now();
            let mut command = Command::new(dir.path().join(NAME));
            command.args(arguments).stdout(Stdio::piped());
            // What another test is just starting has the descriptor that wrote it (ETXTBSY).
            let mut child = loop {
                match command.spawn() {
                    Err(busy) if busy.kind() == io::ErrorKind::ExecutableFileBusy => {}
                    child => break child.unwrap(),
                }
            };
            let at = told(child.stdout.take().unwrap()).unwrap();
            assert!(before < at && at < now());
            if arguments.is_empty() {
                assert!(child.wait().unwrap().success());
            } else {
                assert!(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}
