//! The ways to the backend: straight, through a rival that is set up to do what the router does, or
//! through the router.

use super::super::{BenchError, groups};
use super::HOST;
use crate::host::packages::Need;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What the measurement needs from Debian.
pub(super) const NEEDS: &[Need] = &[
    Need { what: "nginx", package: "nginx-light", why: "a rival, and the backend" },
    Need { what: "haproxy", package: "haproxy", why: "a rival" },
    Need { what: "wrk", package: "wrk", why: "asks" },
];

const BOOT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    Direct,
    Nginx,
    /// Its log lines are written many at once: killed, it loses them.
    NginxBuffered,
    Haproxy,
    Lathe,
}

impl Way {
    pub(super) const ALL: [Self; 5] =
        [Self::Direct, Self::Nginx, Self::NginxBuffered, Self::Haproxy, Self::Lathe];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "straight to the backend",
            Self::Nginx => "nginx",
            Self::NginxBuffered => "nginx, log buffered",
            Self::Haproxy => "haproxy",
            Self::Lathe => "lathe",
        }
    }
}

/// CPUs by who may use them, so that nobody's work is where the measured one's is; none: shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) measured: Option<String>,
    pub(super) others: Option<String>,
}

impl Places {
    /// The measured one has the last CPU, the others the rest.
    pub(super) fn of(cpus: usize) -> Self {
        match cpus.checked_sub(2) {
            None => Self::default(),
            Some(last) => {
                Self { measured: Some((last + 1).to_string()), others: Some(format!("0-{last}")) }
            }
        }
    }
}

/// A program on these CPUs, which ends when we do, however that is (`setpriv` and `taskset` are of
/// util-linux, without which there is no Debian).
pub(super) fn on(cpus: Option<&String>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if let Some(cpus) = cpus {
        command.args(["taskset", "--cpu-list", cpus]);
    }
    command.arg(program);
    command
}

/// A server that runs, and where it is asked.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    pub(super) address: SocketAddr,
}

impl Server {
    /// An nginx that answers everything itself, in a few bytes.
    pub(super) fn backend(dir: &Path, places: &Places) -> Result<Self, BenchError> {
        let address = free_address()?;
        let text = nginx(
            dir,
            "backend",
            &format!(
                "access_log off; keepalive_requests 1000000000;\n\
             server {{ listen {address}; location / {{ return 200 \"Hello, World!\"; }} }}"
            ),
        );
        Self::nginx(dir, "backend", &text, address, places.others.as_ref())
    }

    /// The server of a way that has one of its own.
    pub(super) fn open(
        way: Way,
        dir: &Path,
        backend: SocketAddr,
        places: &Places,
    ) -> Result<Option<Self>, BenchError> {
        let cpus = places.measured.as_ref();
        match way {
            Way::Direct => Ok(None),
            Way::Nginx => Self::nginx_proxy(dir, "nginx", "", backend, cpus).map(Some),
            Way::NginxBuffered => {
                let buffer = " buffer=64k flush=1s";
                Self::nginx_proxy(dir, "buffered", buffer, backend, cpus).map(Some)
            }
            Way::Haproxy => Self::haproxy(dir, backend, cpus).map(Some),
            Way::Lathe => Self::lathe(backend, cpus).map(Some),
        }
    }

    fn nginx_proxy(
        dir: &Path,
        name: &str,
        buffer: &str,
        backend: SocketAddr,
        cpus: Option<&String>,
    ) -> Result<Self, BenchError> {
        let address = free_address()?;
        let log = dir.join(format!("{name}.log"));
        let rest = format!(
            "log_format router 'at=info method=$request_method path=\"$request_uri\" host=$host \
             request_id=$request_id fwd=\"$proxy_add_x_forwarded_for\" dyno=web.1 \
             connect=$upstream_connect_time service=$upstream_response_time status=$status \
             bytes=$body_bytes_sent protocol=$scheme';\n\
             access_log {log} router{buffer};\n\
             keepalive_requests 1000000000;\n\
             upstream app {{ server {backend}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen {address}; server_name {HOST};\n\
               location / {{ proxy_pass http://app; proxy_http_version 1.1;\n\
                 proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                 proxy_set_header X-Forwarded-Proto $scheme;\n\
                 proxy_set_header X-Forwarded-Port $server_port;\n\
                 proxy_set_header X-Request-Id $request_id;\n\
                 proxy_set_header X-Request-Start $msec;\n\
                 proxy_set_header Via \"1.1 nginx\"; add_header Via \"1.1 nginx\"; }} }}",
            log = log.display(),
        );
        Self::nginx(dir, name, &nginx(dir, name, &rest), address, cpus)
    }

    fn nginx(
        dir: &Path,
        name: &str,
        text: &str,
        address: SocketAddr,
        cpus: Option<&String>,
    ) -> Result<Self, BenchError> {
        let config = written(dir, &format!("{name}.conf"), text)?;
        let mut command = on(cpus, Path::new("/usr/sbin/nginx"));
        command.arg("-p").arg(dir).arg("-e").arg(dir.join(format!("{name}.error")));
        command.arg("-c").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        Self::start(command, name, address)
    }

