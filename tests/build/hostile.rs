//! Builds that mean harm: each is ended by its limit, says which, and leaves nothing running.

use super::{
    DETECT, PLAIN, create, digest, listed, own, says, script, slug_file, unpacked, versions,
};
use lathe_tests::{Checkout, Platform, until};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(10);

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

/// threats C1, C2, C3, C5, C16.
#[test]
fn a_build_ends_at_its_limits_and_takes_everything_along() {
    let platform =
        Platform::start_with(&["build.timeout=6", "build.memory=256MB", "build.pids=64"]);
    create(&platform, "limits");
    let checkout = Checkout::new(&platform, "limits", PLAIN);
    checkout.push().accepted();
    let push = |steps: &str| {
        checkout.commit(&[DETECT, ("bin/compile", &script(steps))]);
        checkout.push()
    };
    let began = Instant::now();
    push(&format!("sleep {} & exec sleep {}", nap(1), nap(2)))
        .rejected(&["did not finish within 6 seconds"]);
    assert!(began.elapsed() < Duration::from_secs(14), "{:?}", began.elapsed());
    assert!(running(&nap(1)).is_empty() && running(&nap(2)).is_empty());

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
    assert_eq!(versions(&platform, "limits"), [1, 2, 3]);

    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push(&format!("sleep {}", nap(7))));
        until("the build runs", BOUND, || (!running(&nap(7)).is_empty()).then_some(()));
        let worker = ancestor(running(&nap(7))[0], "compile-worker");
        assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
        pushing.join().unwrap()
    });
    pushed.rejected(&["The compiler was ended from outside"]);
    assert!(running(&nap(7)).is_empty());
    assert_eq!(versions(&platform, "limits"), [1, 2, 3]);
    push("true").accepted();
}

/// threats C4.
#[test]
fn a_flood_of_output_is_cut_and_the_build_goes_on() {
    let platform = Platform::start();
    let checkout =
        own(&platform, "flood", "yes $(printf 'x%.0s' {1..1000}) | head -c 20000000; echo end");
    let said = checkout.push().accepted().transcript;
    says(&said, &["Output is cut here", "Released v2"]);
    assert!(said.len() < 20 << 20, "{} bytes", said.len());
}

/// threats C9: of the host and of other apps a build sees nothing that it could write.
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

/// threats C15: a build reaches the world by its name servers, and nothing that is near.
#[test]
fn a_build_reaches_neither_the_platform_nor_a_neighbour_nor_metadata() {
    let platform = Platform::start();
    create(&platform, "neighbour");
    let web = [("Procfile", "web: python3 -m http.server $PORT --bind 0.0.0.0\n")];
    Checkout::new(&platform, "neighbour", &web).push().accepted();
    let (_, dynos) = platform.api("GET", "/apps/neighbour/dynos", &Value::Null);
    assert_eq!(dynos[0]["state"], "up", "{dynos}");
    let ports = ["api_tls", "api_plain", "router"].map(|name| platform.address(name).port());
    let gateway = "$(python3 -c 'import socket, struct; print(*[socket.inet_ntoa(struct.pack(\"<L\", \
        int(l.split()[2], 16))) for l in open(\"/proc/net/route\") if l.split()[1] == \"00000000\"])')";
    let own_net = "$(hostname -I | tr ' ' '\\n' | head -n1 | cut -d. -f1-3)";
    let tries = format!(
        "reach() {{ if timeout 1 bash -c \"exec 3<>/dev/tcp/$1/$2\" 2>/dev/null; then echo \"REACHED $1 $2\"; fi; }}\n\
         gateway={gateway}; net={own_net}; echo \"gateway $gateway net $net\"; test -n \"$gateway\"\n\
         for port in 22 {} {} {}; do reach $gateway $port & reach 127.0.0.1 $port & done\n\
         reach 169.254.169.254 80 &\n\
         for host in {{1..30}}; do for port in 5000 8080 {}; do reach $net.$host $port & done; done\n\
         wait; echo tried all",
        ports[0], ports[1], ports[2], ports[1],
    );
    let said = own(&platform, "prober", &tries).push().accepted().transcript;
    says(&said, &["gateway 10.", "tried all"]);
    assert!(!said.contains("REACHED"), "{said}");
}

/// threats C12: what `bin/detect` does is its own affair, until it says yes.
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

/// threats C6, C7: a slug holds the app, and nothing of the host however it is linked.
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
             echo x > setuid\nchmod 4755 setuid"
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
    assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()));

    checkout.commit(&[("bin/compile", &script("mkfifo \"$1/pipe\""))]);
    checkout.push().rejected(&["pipe"]);
    assert_eq!(versions(&platform, "links"), [1, 2]);
}
