//! The built-in buildpacks on their own fixture apps.

use crate::bench::{Bench, Built};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Builds a fixture and its twin, in the same folders with an empty cache, to the same slug.
fn built_twice(name: &str) -> Built {
    let (bench, job) = Bench::fixture(name);
    let first = bench.build(&job);
    first.ok();
    std::fs::remove_dir_all(&job.build_dir).unwrap();
    std::fs::remove_dir_all(&job.cache_dir).unwrap();
    lathe_compiler::copy_tree(&job.builtin_dir.join(name), &job.build_dir).unwrap();
    let second = bench.build(&job);
    second.ok();
    let twin = second.files();
    let difference = first.files().into_iter().find(|(name, text)| twin.get(name) != Some(text));
    assert_eq!(difference.map(|(name, _)| name), None, "differs between two builds");
    assert_eq!(first.ok().manifest, second.ok().manifest);
    first
}

#[test]
fn a_procfile_is_all_it_takes() {
    let built = built_twice("procfile/test/worker");
    assert_eq!(built.ok().detected, "Procfile");
    assert_eq!(built.ok().process_types[0].0, "worker");
}

#[test]
fn an_app_builds_itself() {
    let built = built_twice("inline/test/hello");
    built.says(&["-----> Hello app detected\n", "-----> Greeting the world\n"]);
    assert_eq!(built.files()["greeting"], "hello\n");
    assert_eq!(built.ok().process_types, [("web".to_owned(), "cat greeting".to_owned())]);
}

#[test]
fn python_without_requirements() {
    let built = built_twice("python/test/bare");
    built.says(&["-----> Python app detected\n", "-----> Using Python 3."]);
    assert!(built.files().contains_key(".profile.d/python.sh"));
    assert!(built.ok().buildpacks[0].report["python_version"].starts_with("3."));
}

#[test]
fn lock_files_of_two_managers_are_refused() {
    let (bench, job) = Bench::fixture("nodejs/test/conflict");
    let built = bench.build(&job);
    built.says(&[
        "There are several lock files: package-lock.json yarn.lock",
        "failed to compile Node.js app",
    ]);
}

#[test]
fn rust_that_does_not_compile_shows_the_compilers_words() {
    let (bench, job) = Bench::fixture("rust/test/syntax");
    let built = bench.build(&job);
    built.says(&["-----> Rust app detected\n", "mismatched types", "failed to compile Rust app"]);
}

/// The file server of a built site, ended with the test.
struct Served {
    process: Child,
    port: u16,
    bench: Bench,
}

impl Served {
    fn new(fixture: &str) -> Self {
        let (bench, job) = Bench::fixture(fixture);
        bench.build(&job).ok();
        let mut process = Command::new("python3")
            .args(["-B", ".heroku/static"])
            .current_dir(&job.build_dir)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        Self { process, port, bench }
    }

    /// The whole answer to one request.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = request.replace('\n', "\r\n");
        write!(stream, "{request}\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_site_is_served() {
    let served = Served::new("static/test/site");
    let secret = Path::new("/etc/passwd");
    std::os::unix::fs::symlink(secret, served.bench.path("build/leak.txt")).unwrap();
    let cases = [
        ("GET / HTTP/1.1", "HTTP/1.1 200", "<h1>home</h1>"),
        ("GET /about HTTP/1.1", "HTTP/1.1 200", "<h1>about</h1>"),
        ("GET /about.html?x=1 HTTP/1.1", "HTTP/1.1 301", "Location: /about?x=1\r\n"),
        ("GET /docs HTTP/1.1", "HTTP/1.1 301", "Location: /docs/\r\n"),
        ("GET /docs/ HTTP/1.1", "HTTP/1.1 200", "docs"),
        ("HEAD / HTTP/1.1", "HTTP/1.1 200", "Content-Length: 14\r\n"),
        (
            "GET /style.css HTTP/1.1\nAccept-Encoding: gzip",
            "HTTP/1.1 200",
            "Content-Encoding: gzip",
        ),
        ("GET /style.css HTTP/1.1\nAccept-Encoding: gzip;q=0", "HTTP/1.1 200", "color: teal"),
        ("GET /about HTTP/1.1\nRange: bytes=1-2", "HTTP/1.1 206", "Content-Range: bytes 1-2/15"),
        ("GET /about HTTP/1.1\nRange: bytes=90-", "HTTP/1.1 416", "Content-Range: bytes */15"),
        ("GET /nowhere HTTP/1.1", "HTTP/1.1 404", "<h1>lost</h1>"),
        ("GET /leak.txt HTTP/1.1", "HTTP/1.1 404", "lost"),
        ("GET /../../../etc/passwd HTTP/1.1", "HTTP/1.1 404", "lost"),
        ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", "HTTP/1.1 404", "lost"),
        ("GET /.heroku/static/files.py HTTP/1.1", "HTTP/1.1 404", "lost"),
        ("GET //evil.example/docs HTTP/1.1", "HTTP/1.1 404", "lost"),
        ("GET /a%00b HTTP/1.1", "HTTP/1.1 404", "lost"),
        ("POST / HTTP/1.1\nContent-Length: 0", "HTTP/1.1 501", ""),
    ];
    for (request, status, part) in cases {
        let answer = served.ask(request);
        assert!(answer.starts_with(status), "{request}: {answer}");
        assert!(answer.contains(part), "{request}: {answer}");
    }
    let first = served.ask("GET /style.css HTTP/1.1");
    let tag = first.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let again = served.ask(&format!("GET /style.css HTTP/1.1\nIf-None-Match: {tag}"));
    assert!(again.starts_with("HTTP/1.1 304"), "{again}");
}

#[test]
fn a_site_with_settings_is_served() {
    let served = Served::new("static/test/settings");
    let cases = [
        ("GET /any/where HTTP/1.1", "HTTP/1.1 200", "<div id=app>"),
        ("GET / HTTP/1.1", "HTTP/1.1 200", "X-Frame-Options: DENY"),
        ("GET /old/page HTTP/1.1", "HTTP/1.1 301", "Location: /new\r\n"),
        ("GET /api/x HTTP/1.1", "HTTP/1.1 404", "404 Not Found"),
    ];
    for (request, status, part) in cases {
        let answer = served.ask(request);
        assert!(answer.starts_with(status), "{request}: {answer}");
        assert!(answer.contains(part), "{request}: {answer}");
    }
}

#[test]
fn a_site_for_https_alone_sends_everybody_there() {
    let served = Served::new("static/test/secure");
    let answer = served.ask("GET /p?q HTTP/1.1\nX-Forwarded-Proto: http");
    assert!(answer.contains("Location: https://h/p?q\r\n"), "{answer}");
    let answer = served.ask("GET / HTTP/1.1\nX-Forwarded-Proto: https");
    assert!(answer.contains("<h1>secure</h1>"), "{answer}");
}
