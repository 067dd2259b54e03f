//! The worker as a builder sees it: one stream in, three out.

use crate::bench::{Bench, Paper};
use lathe_compiler::wire::{JobHeader, Outcome, write_job};
use lathe_compiler::{Cancel, Job, Transcript, run_worker};
use std::path::Path;

/// The header a builder would send, and a tar of one source file.
fn input(job: &Job, name: &str, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_job(&mut bytes, &JobHeader::from(job)).unwrap();
    let mut tar = tar::Builder::new(&mut bytes);
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, Path::new(name), text.as_bytes()).unwrap();
    tar.finish().unwrap();
    drop(tar);
    bytes
}

struct Worked {
    status: u8,
    transcript: String,
    slug: Vec<u8>,
    outcome: Outcome,
}

/// The worker's folders are its own constants, those of a build dyno. Two workers in one machine
/// would share them, so the cases run one after the other in one test.
fn work(input: &[u8]) -> Worked {
    let (paper, mut slug, mut outcome) = (Paper::default(), Vec::new(), Vec::new());
    let out = Transcript::new(paper.clone());
    let status = run_worker(input, out, &mut slug, &mut outcome, Cancel::default());
    let outcome = serde_json::from_slice(&outcome).unwrap();
    let folders = [Job::default().build_dir, Job::default().cache_dir];
    for dir in folders {
        std::fs::remove_dir_all(dir).ok();
    }
    Worked { status, transcript: paper.text(), slug, outcome }
}

#[test]
fn a_job_in_and_an_outcome_back() {
    let bench = Bench::new();
    let pack = bench.buildpack("pack", "cat \"$1/Procfile\"; echo $((RANDOM)) > /dev/null");
    let job = bench.job(&[pack]);

    let good = work(&input(&job, "Procfile", "web: ./run\n"));
    assert_eq!(good.status, 0, "{}", good.transcript);
    let Outcome::Compiled(compiled) = good.outcome else { panic!("{}", good.transcript) };
    assert_eq!(compiled.manifest.bytes, good.slug.len() as u64);
    assert_eq!(compiled.process_types, [("web".to_owned(), "./run".to_owned())]);

    let bad = work(&input(&job, "Procfile", "no colon\n"));
    assert_eq!(bad.status, 1);
    assert!(bad.slug.is_empty());
    let Outcome::Failed { step, reason, remedy } = bad.outcome else { panic!() };
    assert_eq!(step, "source");
    assert!(reason.contains("Procfile") && remedy.contains("type: command"));

    for hostile in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"lathe-job/1\n\xff\xff\xff\xff", b""] {
        let refused = work(hostile);
        assert_eq!(refused.status, 1);
        assert!(matches!(refused.outcome, Outcome::Failed { .. }));
    }
}
