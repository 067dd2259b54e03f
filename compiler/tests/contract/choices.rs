//! Which buildpack builds an app: given, named by the app, or detected.

use crate::bench::Bench;
use lathe_compiler::CompileError;
use std::process::Command;

fn builtin(bench: &Bench, name: &str, detect: &str) {
    bench.buildpack(&format!("builtin/{name}"), &format!("echo '{name} compiles'"));
    bench.write(&format!("builtin/{name}/bin/detect"), &format!("#!/bin/sh\n{detect}\n"));
}

#[test]
fn the_first_in_order_to_detect_builds() {
    let bench = Bench::new();
    builtin(&bench, "a", "exit 1");
    builtin(&bench, "b", "kill -SEGV $$");
    builtin(&bench, "c", "head -c 1000000 /dev/zero | tr '\\0' x");
    builtin(&bench, "d", "echo D");
    bench.write("builtin/order", "# first come\na\nb\n\nc\nd\n");
    let built = bench.build_with(&[]);
    built.says(&[
        "-----> Determining which buildpack to use for this app\n",
        "xxx",
        "c compiles\n",
    ]);
    assert_eq!(built.ok().detected.len(), 80);
    assert!(!built.transcript.contains("d compiles"));
}

#[test]
fn none_detected_lists_what_was_tried() {
    let bench = Bench::new();
    builtin(&bench, "a", "exit 1");
    builtin(&bench, "b", "exit 1");
    bench.write("builtin/order", "a\nb\n");
    let built = bench.build_with(&[]);
    assert!(matches!(built.error(), CompileError::NoneDetected { .. }));
    built.says(&[
        " !     no default language could be detected for this app (tried a, b)\n",
        "Push rejected",
    ]);
}

#[test]
fn every_listed_buildpack_must_detect() {
    let bench = Bench::new();
    let one = bench.buildpack("one", ":");
    let two = bench.buildpack("two", "touch \"$2/compiled\"");
    bench.write("two/bin/detect", "#!/bin/sh\necho 'looks for a Gemfile' >&2; exit 1\n");
    let built = bench.build_with(&[one, two]);
    assert!(matches!(built.error(), CompileError::NotDetected { .. }));
    built.says(&["       looks for a Gemfile\n", "app not compatible with buildpack"]);
    assert!(!bench.path("cache/compiled").exists());
}

#[test]
fn other_names_for_builtin_ones() {
    let bench = Bench::new();
    builtin(&bench, "python", "echo P");
    bench.write("builtin/order", "python\n");
    bench.write("builtin/aliases", "heroku/python python\n");
    for name in ["python", "heroku/python", "urn:buildpack:heroku/python"] {
        bench.build_with(&[name.to_owned()]).says(&["python compiles\n"]);
    }
    for name in ["ruby", "heroku/ruby", "order", ".."] {
        let built = bench.build_with(&[name.to_owned()]);
        assert_eq!(built.error().step(), "fetch", "{name}");
    }
}

#[test]
fn an_app_may_name_its_buildpacks() {
    let bench = Bench::new();
    let one = bench.buildpack("one", "echo one-ran");
    let two = bench.buildpack("two", "echo two-ran");
    bench.write("build/.buildpacks", &format!("# mine\n{one}\n\nfile://{two}\n"));
    bench.build_with(&[]).says(&["one-ran\n", "two-ran\n"]);
}

#[test]
fn a_git_buildpack_at_a_ref() {
    let bench = Bench::new();
    bench.buildpack("pack", "echo first");
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-C"];
        let output = Command::new("git").args(identity).arg(bench.path("pack")).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    git(&["tag", "v1"]);
    let first = git(&["rev-parse", "HEAD"]);
    bench.buildpack("pack", "echo second");
    git(&["commit", "-q", "-am", "second"]);
    let second = git(&["rev-parse", "HEAD"]);

    let url = format!("file://{}", bench.path("pack").display());
    let cases = [("v1", "first", &first), ("main", "second", &second), (&first, "first", &first)];
    for (rev, said, commit) in cases {
        let built = bench.build_with(&[format!("{url}#{rev}")]);
        built.says(&[&format!("{said}\n")]);
        assert_eq!(built.ok().buildpacks[0].commit.as_ref(), Some(commit));
    }
    let built = bench.build_with(&[format!("{url}#nowhere")]);
    built.says(&["could not fetch buildpack", "git said: ", "nowhere", "Check the URL"]);
}

#[test]
fn a_tarball_buildpack_with_a_wrapping_folder() {
    let bench = Bench::new();
    bench.buildpack("wrapped/pack-main", "echo from-tarball");
    let archive = bench.path("pack.tgz");
    let status = Command::new("tar")
        .args(["czf".as_ref(), archive.as_os_str(), "-C".as_ref()])
        .args([bench.path("wrapped").as_os_str(), "pack-main".as_ref()])
        .status();
    assert!(status.unwrap().success());
    bench.build_with(&[format!("file://{}", archive.display())]).says(&["from-tarball\n"]);
    let built = bench.build_with(&[format!("file://{}", bench.path("none.tgz").display())]);
    built.says(&["could not fetch buildpack", "curl said: "]);
}

#[test]
fn a_folder_that_is_no_buildpack() {
    let bench = Bench::new();
    bench.write("empty/README", "");
    let built = bench.build_with(&[bench.path("empty").display().to_string()]);
    assert!(matches!(built.error(), CompileError::NotABuildpack { program: "detect", .. }));
}
