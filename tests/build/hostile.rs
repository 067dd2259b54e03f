//! Builds that mean harm: each is ended by its limit, says which, and leaves nothing running.

use super::{
    DETECT, PLAIN, create, digest, listed, own, says, script, slug_file, unpacked, versions,
};
use lathe_tests::{Checkout, Platform, until};
use std::process::Command;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_mins(1);

/// Seconds to sleep that tell this run's sleepers from every other's.
fn nap(number: u8) -> String {
    format!("8{}{number}", std::process::id())
}

/// The processes with this word among their arguments, anywhere on this machine.
fn running(word: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let has = cmdline.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes());
        if has {
            found.extend(entry.file_name().to_string_lossy().parse::<u32>());
        }
    }
    found
}

/// The process above `pid` that has this word among its arguments.
fn ancestor(mut pid: u32, word: &str) -> u32 {
    let workers = running(word);
    while !workers.contains(&pid) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        pid = parent.trim().parse().unwrap();
        assert!(pid > 1, "no {word} above it");
    }
    pid
}

/// fault C1, C2, C3, C5.
#[test]
fn a_build_ends_at_its_limits_and_takes_everything_along() {
    let mut platform = Platform::start_with(&["build.memory=256MB", "build.pids=64"]);
    create(&platform, "limits");
    let checkout = Checkout::new(&platform, "limits", PLAIN);
    checkout.push().accepted();
    let push = |steps: &str| {
        checkout.commit(&[DETECT, ("bin/compile", &script(steps))]);
        checkout.push()
    };
    let bomb = "import os, sys, time\n\
                while True:\n\
                \x20   try: os.fork()\n\
                \x20   except OSError as error: print(error); time.sleep(1); sys.exit(1)\n";
    push(&format!("exec python3 -c '{bomb}' {}", nap(3)))
        .rejected(&["Build reached the process limit of the build class (64)", "build.pids"]);
    assert!(running(&nap(3)).is_empty());

    push("exec python3 -c 'print(len(b\"x\" * (8 << 30)))'")
        .rejected(&["Build used more memory than the build class has", "build.memory"]);

    push(&format!("(setsid sleep {} &) ; setsid sleep {} >/dev/null 2>&1 & true", nap(5), nap(6)))
        .accepted();
    assert!(running(&nap(5)).is_empty() && running(&nap(6)).is_empty());

    // Last, for the others are not to come to that limit on a slow machine.
    platform.stop();
    platform.set("build.timeout=20");
    platform.up();
    checkout.repoint(&platform);
    let began = Instant::now();
    push(&format!("sleep {} & exec sleep {}", nap(1), nap(2)))
        .rejected(&["did not finish within 20 seconds"]);
    eprintln!("a build was ended {:?} after its push", began.elapsed());
    assert!(running(&nap(1)).is_empty() && running(&nap(2)).is_empty());
    assert_eq!(versions(&platform, "limits"), [1, 2, 3]);
}

/// fault C16: the compiler is killed in each of its steps. The build has failed, nothing of it runs on,
/// and what the cache had before is there for the next one.
#[test]
fn a_compiler_that_is_killed_leaves_a_failed_build_and_a_whole_cache() {
    let platform = Platform::start();
    let checkout = own(&platform, "killed", "echo kept > \"$2/kept\"");
    checkout.push().accepted();
    let asleep = format!("#!/bin/sh\nsleep {}\n", nap(7));
    let release = "#!/bin/sh\necho '--- {}'\n";
    for step in ["bin/detect", "bin/compile", "bin/release"] {
        let sound = [DETECT, ("bin/compile", "#!/bin/sh\n"), ("bin/release", release)];
        checkout.commit(&sound);
        checkout.commit(&[(step, &asleep)]);
        let pushed = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| checkout.push());
            until("the build runs", BOUND, || (!running(&nap(7)).is_empty()).then_some(()));
            let worker = ancestor(running(&nap(7))[0], "compile-worker").to_string();
            assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
            pushing.join().unwrap()
        });
        pushed.rejected(&["The compiler was ended from outside"]);
        assert!(running(&nap(7)).is_empty(), "{step} runs on");
        assert_eq!(versions(&platform, "killed"), [1, 2], "{step}");
    }
    let look = script("cat \"$2/kept\"");
    checkout.commit(&[DETECT, ("bin/compile", &look), ("bin/release", release)]);
    says(&checkout.push().accepted().transcript, &["kept"]);
    assert_eq!(versions(&platform, "killed"), [1, 2, 3]);
}

/// fault C4: lines, no line at all, and what a terminal would obey.
#[test]
fn a_flood_of_output_is_cut_and_the_build_goes_on() {
    let platform = Platform::start_with(&["build.output=1MiB"]);
    let flood = "yes $(printf 'x%.0s' {1..1000}) | head -c 20000000; \
                 head -c 2000000 /dev/zero; printf '\\r\\033[2J%.0s' {1..1000}; echo end";
    let checkout = own(&platform, "flood", flood);
    let cut = "Output is cut here: the build wrote more than 1.0M (build.output).";
    let said = checkout.push().accepted().transcript;
    says(&said, &[cut, "Released v2"]);
    assert!(said.len() < 2 << 20, "{} bytes", said.len());

    let failing = script(&format!("{flood}\necho 'error: no room' >&2\nexit 3"));
    checkout.commit(&[("bin/compile", &failing)]);
    checkout.push().rejected(&[cut, "exited with status 3", "error: no room", "Push rejected"]);
}

