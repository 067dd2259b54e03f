//! What a process gives up before it runs foreign code: capabilities, identity, limits.

use super::wire::Failure;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// As many open files as a busy server needs; the kernel's own ceiling is higher.
const OPEN_FILES: u64 = 65_536;

const STACK_BYTES: u64 = 8 << 20;

/// What holds for everything in the container: no way up, bounded descriptors, no core files.
pub(super) fn forever() -> Result<(), Failure> {
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A kernel older than our list does not know its last entries.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(Failure::at("drop capability")(error)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(Failure::at("clear capabilities"))?;
    set_no_new_privs(true).map_err(Failure::at("set no_new_privs"))?;
    let limits = [
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_STACK, STACK_BYTES),
    ];
    for (resource, limit) in limits {
        // Only a privileged process may go above what it was given.
        getrlimit(resource)
            .and_then(|(_, hard)| setrlimit(resource, limit.min(hard), limit.min(hard)))
            .map_err(Failure::at("set resource limit"))?;
    }
    Ok(())
}

/// What holds for everything in the container once its file system is there. No process of the
/// dyno can look into the first one, nor into its own before it runs the app's program.
pub(super) fn when_built() -> Result<(), Failure> {
    protect()?;
    super::seccomp::confine().map_err(Failure::at("install system-call filter"))
}

/// The container's first process keeps one power: to signal the others. It stays root, which
/// without capabilities is nobody, so that no process of the dyno can touch it.
pub(super) fn first_process() -> Result<(), Failure> {
    keep(CapabilitySet::KILL)?;
    // Once more: when the app's process became another user, the machine's default came back.
    protect()
}

fn protect() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(Failure::at("protect first process"))
}

/// The dyno's own process becomes the app's user.
pub(super) fn app_process(uid: u32) -> Result<(), Failure> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[group]).map_err(Failure::at("set groups"))?;
    setresgid(group, group, group).map_err(Failure::at("set group"))?;
    setresuid(user, user, user).map_err(Failure::at("set user"))?;
    keep(CapabilitySet::empty())
}

fn keep(capabilities: CapabilitySet) -> Result<(), Failure> {
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(Failure::at("set capabilities"))
}