    fn haproxy(dir: &Path, backend: SocketAddr, cpus: Option<&String>) -> Result<Self, BenchError> {
        let address = free_address()?;
        let port = address.port();
        let text = format!(
            "global\n  nbthread 1\n  maxconn 4000\n  log stdout format raw local0\n\
             defaults\n  mode http\n  log global\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 30s\n  option http-keep-alive\n  http-reuse always\n\
             frontend in\n  bind {address}\n  unique-id-format %[uuid()]\n  \
             log-format \"at=info method=%HM path=%HP host=%[var(txn.host)] request_id=%ID \
             fwd=%ci dyno=%s connect=%Tc service=%Tr status=%ST bytes=%B protocol=http\"\n  \
             http-request set-var(txn.host) req.hdr(host)\n  option forwardfor\n  \
             http-request set-header X-Forwarded-Proto http\n  \
             http-request set-header X-Forwarded-Port {port}\n  \
             http-request set-header X-Request-Id %[unique-id]\n  \
             http-request set-header X-Request-Start %[date(0,ms)]\n  \
             http-request add-header Via \"1.1 haproxy\"\n  \
             http-response add-header Via \"1.1 haproxy\"\n  default_backend app\n\
             backend app\n  server web.1 {backend} maxconn 4000\n"
        );
        let config = written(dir, "haproxy.cfg", &text)?;
        let log = File::create(dir.join("haproxy.log")).map_err(BenchError::at("write a log"))?;
        let mut command = on(cpus, Path::new("/usr/sbin/haproxy"));
        command.arg("-db").arg("-f").arg(config).stdin(Stdio::null()).stdout(log);
        Self::start(command, "haproxy", address)
    }

    fn start(mut command: Command, name: &str, address: SocketAddr) -> Result<Self, BenchError> {
        let child = command.spawn().map_err(BenchError::at(format!("start {name}")))?;
        let server = Self { child, stdout: None, address };
        let begin = Instant::now();
        while let Err(error) = TcpStream::connect(address) {
            if begin.elapsed() > BOOT {
                return Err(BenchError::at(format!("connect to {name}"))(error));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn lathe(backend: SocketAddr, cpus: Option<&String>) -> Result<Self, BenchError> {
        let lathe = std::env::current_exe().map_err(BenchError::at("find this program"))?;
        let mut command = on(cpus, &lathe);
        command.args(["bench", "router-own", &backend.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(BenchError::at("start lathe"))?;
        let mut stdout = child.stdout.take().map(BufReader::new);
        let mut line = String::new();
        let told = stdout.as_mut().map_or(Ok(0), |stdout| stdout.read_line(&mut line));
        told.map_err(BenchError::at("hear lathe"))?;
        let wrong = |_| BenchError::at("hear lathe's port")(io::ErrorKind::InvalidData);
        let port: u16 = line.trim().parse().map_err(wrong)?;
        Ok(Self { child, stdout, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Processor time of the server so far, all its processes and threads.
    pub(super) fn cpu(&self) -> Duration {
        let own = self.child.id();
        let all = std::iter::once(own).chain(groups::children(own));
        all.map(|pid| groups::cpu_of_process(pid).unwrap_or_default()).sum()
    }

    /// Ends it. Gives what it said last: of the router, how many lines its log was given, and how
    /// many of them it lost.
    pub(super) fn close(mut self) -> Result<Option<(u64, u64)>, BenchError> {
        let Some(mut stdout) = self.stdout.take() else { return Ok(None) };
        drop(self.child.stdin.take());
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(BenchError::at("hear lathe"))?;
        self.child.wait().map_err(BenchError::at("wait for lathe"))?;
        let counts = line.trim().split_once(' ');
        Ok(counts.and_then(|(sent, lost)| Some((sent.parse().ok()?, lost.parse().ok()?))))
    }
}

impl Drop for Server {
    /// However the measurement ends, it leaves no server behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
            drop(self.child.wait());
        }
    }
}

/// One worker, as root: what it reads and writes is in `dir`.
fn nginx(dir: &Path, name: &str, rest: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; master_process on; worker_processes 1; user root;\n\
         pid {dir}/{name}.pid; worker_rlimit_nofile 65536; error_log {dir}/{name}.error;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ client_body_temp_path {dir}/{name}.body; proxy_temp_path {dir}/{name}.proxy;\n\
           fastcgi_temp_path {dir}/{name}.fastcgi; uwsgi_temp_path {dir}/{name}.uwsgi;\n\
           scgi_temp_path {dir}/{name}.scgi;\n{rest}\n}}\n"
    )
}

fn written(dir: &Path, name: &str, text: &str) -> Result<PathBuf, BenchError> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(BenchError::at(format!("write {}", path.display())))?;
    Ok(path)
}

/// Free, and nobody else is quicker: it is at a loopback address of this process's own.
fn free_address() -> Result<SocketAddr, BenchError> {
    let [_, _, third, fourth] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 99, third, fourth);
    let free = TcpListener::bind((own, 0)).and_then(|free| free.local_addr());
    free.map_err(BenchError::at("find a free port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_one_has_a_cpu_to_itself_where_there_are_two() {
        for (cpus, measured, others) in
            [(1, None, None), (2, Some("1"), Some("0-0")), (8, Some("7"), Some("0-6"))]
        {
            let places = Places::of(cpus);
            assert_eq!(places.measured.as_deref(), measured);
            assert_eq!(places.others.as_deref(), others);
        }
    }
}
