//! Debian's rsyslog receives, over TCP and TLS, exactly what was written, byte by byte.

use super::{BOUND, drain};
use lathe_tests::host::{self, Need};
use lathe_tests::{Platform, until};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const RSYSLOG: &[Need] = &[
    (&["rsyslogd", "-v"], "rsyslog"),
    (&["test", "-e", "/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so"], "rsyslog-openssl"),
    (&["openssl", "version"], "openssl"),
];

/// What a hostile app writes: other frames, terminal sequences, bytes that are no text, long lines.
const WRITE: &str = r"
import sys, time
out = sys.stdout.buffer
out.write(b'plain\n')
out.write(b'<13>1 2020-01-01T00:00:00Z evil app web.1 - - forged\n')
out.write(b'12 <13>1 - evil\n')
out.write(b'over\rwritten nul\0 esc\x1b[2J bad\xff\xfe\n')
out.write('grüße'.encode() + b'\n')
out.write(b'x' * 25000 + b'\n')
out.write(b'the end\n')
out.flush()
time.sleep(1e6)
";

struct Rsyslog {
    child: Child,
    dir: TempDir,
    tcp: u16,
    tls: u16,
}

impl Rsyslog {
    fn start() -> Self {
        host::needs(RSYSLOG);
        let dir = tempfile::Builder::new().prefix("lathe-rsyslog-").tempdir().unwrap();
        certificates(dir.path());
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            r#"global(workDirectory="{work}" maxMessageSize="64k" processInternalMessages="off"
    parser.escapeControlCharactersOnReceive="off"
    defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}"
    defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp")
template(name="fields" type="string" string="%pri%|%hostname%|%app-name%|%procid%|%msg%\n")
input(type="imtcp" port="0" listenPortFileName="{tcp_port}" ruleset="tcp")
input(type="imtcp" port="0" listenPortFileName="{tls_port}" ruleset="tls" streamDriver.name="ossl" streamDriver.mode="1"
    streamDriver.authMode="anon")
ruleset(name="tcp") {{ action(type="omfile" file="{tcp_out}" template="fields") }}
ruleset(name="tls") {{ action(type="omfile" file="{tls_out}" template="fields") }}
"#,
            work = dir.path().display(),
            ca = at("ca.pem"),
            cert = at("cert.pem"),
            key = at("key.pem"),
            tcp_out = at("tcp.log"),
            tls_out = at("tls.log"),
            tcp_port = at("tcp.port"),
            tls_port = at("tls.port"),
        );
        std::fs::write(dir.path().join("rsyslog.conf"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("rsyslogd.out")).unwrap();
        let child = Command::new("rsyslogd")
            .args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("pid")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut rsyslog = Self { child, dir, tcp: 0, tls: 0 };
        [rsyslog.tcp, rsyslog.tls] = ["tcp.port", "tls.port"].map(|name| rsyslog.listens(name));
        rsyslog
    }

    /// At the port that it has chosen and written down.
    fn listens(&self, name: &str) -> u16 {
        until("rsyslog listens", BOUND, || {
            let port = std::fs::read_to_string(self.dir.path().join(name)).ok()?;
            let port = port.trim().parse().ok()?;
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(port)
        })
    }

    fn ca(&self) -> String {
        self.dir.path().join("ca.pem").display().to_string()
    }

    /// The lines received that are not of the platform's own.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read(self.dir.path().join(name)).unwrap_or_default();
        // What is just being written may end within a character.
        let text = String::from_utf8_lossy(&text);
        text.lines().filter(|line| line.contains("|worker.1|")).map(str::to_owned).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An authority, and a certificate of it for `localhost`.
fn certificates(dir: &Path) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(dir.join("san"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let new = ["req", "-newkey", "rsa:2048", "-nodes", "-keyout"];
    openssl(
        &[&new[..], &["ca.key", "-x509", "-days", "2", "-subj", "/CN=ca", "-out", "ca.pem"]]
            .concat(),
    );
    openssl(&[&new[..], &["key.pem", "-subj", "/CN=localhost", "-out", "csr.pem"]].concat());
    openssl(&[
        "x509",
        "-req",
        "-in",
        "csr.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "san",
        "-out",
        "cert.pem",
    ]);
}

#[test]
fn rsyslog_receives_over_tcp_and_tls_what_was_written() {
    let rsyslog = Rsyslog::start();
    let authorities = format!("drains.authorities={}", rsyslog.ca());
    let platform = Platform::start_with(&["drains.allow=127.0.0.1,::1", &authorities]);
    platform.post("/apps", &json!({"name": "spoken"}));
    let tcp = drain(&platform, "spoken", &format!("syslog://127.0.0.1:{}", rsyslog.tcp));
    let tls = drain(&platform, "spoken", &format!("syslog+tls://localhost:{}", rsyslog.tls));
    // The same server under a name that its certificate is not for.
    let wrong = format!("syslog+tls://127.0.0.1:{}", rsyslog.tls);
    drain(&platform, "spoken", &wrong);
    platform.release("spoken", &json!({"worker": "python3 write.py"}), &[("write.py", WRITE)]);
    let scale = json!({"updates": [{"type": "worker", "quantity": 1}]});
    assert_eq!(platform.api("PATCH", "/apps/spoken/formation", &scale).0, 200);
    for (token, name) in [(tcp, "tcp.log"), (tls, "tls.log")] {
        // What the platform says of the dyno comes too.
        let lines = until("the last line arrives", BOUND, || {
            let lines = rsyslog.lines(name);
            let states = lines.iter().filter(|line| line.starts_with("45|")).count();
            (states >= 2 && lines.iter().any(|line| line.ends_with("|the end"))).then_some(lines)
        });
        // RFC 5424 has a blank before the message, which is rsyslog's to cut.
        let head = format!("190|{token}|app|worker.1|");
        let said: Vec<String> = lines
            .iter()
            .filter_map(|line| Some(line.strip_prefix(&head)?.trim_start().to_owned()))
            .collect();
        let want = [
            "plain".to_owned(),
            "<13>1 2020-01-01T00:00:00Z evil app web.1 - - forged".to_owned(),
            "12 <13>1 - evil".to_owned(),
            "over^Mwritten nul^@ esc^[[2J bad\u{fffd}\u{fffd}".to_owned(),
            "grüße".to_owned(),
            "x".repeat(10_000),
            "x".repeat(10_000),
            "x".repeat(5_000),
            "the end".to_owned(),
        ];
        assert_eq!(said, want, "{name}");
    }
    until("the app is told of the certificate", BOUND, || {
        let told = "heroku[logplex]: Error L14 (certificate validation): error=\"";
        let logs = platform.logs("spoken");
        logs.lines()
            .any(|line| line.contains(told) && line.ends_with(&format!(" uri=\"{wrong}/\"")))
            .then_some(())
    });
}
