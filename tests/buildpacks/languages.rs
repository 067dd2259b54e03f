//! Every language's fixtures: those that are served, and those that must be refused with a reason.

use super::Bench;

#[test]
fn go_apps_are_built_and_served() {
    let bench = Bench::new("go");
    bench.serves("hello", "hello from go1.25.5");
    bench.refuses(&["unavailable", "broken-lock", "syntax", "no-start"]);
    // What a build fetched and compiled is there for the next, whatever failed in between.
    bench.push_saying("hello", "hello.again.transcript").accepted();
}

#[test]
fn ruby_apps_are_built_and_served() {
    let bench = Bench::new("ruby");
    bench.serves("hello", "hello from Ruby 3.1");
    bench.push("no-start").accepted();
    bench.refuses(&["unavailable", "broken-lock", "syntax", "no-lock"]);
}

#[test]
fn php_apps_are_built_and_served() {
    let bench = Bench::new("php");
    bench.serves("hello", "hello from PHP 8 at /");
    bench.refuses(&["unavailable", "broken-lock", "syntax"]);
}

#[test]
fn java_apps_are_built_and_served() {
    let bench = Bench::new("java");
    bench.serves("hello", "hello from Java 17");
    bench.push("no-start").accepted();
    bench.refuses(&["unavailable", "syntax"]);
}

#[test]
fn python_apps_are_built_by_each_installer_and_served() {
    let bench = Bench::new("python");
    bench.serves("bare", "");
    bench.serves("pip", "hello from flask");
    for case in ["uv", "django", "no-start"] {
        bench.push(case).accepted();
    }
    bench.refuses(&["no-such-package", "unavailable", "broken-lock"]);
    bench.push("syntax").rejected(&["SyntaxError", "web.1 exited with status 1"]);
}

#[test]
fn node_apps_are_built_by_each_package_manager_and_served() {
    let bench = Bench::new("nodejs");
    for case in ["npm", "yarn", "pnpm"] {
        bench.serves(case, "two days are 172800000 ms");
    }
    bench.serves("with-python", "made by node v20.11.1, served by python");
    bench.serves("with-static", "made by node v20.11.1");
    bench.refuses(&["conflict", "unavailable", "broken-lock"]);
    bench.push("syntax").rejected(&["web.1 exited with status 1"]);
    bench.push("no-start").accepted();
}

#[test]
fn rust_apps_are_built_and_served_and_the_compiler_has_its_say() {
    let bench = Bench::new("rust");
    bench.serves("hello", "hello 42");
    for case in ["workspace", "no-start"] {
        bench.push(case).accepted();
    }
    bench.refuses(&["unavailable", "broken-lock", "syntax"]);
}