/// fault C9: of the host and of other apps a build sees nothing that it could write.
#[test]
fn a_build_writes_nowhere_but_in_its_own_folders() {
    let platform = Platform::start();
    let data = platform.data().display();
    let checkout = own(
        &platform,
        "writer",
        &format!(
            "try() {{ if (eval \"$2\") 2>/dev/null; then echo \"$1: done\"; else echo \"$1: refused\"; fi; }}\n\
             try usr 'echo x > /usr/lathe-was-here'\n\
             try etc 'echo x > /etc/passwd'\n\
             try packs 'echo x > /usr/share/lathe/buildpacks/order'\n\
             try lathe 'echo x > /usr/local/bin/lathe'\n\
             try sysctl 'echo 1 > /proc/sys/kernel/panic'\n\
             try sysrq 'echo x > /proc/sysrq-trigger'\n\
             try cgroup 'mkdir /sys/fs/cgroup/pids/x'\n\
             try device 'mknod /tmp/disk b 7 0'\n\
             try loop 'head -c 1 /dev/loop0'\n\
             try mount 'mount -t tmpfs none /mnt'\n\
             try platform 'ls {data}'\n\
             try worker 'cat /proc/1/environ /proc/1/mem'\n\
             try own 'echo x > \"$HOME/x\" && echo x > /tmp/x'"
        ),
    );
    let said = checkout.push().accepted().transcript;
    for what in [
        "usr", "etc", "packs", "lathe", "sysctl", "sysrq", "cgroup", "device", "loop", "mount",
        "platform", "worker",
    ] {
        says(&said, &[&format!("{what}: refused")]);
    }
    says(&said, &["own: done"]);
}

/// fault C12: what `bin/detect` does is its own affair, until it says yes.
#[test]
fn a_detect_that_floods_crashes_or_lies_decides_nothing() {
    let platform = Platform::start();
    create(&platform, "detect");
    let checkout = Checkout::new(&platform, "detect", PLAIN);
    let compile = script("true");
    for (detect, kind) in [
        ("kill -9 $$", "Procfile app detected"),
        ("yes x | head -c 2000000; exit 1", "Procfile app detected"),
        ("yes x | tr -d '\\n' | head -c 2000000", "xxxxx"),
        ("echo; exit 0", "inline app detected"),
    ] {
        checkout.commit(&[
            ("bin/detect", &format!("#!/bin/bash\n{detect}\n")),
            ("bin/compile", &compile),
        ]);
        let said = checkout.push().accepted().transcript;
        says(&said, &[kind]);
        assert!(said.len() < 5000, "{} bytes", said.len());
    }
}

/// The disk is a limit like the others: what fills it is told so, and the next build has room again.
#[test]
fn a_build_that_fills_its_disk_says_so_and_the_next_one_has_room() {
    let platform = Platform::start_with(&["build.disk=64MB"]);
    let checkout = own(&platform, "disk", "head -c 200000000 /dev/zero > \"$1/big\"");
    checkout.push().rejected(&["MB is full (build.disk)", "builds:cache:purge"]);
    checkout.commit(&[("bin/compile", &script("head -c 20000000 /dev/zero > \"$1/big\""))]);
    checkout.push().accepted();
}

/// fault C6, C7: a slug holds the app, and nothing of the host however it is linked.
#[test]
fn links_are_kept_as_links_and_special_files_are_not_kept() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let canary = "canary-7d1f0c3e-of-the-host";
    std::fs::write(secret.path(), canary).unwrap();
    let platform = Platform::start();
    let path = secret.path().display();
    let checkout = own(
        &platform,
        "links",
        &format!(
            "cd \"$1\"\nln -s /etc/shadow made-shadow\nln -s {path} made-canary\n\
             echo x > setuid\nchmod 4755 setuid\n\
             python3 -c 'import os; os.setxattr(\"setuid\", \"user.lathe\", b\"attribute-\" + b\"canary\")'"
        ),
    );
    for (target, name) in [
        ("/etc/shadow", "shadow"),
        ("/", "root"),
        ("../../..", "up"),
        (secret.path().to_str().unwrap(), "canary"),
    ] {
        std::os::unix::fs::symlink(target, checkout.path().join(name)).unwrap();
    }
    checkout.commit(&[]);
    checkout.push().accepted();
    let slug = slug_file(&platform, &digest(&platform, "links"));
    let entries = listed(&slug);
    for name in ["shadow", "root", "up", "canary", "made-shadow", "made-canary"] {
        let line = &entries[&format!("./app/{name}")];
        assert!(line.starts_with('l'), "{line}");
    }
    assert!(entries["./app/setuid"].starts_with("-rwxr-xr-x"), "{entries:?}");
    let bytes = unpacked(&slug);
    for absent in [canary, "attribute-canary"] {
        assert!(!bytes.windows(absent.len()).any(|window| window == absent.as_bytes()), "{absent}");
    }

    let socket = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'";
    for (make, reason) in [
        ("mkfifo \"$1/it\"".to_owned(), "\"it\" is a named pipe, which cannot be in a slug"),
        (format!("{socket} \"$1/it\""), "\"it\" is a socket, which cannot be in a slug"),
        ("touch \"$1/.wh.it\"".to_owned(), "\".wh.it\" cannot be in a slug"),
        ("touch \"$1/$(printf 'a\\nb')\"".to_owned(), "it contains a control character"),
        ("mknod \"$1/it\" b 7 0".to_owned(), "Operation not permitted"),
    ] {
        checkout.commit(&[("bin/compile", &script(&make))]);
        checkout.push().rejected(&[reason]);
    }
    assert_eq!(versions(&platform, "links"), [1, 2]);
}
