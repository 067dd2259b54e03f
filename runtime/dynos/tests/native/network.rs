//! Who can talk to whom.

use super::world::{PATIENCE, World, no_slugs, wait_for};
use lathe_dynos::containers::Containers;
use lathe_dynos::native::{NativeConfig, NativeEngine};
use lathe_dynos::spec::DynoId;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::time::Duration;

const SERVE: &str = "exec python3 -c \"import socket
s = socket.create_server(('0.0.0.0', 5000))
while True:
    s.accept()[0].sendall(b'hello')\"";

/// Tries to connect from inside a dyno; the answer is `open` or the error.
async fn connect(world: &World, address: Ipv4Addr, port: u16) -> String {
    let command = format!(
        "exec python3 -c \"import socket
try:
    socket.create_connection(('{address}', {port}), 1)
    print('open', end='')
except OSError as error:
    print(error, end='')\""
    );
    world.run(&command).await.0
}

/// Where the dyno listens, once it does.
async fn ports_of(world: &World, id: DynoId) -> Vec<u16> {
    let listens = async {
        loop {
            let ports = world.engine.listening(id).await.unwrap();
            if !ports.is_empty() {
                return ports;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listens).await.unwrap()
}

/// The address by which the host reaches the world: a dyno knows it, too.
fn own_address() -> Ipv4Addr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.77:9").unwrap();
    match socket.local_addr().unwrap().ip() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!(),
    }
}

#[tokio::test]
async fn the_host_reaches_the_dyno_and_sees_its_port() {
    let world = World::new().await;
    let (id, started) = world.start(SERVE).await;
    assert_eq!(ports_of(&world, id).await, [5000]);
    let mut text = String::new();
    let stream = TcpStream::connect((started.address, 5000));
    stream.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    world.close().await;
}

#[tokio::test]
async fn engines_with_the_same_block_have_no_address_in_common() {
    let one = World::new().await;
    let dir = one.dir.path().join("other");
    let instance = format!("{}x", &one.config.instance[..5]);
    let config = NativeConfig { dir, instance, ..one.config.clone() };
    let other = NativeEngine::open(config, no_slugs()).await.unwrap();
    let mut addresses = BTreeSet::new();
    for _ in 0..8 {
        let (id, mine) = one.start(SERVE).await;
        ports_of(&one, id).await;
        let theirs = other.start(one.start_of("sleep 60")).await.unwrap();
        assert!(addresses.insert(mine.address), "{} twice", mine.address);
        assert!(addresses.insert(theirs.address), "{} twice", theirs.address);
        assert!(TcpStream::connect((mine.address, 5000)).is_ok(), "it leads to its dyno");
    }
    other.close(true).await.unwrap();
    one.close().await;
}

#[tokio::test]
async fn a_dyno_reaches_no_other_and_nothing_of_the_host() {
    let world = World::new().await;
    let (id, other) = world.start(SERVE).await;
    ports_of(&world, id).await;
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(TcpStream::connect((own_address(), port)).is_ok(), "the host's port is open");
    assert_eq!(connect(&world, other.address, 5000).await, "timed out");
    let gateway = Ipv4Addr::from_bits(other.address.to_bits() & !0xff | 1);
    for address in [own_address(), gateway, Ipv4Addr::new(169, 254, 169, 254)] {
        assert_eq!(connect(&world, address, port).await, "timed out", "{address}");
    }
    assert_eq!(connect(&world, Ipv4Addr::LOCALHOST, port).await, "[Errno 111] Connection refused");
    world.close().await;
}

/// The world, played by a network namespace behind a cable of its own. Its server says who calls.
struct Outside {
    name: String,
    /// Its own address; the host's on that cable ends in 1.
    address: Ipv4Addr,
    server: Child,
}

impl Outside {
    /// Addresses for tests of networks (RFC 2544); two runs of these tests have different ones.
    fn new(name: String) -> Self {
        let third = (std::process::id() % 251) as u8;
        let (host, address) = (Ipv4Addr::new(198, 18, third, 1), Ipv4Addr::new(198, 18, third, 2));
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
        ip(&format!("addr add {host}/24 dev {name}"));
        ip(&format!("link set {name} up"));
        ip(&format!("-n {name} addr add {address}/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        let serve = "import socket\ns = socket.create_server(('0.0.0.0', 80))\nwhile True:\n    \
                     c, a = s.accept()\n    c.sendall(a[0].encode())\n    c.close()";
        let mut server = Command::new("nsenter");
        server.arg(format!("--net=/run/netns/{name}")).args(["/usr/bin/python3", "-c", serve]);
        Self { server: server.spawn().unwrap(), name, address }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop((self.server.kill(), self.server.wait()));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

#[tokio::test]
async fn a_dyno_reaches_the_world_through_the_hosts_address() {
    let world = World::new().await;
    let outside = Outside::new(format!("w{}", world.config.instance));
    let address = outside.address;
    wait_for("the world's server", || TcpStream::connect((address, 80)).is_ok()).await;
    let seen = world
        .run(&format!(
            "exec python3 -c \"import socket
s = socket.create_connection(('{address}', 80), 60)
print(s.recv(99).decode(), end='')\""
        ))
        .await;
    let [first, second, third, _] = address.octets();
    assert_eq!(seen.0, Ipv4Addr::new(first, second, third, 1).to_string());
    world.close().await;
}
