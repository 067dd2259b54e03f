//! Properties of the source itself: who may know whom, how long a file is, what its first line says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Longer files hold two subjects.
const FILE_LINES_MAX: usize = 500;

/// Which of our crates each crate may use, complete.
const DIRECTIONS: [(&str, &[&str]); 8] = [
    ("slug", &[]),
    ("compiler", &["lathe-slug"]),
    ("runtime/logs", &[]),
    ("runtime/router", &["lathe-logs"]),
    ("runtime/dynos", &["lathe-logs", "lathe-slug"]),
    ("bootstrap", &["lathe-slug"]),
    (
        "platform",
        &[
            "lathe-slug",
            "lathe-bootstrap",
            "lathe-compiler",
            "lathe-dynos",
            "lathe-logs",
            "lathe-router",
        ],
    ),
    ("tests", &[]),
];

/// Modules of the platform and the other modules of it that they must not name: policy does not
/// know its doors, the state knows nobody.
const ABSENT: [(&str, &[&str]); 13] = [
    (
        "platform/src/state",
        &[
            "api", "attach", "backup", "build", "certs", "cli", "control", "engine", "git",
            "hosting", "registry", "roles", "services",
        ],
    ),
    ("platform/src/config", &["api", "attach", "build", "cli", "control", "git", "roles", "state"]),
    ("platform/src/stack", &["api", "attach", "build", "cli", "control", "git", "roles", "state"]),
    ("platform/src/control", &["api", "attach", "build", "cli", "git", "roles"]),
    (
        "platform/src/engine",
        &["api", "attach", "build", "cli", "control", "git", "registry", "roles", "services"],
    ),
    ("platform/src/registry", &["api", "attach", "build", "cli", "control", "git", "roles"]),
    ("platform/src/build", &["api", "attach", "cli", "git", "roles"]),
    ("platform/src/git", &["api", "attach", "cli", "registry", "roles"]),
    ("platform/src/attach", &["api", "build", "cli", "git", "registry", "roles"]),
    ("platform/src/hosting", &["api", "build", "cli", "git", "registry", "roles"]),
    ("platform/src/certs", &["api", "build", "cli", "git", "registry", "roles"]),
    (
        "platform/src/host",
        &[
            "api", "attach", "build", "cli", "control", "git", "hosting", "registry", "roles",
            "state",
        ],
    ),
    ("platform/src/api", &["cli", "roles"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of the project, with its text; paths are relative to the root.
fn sources() -> Vec<(PathBuf, String)> {
    let root = root();
    let tops = DIRECTIONS.iter().map(|(folder, _)| root.join(folder));
    let files = tops.flat_map(|top| WalkDir::new(top).sort_by_file_name()).map(Result::unwrap);
    let files: Vec<_> = files
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        // Fixture apps are other people's code.
        .filter(|entry| !entry.path().components().any(|part| part.as_os_str() == "fixtures"))
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.path().strip_prefix(&root).unwrap().to_owned(), text)
        })
        .collect();
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    files
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn crates_know_each_other_in_one_direction() {
    let mut wrong = Vec::new();
    for (folder, allowed) in DIRECTIONS {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        for line in normal.lines().filter(|line| line.starts_with("lathe-")) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            if !allowed.contains(&name) {
                wrong.push(format!("{folder} must not use {name}"));
            }
        }
    }
    none("crate directions", &wrong);
}

#[test]
fn modules_know_each_other_in_one_direction() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let named = modules_named(&text);
        for (folder, absent) in ABSENT.iter().filter(|(folder, _)| path.starts_with(folder)) {
            for name in absent.iter().filter(|name| named.contains(*name)) {
                wrong.push(format!("{} uses crate::{name}; {folder} must not", path.display()));
            }
        }
    }
    none("module directions", &wrong);
}

/// What stands behind `crate::`: a name, or the names in braces, each with or without a path of its own.
fn modules_named(text: &str) -> BTreeSet<&str> {
    let mut named = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => named.extend(first_level(list).map(first_name)),
            None => named.extend([first_name(rest)]),
        }
    }
    named
}

