//! What the code of a push can reach over the network, while it is built and when it runs: the
//! world, and nothing of this machine.

use lathe_tests::{Checkout, OneOff, Platform, golden, host, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/reach.tsv");
const WEB: &str = "web: python3 -m http.server $PORT\n";
const BOUND: Duration = Duration::from_mins(1);
const ONE_TRY: Duration = Duration::from_secs(2);
/// The platform's end of every dyno's cable, by the hardware address that all of them have.
const CABLE: &str = "fe80::ff:fe00:1%eth0";
/// So that a machine without IPv6 has the same lines: an address of the documentation, nobody's.
const NOBODY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const END: &str = "end";

/// Name, kind, address, port. Several targets of one name make one line of the table.
type Target = (String, &'static str, String, u16);

/// What somebody on this machine might be listening with, at every address.
struct Ears {
    tcp: TcpListener,
    udp: UdpSocket,
    udp6: UdpSocket,
    hidden: String,
    _unix: UnixListener,
}

impl Ears {
    fn open() -> Self {
        let hidden = format!("lathe-reach-{}", std::process::id());
        let address = UnixAddress::from_abstract_name(&hidden).unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Without IPv6 on this machine there is nothing of it to be reached either.
        let (any, any6) = ("0.0.0.0:0".parse().unwrap(), "[::]:0".parse().unwrap());
        let both: [SocketAddr; 2] = [any6, any];
        let (tcp, udp6) = (TcpListener::bind(&both[..]), UdpSocket::bind(&both[..]));
        let (tcp, udp6) = (tcp.unwrap(), udp6.unwrap());
        for socket in [&udp, &udp6] {
            socket.set_read_timeout(Some(BOUND)).unwrap();
        }
        Self { tcp, udp, udp6, hidden, _unix: UnixListener::bind_addr(&address).unwrap() }
    }

    /// The names of all datagrams that have come; one of our own comes last.
    fn heard(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for socket in [&self.udp, &self.udp6] {
            let port = socket.local_addr().unwrap().port();
            socket.set_broadcast(true).unwrap();
            let own = UdpSocket::bind("127.0.0.1:0").unwrap();
            own.send_to(END.as_bytes(), (Ipv4Addr::LOCALHOST, port)).unwrap();
            let mut text = [0; 256];
            loop {
                let bytes = socket.recv(&mut text).unwrap();
                let name = String::from_utf8_lossy(&text[..bytes]).into_owned();
                if name == END {
                    break;
                }
                names.insert(name);
            }
        }
        names
    }

    /// Everything that must not be reached.
    fn targets(&self, platform: &Platform) -> Vec<Target> {
        let mut targets = Vec::new();
        let mut add = |name: &str, kind, address: &str, port| {
            targets.push((name.to_owned(), kind, address.to_owned(), port));
        };
        let (udp, udp6) = (self.udp.local_addr().unwrap(), self.udp6.local_addr().unwrap());
        for (app, name) in [("other", "dyno of another app"), ("spy", "dyno of the same app")] {
            let (address, port) = web_of(platform, app);
            add(name, "tcp", &address.to_string(), port);
        }
        let own = self.tcp.local_addr().unwrap().port();
        let ports = ["router", "api_tls", "api_plain", "rendezvous"]
            .map(|name| (name, platform.address(name).port()));
        for (name, port) in ports.into_iter().chain([("any program", own)]) {
            add(&format!("{name} on the dyno's own loopback"), "tcp", "127.0.0.1", port);
            for address in addresses() {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                let name = format!("{name} at every {family} address of the host");
                add(&name, "tcp", &address.to_string(), port);
            }
            add(&format!("{name} at the cable's other end, IPv6"), "tcp", CABLE, port);
        }
        add("metadata service", "tcp", "169.254.169.254", 80);
        add("metadata service of containers", "tcp", "169.254.170.2", 80);
        add("metadata service, IPv6", "tcp", "fd00:ec2::254", 80);
        for socket in ["docker.sock", "containerd/containerd.sock", "dbus/system_bus_socket"] {
            add(&format!("socket {socket}"), "unix", &format!("/run/{socket}"), 0);
        }
        add("socket without a file", "unix", &format!("@{}", self.hidden), 0);
        for address in addresses().into_iter().filter(IpAddr::is_ipv4) {
            add("datagram to every address of the host", "udp", &address.to_string(), udp.port());
        }
        let (dyno, _) = web_of(platform, "other");
        let [a, b, c, _] = dyno.octets();
        for (name, address) in [
            ("datagram to everybody", Ipv4Addr::BROADCAST),
            ("datagram to every dyno", Ipv4Addr::new(a, b, c, 255)),
            ("datagram to all hosts (multicast)", Ipv4Addr::new(224, 0, 0, 1)),
        ] {
            add(name, "udp", &address.to_string(), udp.port());
        }
        add("datagram to all hosts (IPv6)", "udp", "ff02::1%eth0", udp6.port());
        targets
    }
}

fn web_of(platform: &Platform, app: &str) -> (Ipv4Addr, u16) {
    let (_, show) = platform.api("GET", &format!("/apps/{app}"), &Value::Null);
    let dynos = platform.dynos();
    let id = show["id"].as_str().unwrap();
    // Of two that serve during a change of release, the one in `ps`.
    let (_, _, serving) = platform.ps(app).into_iter().find(|(name, ..)| name == "web.1").unwrap();
    let of_app = || dynos.iter().filter(|dyno| dyno.app == id && dyno.name == "web.1");
    let dyno = of_app().find(|dyno| dyno.id == serving).or_else(|| of_app().next()).unwrap();
    (dyno.address, dyno.port.unwrap())
}

/// Every address of this machine that is not the loopback's or one cable's own.
fn addresses() -> BTreeSet<IpAddr> {
    let output = Command::new("ip").args(["-json", "address"]).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    let links = links.as_array().unwrap().iter();
    let addresses =
        links.flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
    let global = addresses.filter(|address| address["scope"] == "global");
    let own = global.filter_map(|address| address["local"].as_str()?.parse().ok());
    own.chain([NOBODY6.into()]).collect()
}

/// What a probe told, a line a name. Whether a machine has IPv6 is no difference worth telling; an
/// address that the machine has lost meanwhile is somewhere in the world.
fn table(
    said: &str,
    heard: &BTreeSet<String>,
    before: &BTreeSet<IpAddr>,
) -> BTreeMap<String, String> {
    let now = addresses();
    let lost = |address: &str| {
        address.parse().is_ok_and(|address| before.contains(&address) && !now.contains(&address))
    };
    let mut outcomes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in said.lines().filter_map(|line| Some(line.split_once("@@")?.1)) {
        let mut fields = line.trim_end().splitn(3, '\t');
        let mut field = || fields.next().unwrap();
        let (name, address, outcome) = (field(), field(), field());
        if lost(address) {
            continue;
        }
        let outcome = match outcome {
            _ if heard.contains(name) => "HEARD",
            "sent" => "not heard",
            _ if name.starts_with("datagram") => "not heard",
            "ENETUNREACH" | "EHOSTUNREACH" | "EADDRNOTAVAIL" | "EAFNOSUPPORT" => "no answer",
            other => other,
        };
        outcomes.entry(name.to_owned()).or_default().insert(outcome.to_owned());
    }
    let join = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join(", ");
    outcomes.into_iter().map(|(name, all)| (name, join(all))).collect()
}

/// That somebody does listen: from the machine itself all of it can be reached. Another platform may
/// go meanwhile, its dynos' gateway with it, and the next one come to the same address.
fn check_from_here(targets: &[Target], ears: &Ears) {
    let mut reached = 0;
    for (name, kind, address, port) in targets {
        let Ok(address) = address.parse::<IpAddr>() else { continue };
        if address == NOBODY6 {
            continue;
        }
        let is_ours = name.starts_with("dyno of") || address == IpAddr::V6(Ipv6Addr::LOCALHOST);
        let is_ours = is_ours || (name.starts_with("any program") && !address.is_loopback());
        let is_ours = is_ours || (name.contains("IPv4") && !name.starts_with("api_plain"));
        if *kind == "tcp" && is_ours {
            let at = SocketAddr::new(address, *port);
            let is_gone = || !name.starts_with("dyno of") && !addresses().contains(&address);
            until(&format!("{name} at {address} is reached"), BOUND, || {
                let is_reached = TcpStream::connect_timeout(&at, ONE_TRY).is_ok();
                (is_reached || is_gone()).then_some(())
            });
            reached += 1;
        }
        if *kind == "udp" && name.contains("every address") {
            let own = UdpSocket::bind("0.0.0.0:0").unwrap();
            until(&format!("{name} at {address} is heard"), BOUND, || {
                let is_sent = own.send_to(name.as_bytes(), (address, *port)).is_ok();
                let is_heard = is_sent && ears.heard().contains(name);
                (is_heard || !addresses().contains(&address)).then_some(())
            });
        }
    }
    assert!(reached >= 8, "only {reached} targets could have been reached");
}

fn listing(targets: &[Target]) -> String {
    json!(targets).to_string()
}

/// fault C15, R20.
#[test]
fn a_push_reaches_nothing_of_the_machine() {
    host::needs(&[host::IP]);
    let everywhere = ["router", "api_tls", "rendezvous"].map(|l| format!("listen.{l}=0.0.0.0:0"));
    let platform = Platform::start_with(&everywhere.each_ref().map(String::as_str));
    for app in ["other", "spy"] {
        assert_eq!(platform.api("POST", "/apps", &json!({"name": app})).0, 201);
    }
    Checkout::new(&platform, "other", &[("Procfile", WEB)]).push().accepted();
    let files = [
        ("Procfile", WEB),
        ("bin/detect", "#!/bin/sh\necho Spy\n"),
        ("bin/compile", "#!/bin/sh\ncd \"$1\" && test ! -e targets.json || python3 reach.py\n"),
        ("reach.py", include_str!("fixtures/reach.py")),
    ];
    let checkout = Checkout::new(&platform, "spy", &files);
    checkout.push().accepted();

    let ears = Ears::open();
    let before = addresses();
    let targets = ears.targets(&platform);
    check_from_here(&targets, &ears);
    checkout.commit(&[("targets.json", &listing(&targets))]);
    let build = table(&checkout.push().accepted().transcript, &ears.heard(), &before);

    let before = addresses();
    let env = json!({"TARGETS": listing(&ears.targets(&platform))});
    let env = json!({"env": env, "force_no_tty": true});
    let one_off = OneOff::ask(&platform, "spy", "python3 reach.py", &env);
    let run = table(&one_off.attach(&platform).end(), &ears.heard(), &before);

    let mut both = String::new();
    for name in run.keys().chain(build.keys()).collect::<BTreeSet<_>>() {
        let outcome = |table: &BTreeMap<_, String>| table.get(name).cloned().unwrap_or_default();
        writeln!(both, "{name}\t{}\t{}", outcome(&run), outcome(&build)).unwrap();
    }
    assert!(!both.contains("REACHED") && !both.contains("HEARD"), "{both}");
    golden::check(Path::new(GOLDEN), &both);
}
