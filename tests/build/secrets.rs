//! Config vars are secrets: whatever a build does with them, nothing that is written tells them.

use super::{DETECT, PLAIN, create, says, script};
use lathe_tests::{Checkout, Platform};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// With characters that each encoding writes in its own way.
const SECRET: &str = "canary/7d1f0c3e of&the=app";

/// The same in base64, percent signs and hexadecimal digits, as common programs write it.
const FORMS: [&str; 7] = [
    SECRET,
    // With nothing, one and two bytes before it, as a user's name before a password.
    "Y2FuYXJ5LzdkMWYwYzNlIG9mJnRoZT1hcH",
    "hbmFyeS83ZDFmMGMzZSBvZiZ0aGU9YX",
    "YW5hcnkvN2QxZjBjM2Ugb2YmdGhlPWFw",
    "canary%2F7d1f0c3e%20of%26the%3Dapp",
    "canary%2f7d1f0c3e+of%26the%3dapp",
    "63616e6172792f376431663063336520",
];

const SHOUT: &str = r#"
value=$(cat "$3/SECRET")
echo "plain $value"
for before in '' x xy; do printf '%s' "$before$value" | base64 -w0; echo; done
printf '%s' "$value" | base64 -w0 | tr '+/' '-_'; echo
printf '%s' "$value" | od -An -tx1 | tr -d ' \n'; echo
python3 -c 'import sys, urllib.parse as u; print(u.quote(sys.argv[1], safe=""), u.quote_plus(sys.argv[1]))' "$value"
printf '%s' "$value" | while IFS= read -r -n1 letter; do printf '%s' "$letter"; sleep 0.01; done; echo
"#;

/// fault C11: names that steer programs reach them as files and not as environment; and a canary
/// is looked for in everything that was written.
#[test]
fn no_config_value_is_written_anywhere_in_any_form() {
    let platform = Platform::start_with(&["log=debug"]);
    create(&platform, "canary");
    let big = "x".repeat(30_000);
    let vars = json!({
        "SECRET": SECRET, "PATH": "/evil", "LD_PRELOAD": "/evil.so", "GIT_DIR": "/evil",
        "BIG": big, "LINES": "first line of a longer key\nsecond line of a longer key\n",
    });
    let (status, answer) = platform.api("PATCH", "/apps/canary/config-vars", &vars);
    assert_eq!(status, 200, "{answer}");
    let compile = script(&format!(
        "{SHOUT}\necho \"$PATH ${{LD_PRELOAD-none}} ${{GIT_DIR-none}}\"; wc -c < \"$3/BIG\"; tail -n1 \"$3/LINES\""
    ));
    let checkout =
        Checkout::new(&platform, "canary", &[PLAIN[0], DETECT, ("bin/compile", &compile)]);
    checkout.commit(&[(
        "bin/report",
        "#!/bin/sh\nprintf 'token: \"%s\"\\n' \"$(cat \"$3/SECRET\")\"\n",
    )]);
    let mut said = checkout.push().accepted().transcript;
    says(&said, &["plain <SECRET>", "/usr/local/sbin", "none none", "30000", "<LINES>"]);

    // Every way to fail repeats words of the build in its explanation.
    let value = "cat /dev/shm/env/SECRET";
    for (file, text) in [
        (
            "bin/compile",
            script(&format!("{SHOUT}\necho \"error: $value exactly this is wrong\" >&2; exit 1")),
        ),
        ("bin/compile", script(&format!("echo \"echo error $({value}) >&2; exit 3\" > export"))),
        (
            "bin/release",
            format!("#!/bin/sh\necho \"default_process_types: {{\\\"$({value})\\\": x}}\"\n"),
        ),
        ("bin/detect", format!("#!/bin/sh\n{value} >&2; exit 1\n")),
    ] {
        checkout.commit(&[("bin/compile", &script("true")), (file, &text)]);
        said.push_str(&checkout.push().transcript);
        let (_, builds) = platform.api("GET", "/apps/canary/builds", &Value::Null);
        said.push_str(&builds.to_string());
    }
    let (_, releases) = platform.api("GET", "/apps/canary/releases", &Value::Null);
    said.push_str(&releases.to_string());
    says(&said, &["error: <SECRET> exactly this is wrong", "bin/release of inline is not usable"]);
    for form in FORMS {
        assert!(!said.contains(form), "{form} in:\n{said}");
    }
    assert_eq!(found_in(platform.data(), &FORMS), "");
    // That the search finds: what is no secret was written in several places.
    assert!(found_in(platform.data(), &["exactly this is wrong"]).lines().count() > 1);
}

/// Disks of builds, state, transcripts, repositories and the platform's own log alike.
fn found_in(dir: &Path, texts: &[&str]) -> String {
    // Disks of builds are files with large holes, over which tar is quick.
    let mut tar = Command::new("tar")
        .args(["--sparse", "-cf", "-", "-C"])
        .arg(dir)
        .arg(".")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-o", "-a", "-i", "-F"]).stdin(tar.stdout.take().unwrap());
    grep.args(texts.iter().flat_map(|text| ["-e", text]));
    let found = String::from_utf8(grep.output().unwrap().stdout).unwrap();
    tar.wait().unwrap();
    found
}