/// The parts of a list in braces, whose opening one has been read; inner lists stay whole.
fn first_level(list: &str) -> impl Iterator<Item = &str> {
    let deeper = |depth: i32, c: char| depth + i32::from(c == '{') - i32::from(c == '}');
    let mut depth = 0;
    let end = list.find(|c| {
        depth = deeper(depth, c);
        depth < 0
    });
    let mut depth = 0;
    list[..end.unwrap_or(list.len())].split(move |c| {
        depth = deeper(depth, c);
        c == ',' && depth == 0
    })
}

fn first_name(path: &str) -> &str {
    let path = path.trim_start();
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

#[test]
fn modules_are_found_however_they_are_named() {
    for (text, expected) in [
        ("use crate::git::hook;", vec!["git"]),
        ("use crate::git;", vec!["git"]),
        ("use crate::{build, git};", vec!["build", "git"]),
        (
            "use crate::{\n    api::{cli, roles},\n    state as known,\n};\nstruct A {b: C, d: E}",
            vec!["api", "state"],
        ),
        ("crate::gitlike::x(), crate::state::git::y()", vec!["gitlike", "state"]),
    ] {
        let named: Vec<&str> = modules_named(text).into_iter().filter(|n| !n.is_empty()).collect();
        assert_eq!(named, expected, "{text}");
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || first.len() < 15 {
            wrong.push(format!("{} begins with {first:?}", path.display()));
        }
    }
    none("files", &wrong);
}

#[test]
fn no_module_is_dead() {
    let sources = sources();
    let texts: BTreeMap<&Path, &str> =
        sources.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
    let mut wrong = Vec::new();
    for path in texts.keys() {
        if !declared(path, &texts) {
            wrong.push(path.display().to_string());
        }
    }
    none("files that no module declares", &wrong);
}

/// Whether some parent file says `mod` of this file, or cargo knows it as a root.
fn declared(path: &Path, texts: &BTreeMap<&Path, &str>) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap();
    let is_root = matches!(stem, "lib" | "main" | "build") || folder.ends_with("bin");
    if is_root || (folder.ends_with("tests") && folder != Path::new("tests") && stem != "mod") {
        return true;
    }
    let (name, home) = if stem == "mod" {
        (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap())
    } else {
        (stem, folder)
    };
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|file| home.join(file));
    let beside = home.with_extension("rs");
    let says = format!("mod {name};");
    parents
        .iter()
        .chain([&beside])
        .any(|parent| texts.get(parent.as_path()).is_some_and(|text| text.contains(&says)))
}

#[test]
fn every_promise_names_a_command_that_exists() {
    let text = std::fs::read_to_string(root().join("docs/SPECIFICATION.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| P")).collect();
    assert!(rows.len() >= 10, "docs/SPECIFICATION.md promises only {} things", rows.len());
    let tests: BTreeSet<String> = sources().iter().flat_map(|(_, text)| test_names(text)).collect();
    let verbs = std::fs::read_to_string(root().join("platform/src/cli/mod.rs")).unwrap();
    let mut wrong = Vec::new();
    let mut numbers = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, number, _, value, command, ..] = cells.as_slice() else {
            wrong.push(format!("a row has no command: {row}"));
            continue;
        };
        if !numbers.insert(*number) {
            wrong.push(format!("{number} is two promises"));
        }
        if value.is_empty() {
            wrong.push(format!("{number} has no value; \"not yet shown\" is one"));
        }
        for command in command.split(", ").map(|command| command.trim_matches('`')) {
            let known = match command.strip_prefix("cargo test ") {
                Some(what) => runs_a_test(what, &tests),
                None => is_verb(command, &verbs),
            };
            if !known {
                wrong.push(format!("{number}: `{command}` does not exist or runs no test"));
            }
        }
    }
    none("promises", &wrong);
}

/// With neither `--workspace` nor `-p`, cargo looks into the platform's package alone.
fn runs_a_test(what: &str, tests: &BTreeSet<String>) -> bool {
    let looks_further = what.starts_with("--workspace ") || what.starts_with("-p ");
    looks_further && tests.contains(what.rsplit([' ', ':']).next().unwrap())
}

