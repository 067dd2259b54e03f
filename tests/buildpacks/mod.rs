//! The built-in buildpacks: real pushes of their fixture apps, built in real build dynos.

mod downloads;
mod golden;
mod languages;
mod shell;
mod site;

use lathe_tests::{Checkout, Platform, Pushed};
use serde_json::json;
use std::path::{Path, PathBuf};

fn buildpacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("buildpacks")
}

/// An app to which fixtures of one buildpack are pushed, one after the other, so that they share
/// the app's build cache.
#[derive(Debug)]
struct Bench {
    platform: Platform,
    buildpack: &'static str,
    app: String,
}

impl Bench {
    fn new(buildpack: &'static str) -> Self {
        Self::with(buildpack, &[])
    }

    fn with(buildpack: &'static str, settings: &[&str]) -> Self {
        let platform = Platform::start_with(settings);
        let app = format!("{buildpack}-app");
        let (status, answer) = platform.api("POST", "/apps", &json!({"name": app}));
        assert_eq!(status, 201, "{answer}");
        Self { platform, buildpack, app }
    }

    /// Pushes `buildpacks/<buildpack>/test/<case>`, and holds what it says against the transcript
    /// beside it.
    fn push(&self, case: &str) -> Pushed {
        self.push_saying(case, &format!("{case}.transcript"))
    }

    fn push_saying(&self, case: &str, transcript: &str) -> Pushed {
        let pushed = self.push_unread(case);
        let said = golden::transcript(&pushed.transcript);
        golden::check(&said, &self.fixtures().join(transcript));
        pushed
    }

    /// For builds whose transcript is not the fixture's own.
    fn push_unread(&self, case: &str) -> Pushed {
        let tree = self.fixtures().join(case);
        Checkout::of_tree(&self.platform, &self.app, &tree).push_refs(&["+main"])
    }

    fn fixtures(&self) -> PathBuf {
        buildpacks().join(self.buildpack).join("test")
    }

    /// The fixture is accepted and answers with `body`.
    fn serves(&self, case: &str, body: &str) {
        self.push(case).accepted();
        let answer = self.platform.app(&self.app, "/");
        assert!(answer.status == 200 && answer.body.contains(body), "{case}: {answer:?}");
    }

    /// Each fixture is rejected, for the reason its transcript has.
    fn refuses(&self, cases: &[&str]) {
        for case in cases {
            self.push(case).rejected(&[]);
        }
    }
}
