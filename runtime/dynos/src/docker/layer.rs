//! A container's writable layer: in memory, of the size its class says, over what its image has.
//!
//! A daemon bounds what a container writes only on file systems with project quotas. So the
//! container's own root is for reading, and what a dyno may write to is mounted over it by us, as the
//! native engine does for its dynos: in the container's namespace, once that is there and before
//! anything of the app runs.

use super::engine::is_first;
use crate::class::Class;
use crate::containers::StartError;
use crate::native::cgroup::Group;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::thread;
use tokio::sync::oneshot;

/// What the container's shell does before anything else. Who has no capabilities can write to `/tmp`
/// when it is mounted, which is last; and the shell came to `/app` before that was mounted over.
pub(super) const AWAIT: &str = "until [ -w /tmp ]; do sleep 0.01; done; cd /app; unset OLDPWD\n";

const APP: &str = "/app";
const TMP: &str = "/tmp";
const VAR_TMP: &str = "/var/tmp";

const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Makes the layer of the container whose control group that is; one that it has already stays as it
/// is.
pub(super) async fn make(group: &Group, class: &Class) -> Result<(), StartError> {
    let lacking = lacking(group).map_err(step("find its mounts"))?;
    let Some(namespace) = lacking else { return Ok(()) };
    // Until all is done, nobody but us may enter.
    let bounds = format!("size={},nr_inodes={},mode=0", class.disk_bytes, class.files_max());
    let (tell, told) = oneshot::channel();
    // Of its own, because a thread that has entered does not come back.
    let visit = move || drop(tell.send(build_within(&namespace, &bounds)));
    thread::Builder::new().spawn(visit).map_err(step("begin a thread"))?;
    let gone = |_| step("make its writable layer")(io::ErrorKind::BrokenPipe);
    told.await.map_err(gone)?
}

/// The mounts that the container's first process sees, where the layer is not among them.
fn lacking(group: &Group) -> io::Result<Option<File>> {
    let first = || group.processes().into_iter().find(|pid| is_first(*pid));
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = first().ok_or_else(gone)?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    // Only now it is sure that the number was not another's by then.
    if first() != Some(pid) {
        return Err(gone());
    }
    Ok((!is_made(&mounts)).then_some(namespace))
}

/// What is mounted last is there: a directory of the layer as `/tmp`.
fn is_made(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        (fields.next(), fields.next()) == (Some(TMP), Some(TMP))
    })
}

fn build_within(namespace: &File, bounds: &str) -> Result<(), StartError> {
    enter(namespace)?;
    clear().map_err(step("clear its writable layer"))?;
    build(bounds)
}

/// From now on all paths of this thread are the container's.
fn enter(namespace: &File) -> Result<(), StartError> {
    unshare(CloneFlags::CLONE_FS)
        .and_then(|()| setns(namespace, CloneFlags::CLONE_NEWNS))
        .map_err(step("enter its mounts"))
}

/// An earlier life of ours may have ended in the midst.
fn clear() -> io::Result<()> {
    for place in [APP, VAR_TMP, TMP] {
        while absent_is_none(is_mounted(place))? == Some(true) {
            umount2(place, MntFlags::MNT_DETACH)?;
        }
    }
    Ok(())
}

/// Whether something lies over what the image has there.
fn is_mounted(place: &str) -> io::Result<bool> {
    Ok(fs::metadata(place)?.dev() != fs::metadata("/")?.dev())
}

/// One file system holds all that is written, so that it has one size.
fn build(bounds: &str) -> Result<(), StartError> {
    let none = None::<&str>;
    mount(Some("tmpfs"), TMP, Some("tmpfs"), QUIET, Some(bounds))
        .map_err(step("bound its writable layer"))?;
    chdir(TMP).map_err(step("enter its writable layer"))?;
    fill().map_err(step("fill its writable layer"))?;
    let options = "lowerdir=/app,upperdir=upper,workdir=work,xino=off";
    mount(Some("overlay"), APP, Some("overlay"), QUIET, Some(options))
        .map_err(step("mount /app over its image's"))?;
    for (directory, place) in [("var-tmp", VAR_TMP), ("tmp", TMP)] {
        let mounted = mount(Some(directory), place, none, MsFlags::MS_BIND, none);
        absent_is_none(mounted.map_err(io::Error::from))
            .map_err(step("mount its temporary files"))?;
    }
    Ok(())
}

fn fill() -> io::Result<()> {
    fs::create_dir("work")?;
    for directory in ["tmp", "var-tmp"] {
        fs::create_dir(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o1777))?;
    }
    // The layer's own root is what the dyno sees as `/app`.
    let app = fs::metadata(APP)?;
    fs::create_dir("upper")?;
    chown("upper", Some(app.uid()), Some(app.gid()))?;
    fs::set_permissions("upper", app.permissions())
}

/// Not every image has a `/var/tmp`.
fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(None),
        other => other.map(Some),
    }
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> StartError {
    move |source| StartError::Step { step: step.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_made_when_the_last_of_it_is_mounted() {
        let root = "30 29 0:40 / / ro,relatime - overlay overlay rw,lowerdir=/l\n";
        let begun = "31 30 0:41 / /tmp rw,nosuid - tmpfs tmpfs rw,size=4k,mode=0\n\
                     32 30 0:42 / /app rw,nosuid - overlay overlay rw,upperdir=upper\n";
        let done = "33 31 0:41 /tmp /tmp rw,nosuid - tmpfs tmpfs rw,size=4k,mode=0\n";
        for (mounts, made) in [
            ("", false),
            (root, false),
            (&[root, begun].concat(), false),
            (&[root, begun, done].concat(), true),
        ] {
            assert_eq!(is_made(mounts), made, "{mounts}");
        }
    }
}