/// Every code that the sources can say has its row, and its row a test that names it.
#[test]
fn every_error_code_has_a_test() {
    let text = std::fs::read_to_string(root().join("docs/CODES.md")).unwrap();
    let mut rows = BTreeMap::new();
    for row in text.lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let [_, code, _, _, test, _] = cells.as_slice() {
            rows.insert(*code, test.trim_matches('`'));
        }
    }
    let sources = sources();
    let said = |path: &str| sources.iter().find(|(file, _)| file.ends_with(path)).unwrap();
    let mut wrong = Vec::new();
    for path in
        ["router/src/fault.rs", "output/state_line.rs", "logs/src/board.rs", "logs/src/tail.rs"]
    {
        let words = said(path).1.split(|c: char| !c.is_ascii_alphanumeric());
        for code in words.filter(|word| is_code(word) && !rows.contains_key(word)) {
            wrong.push(format!("{path} says {code}, which has no row"));
        }
    }
    for (code, test) in rows.into_iter().filter(|(code, _)| is_code(code)) {
        let home = sources.iter().find(|(_, text)| text.contains(&format!("fn {test}(")));
        if !home.is_some_and(|(_, text)| text.contains(code)) {
            wrong
                .push(format!("{code} names {test}, which is not there or does not know the code"));
        }
    }
    none("error codes", &wrong);
}

/// `H10`, `R17`, `L14`.
fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix(['H', 'R', 'L']);
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn every_fault_has_its_test_and_every_fault_named_is_explained() {
    let text = std::fs::read_to_string(root().join("docs/FAULTS.md")).unwrap();
    let sources = sources();
    let mut explained = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in text.lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, id, _, _, tests, _] = cells.as_slice() else { continue };
        if !is_fault(id) {
            continue;
        }
        if !explained.insert(*id) {
            wrong.push(format!("{id} has two rows"));
        }
        for test in tests.split(", ").map(|test| test.trim_matches('`')) {
            if !sources.iter().any(|(path, text)| has_test(path, text, test)) {
                wrong.push(format!("{id} names {test}, which does not exist"));
            }
        }
    }
    assert!(explained.len() > 50, "docs/FAULTS.md explains only {} faults", explained.len());
    for (path, text) in &sources {
        for id in faults_named(text).filter(|id| !explained.contains(id)) {
            wrong.push(format!("{} speaks of fault {id}, which has no row", path.display()));
        }
    }
    none("faults", &wrong);
}

/// Those that comments begin with, as in `/// fault G1, G2: what is shown`.
fn faults_named(text: &str) -> impl Iterator<Item = &str> {
    let comments = text.lines().map(|line| line.trim_start_matches([' ', '/']));
    let lists = comments.filter_map(|comment| comment.strip_prefix("fault "));
    let lists = lists.filter_map(|list| list.split(['.', ':']).next());
    lists.flat_map(|list| list.split(", ")).filter(|word| is_fault(word))
}

/// `G1`, `S12`.
fn is_fault(word: &str) -> bool {
    let digits = word.strip_prefix(['G', 'C', 'R', 'H', 'L', 'A', 'S', 'B']);
    digits.is_some_and(|number| number.parse::<u8>().is_ok())
}

/// `push::faults::name`: a function of that name in a file or folder of the last module's.
fn has_test(path: &Path, text: &str, full_name: &str) -> bool {
    let mut parts = full_name.rsplit("::");
    let name = parts.next().unwrap_or_default();
    let module = parts.find(|part| *part != "tests").unwrap_or_default();
    let mut homes = path.iter().chain(path.file_stem());
    let there = |mark| text.contains(&format!("fn {name}{mark}"));
    homes.any(|home| home == module) && ["(", "<"].into_iter().any(there)
}

fn test_names(text: &str) -> Vec<String> {
    let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
    names.map(str::to_owned).collect()
}

/// `lathe bench start` is a verb when the command line has the word `bench`.
fn is_verb(command: &str, cli: &str) -> bool {
    let Some(verb) = command.strip_prefix("lathe ").and_then(|rest| rest.split(' ').next()) else {
        return false;
    };
    let mut letters = verb.split(':').next().unwrap_or_default().chars();
    let variant: String =
        letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect();
    cli.contains(&variant)
}
