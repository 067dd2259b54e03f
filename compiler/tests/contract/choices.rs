//! Which buildpack builds an app: given, named by the app, or detected.

use crate::bench::Bench;
use lathe_compiler::{CompileError, Job};
use std::fs;
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
    let one = bench.buildpack("one", "touch \"$1/made-by-one\"");
    let two = bench.buildpack("two", "touch \"$2/compiled\"");
    bench.write("two/bin/detect", "#!/bin/sh\ntest -e \"$1/made-by-one\" && echo Two\n");
    let built = bench.build_with(&[one.clone(), two.clone()]);
    built.says(&["Fake app detected", "Two app detected"]);
    fs::remove_file(bench.path("cache/compiled")).unwrap();
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
fn an_operator_names_buildpacks() {
    let bench = Bench::new();
    builtin(&bench, "python", "exit 1");
    builtin(&bench, "procfile", "echo P");
    bench.write("builtin/order", "python\nprocfile\n");
    bench.write("builtin/aliases", "heroku/python python\n");
    bench.buildpack("registry/own", "echo own-ran");
    bench.write(
        "registry/aliases",
        "heroku/python ./own # instead\nacme/tool  file:///nowhere#v1\n",
    );
    let registry = |buildpacks: &[&str], order: &[&str]| Job {
        registry_dir: Some(bench.path("registry")),
        order: order.iter().map(|name| (*name).to_owned()).collect(),
        ..bench.job(&buildpacks.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    };
    let built = bench.build(&registry(&["heroku/python"], &[]));
    built.says(&["Using buildpack: heroku/python\n", "own-ran\n"]);
    assert_eq!(built.ok().buildpacks[0].name, "heroku/python");
    bench
        .build(&registry(&["acme/tool"], &[]))
        .says(&["could not fetch buildpack acme/tool", "nowhere"]);
    bench.build(&registry(&[], &[])).says(&["procfile compiles\n"]);
    bench.build(&registry(&[], &["heroku/python", "procfile"])).says(&["own-ran\n"]);
    bench.build(&registry(&[], &["python"])).says(&["(tried python)"]);
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
fn an_app_may_need_no_buildpack() {
    let bench = Bench::new();
    builtin(&bench, "a", "echo A");
    bench.write("builtin/order", "a\n");
    bench.write("build/.buildpacks", "# nothing to build\n");
    bench.write("build/Procfile", "web: ./serve\n");
    let built = bench.build_with(&[]);
    built.says(&["Using no buildpack", "declares types     -> web\n"]);
    assert_eq!(built.files()["app.txt"], "app");
    assert!(built.ok().buildpacks.is_empty());
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
        let used = &built.ok().buildpacks[0];
        assert_eq!(used.commit.as_ref(), Some(commit));
        assert_eq!(used.pinned, format!("{url}#{commit}"));
    }
    let built = bench.build_with(&[format!("{url}#nowhere")]);
    built.says(&["could not fetch buildpack", "git said: ", "nowhere", "Check the URL"]);

    // A commit that was here once needs nobody any more; one that is damaged is fetched again.
    let pinned = format!("{url}#{second}");
    fs::rename(bench.path("pack"), bench.path("gone")).unwrap();
    bench.build_with(std::slice::from_ref(&pinned)).says(&["second\n"]);
    bench.build_with(&[format!("{url}#main")]).says(&["could not fetch buildpack"]);
    fs::rename(bench.path("gone"), bench.path("pack")).unwrap();
    fs::remove_dir_all(bench.path("fetched/git/objects")).ok();
    fs::write(bench.path("fetched/git/HEAD"), "nonsense").unwrap();
    bench.build_with(&[pinned]).says(&["second\n"]);
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
    let url = format!("file://{}", archive.display());
    let built = bench.build_with(std::slice::from_ref(&url));
    built.says(&["from-tarball\n"]);
    let pinned = built.ok().buildpacks[0].pinned.clone();
    assert_eq!(pinned, format!("{url}#sha256:{}", built.ok().buildpacks[0].digest));
    bench.build_with(std::slice::from_ref(&pinned)).says(&["from-tarball\n"]);
    fs::write(&archive, "something else").unwrap();
    bench.build_with(&[pinned]).says(&["from-tarball\n"]);
    let built = bench.build_with(&[format!("{url}#sha256:{}", "0".repeat(64))]);
    built.says(&["the archive has the SHA-256 ", "not the pinned 000000"]);
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
