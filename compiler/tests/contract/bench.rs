//! A room with all the folders of a build, buildpacks written on the spot, and what came of it.

use lathe_compiler::{CompileError, Compiled, FROM_MACHINE, Job, Transcript, compile, copy_tree};
use lathe_tests::host;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct Bench {
    room: tempfile::TempDir,
}

pub(crate) struct Built {
    pub(crate) result: Result<Compiled, CompileError>,
    pub(crate) transcript: String,
    pub(crate) slug: Vec<u8>,
}

/// A writer whose text can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Bench {
    /// With an app of one file, and no built-in buildpack but those written later.
    pub(crate) fn new() -> Self {
        host::needs(&[host::GIT, host::PYTHON, host::VENV]);
        let bench = Self { room: tempfile::tempdir().unwrap() };
        bench.write("build/app.txt", "app");
        bench.write("builtin/order", "");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// An app of `buildpacks/`, built by what is built in, with the ways out of this machine.
    pub(crate) fn fixture(name: &str) -> (Self, Job) {
        let bench = Self { room: tempfile::tempdir().unwrap() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildpacks");
        // As the platform lays them out: what several share is a link here, and a file of each there.
        let buildpacks = bench.path("buildpacks");
        let copied = Command::new("cp").arg("-RL").args([&source, &buildpacks]).status();
        assert!(copied.unwrap().success());
        copy_tree(&buildpacks.join(name), &bench.path("build")).unwrap();
        let mut job = bench.job(&[]);
        job.builtin_dir = buildpacks;
        job.timeout = Duration::from_mins(10);
        job.extra_env = std::env::vars()
            .filter(|(name, _)| FROM_MACHINE.contains(&name.as_str()))
            .map(|(name, value)| match name.as_str() {
                // The stack's programs first, as in a build dyno; the toolchain after them.
                "PATH" => (name, format!("{}:{value}", lathe_compiler::PATH)),
                _ => (name, value),
            })
            .collect();
        (bench, job)
    }

    /// A buildpack whose `bin/compile` is `compile`, written without any executable bit.
    pub(crate) fn buildpack(&self, name: &str, compile: &str) -> String {
        self.write(&format!("{name}/bin/detect"), "#!/bin/sh\necho Fake\n");
        self.write(&format!("{name}/bin/compile"), &format!("#!/bin/bash\nset -e\n{compile}\n"));
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn job(&self, buildpacks: &[String]) -> Job {
        Job {
            build_dir: self.path("build"),
            cache_dir: self.path("cache"),
            home: self.path("home"),
            work_dir: self.path("work"),
            env_dir: self.path("env"),
            fetched_dir: self.path("fetched"),
            builtin_dir: self.path("builtin"),
            buildpacks: buildpacks.to_vec(),
            source_version: "c0ffee".to_owned(),
            request_id: "r-1".to_owned(),
            source_date_epoch: 1_700_000_000,
            timeout: Duration::from_mins(1),
            ..Job::default()
        }
    }

    pub(crate) fn build(&self, job: &Job) -> Built {
        let (paper, mut slug) = (Paper::default(), Vec::new());
        let mut out = Transcript::new(paper.clone());
        let result = compile(job, &mut out, &mut slug);
        let left = ["work", "env"].map(|room| self.path(room).exists());
        assert_eq!(left, [false; 2], "a build leaves its rooms empty");
        Built { result, transcript: paper.text(), slug }
    }

    /// Builds with these buildpacks and nothing special.
    pub(crate) fn build_with(&self, buildpacks: &[String]) -> Built {
        self.build(&self.job(buildpacks))
    }
}

impl Built {
    pub(crate) fn ok(&self) -> &Compiled {
        assert!(self.result.is_ok(), "{:?}\n{}", self.result, self.transcript);
        self.result.as_ref().unwrap()
    }

    pub(crate) fn error(&self) -> &CompileError {
        assert!(self.result.is_err(), "{}", self.transcript);
        self.result.as_ref().unwrap_err()
    }

    /// Asserts that each of `texts` is in the transcript, in this order.
    pub(crate) fn says(&self, texts: &[&str]) {
        let mut rest = self.transcript.as_str();
        for text in texts {
            let found = rest.find(text);
            assert!(found.is_some(), "{text:?} is not where it should be in\n{}", self.transcript);
            rest = &rest[found.unwrap() + text.len()..];
        }
    }

    /// The slug's files by name, links shown as `-> target`.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(&self.slug[..]));
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let name = name.trim_start_matches("./").trim_start_matches("app/").to_owned();
            let mut text = String::new();
            if let Some(target) = entry.link_name().unwrap() {
                text = format!("-> {}", target.display());
            } else {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            files.insert(name, text);
        }
        files
    }
}

pub(crate) fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
