//! File-system images: one sparse file that becomes a disk of one dyno at a time.

use super::wire::Failure;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// How long a new dyno waits for the last one's disk to be given back by the kernel, which may have much
/// to write first; shorter than a start may take.
const WAIT: Duration = Duration::from_secs(25);
const PAUSE: Duration = Duration::from_millis(20);

/// A loop device that lives as long as it is open or mounted.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    _open: File,
}

/// Makes the image when it is missing: under another name first, so that no half-made one is
/// ever mounted. `uid` will own its root directory.
pub(super) fn ensure(path: &Path, bytes: u64, uid: u32) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let temporary = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
    let made = make(&temporary, bytes, uid).and_then(|()| fs::rename(&temporary, path));
    if made.is_err() {
        // The file may not exist at all; the first error is the one to tell.
        drop(fs::remove_file(&temporary));
    }
    made
}

fn make(path: &Path, bytes: u64, uid: u32) -> io::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(bytes)?;
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-E"])
        .arg(format!("root_owner={uid}:{uid},lazy_itable_init=1,lazy_journal_init=1,nodiscard"))
        .arg(path)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    file.sync_all()
}

/// Attaches the image to a free loop device. The lock is taken on the very open file that the
/// device then holds, and so lasts until the kernel has let go of the image: it is never
/// attached twice.
pub(super) fn attach(image: &Path) -> Result<Device, Failure> {
    let name = image.display();
    let file =
        rustix::fs::open(image, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .map_err(Failure::at(format!("open image {name}")))?;
    let mut waited = Duration::ZERO;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if waited >= WAIT {
            return Err(Failure::at(format!("wait for image {name}"))(error));
        }
        sleep(PAUSE);
        waited += PAUSE;
    }
    let control = open_device(Path::new("/dev/loop-control"))
        .map_err(Failure::at("open /dev/loop-control"))?;
    // Another process may take the device between the two calls.
    for _ in 0..64 {
        let number =
            super::syscalls::free_loop(control.as_fd()).map_err(Failure::at("find loop device"))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open_device(&path).map_err(Failure::at("open loop device"))?;
        match super::syscalls::configure_loop(device.as_fd(), file.as_fd()) {
            Ok(()) => return Ok(Device { path, _open: device }),
            Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => return Err(Failure::at(format!("attach image {name}"))(error)),
        }
    }
    Err(Failure { step: "find loop device".to_owned(), errno: libc::EBUSY })
}

fn open_device(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}
