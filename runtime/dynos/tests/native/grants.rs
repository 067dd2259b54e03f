//! What only dynos of the platform's own app get.

use super::adoption::open;
use super::sockets::{door, shut};
use super::world::World;
use lathe_dynos::containers::{Containers, Start, StartError};
use lathe_dynos::native::{Grants, let_go};
use lathe_dynos::spec::SYSTEM_APP;
use lathe_logs::AppId;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

const HOST: Grants = Grants { host_network: true };

/// A dyno of the platform's own.
fn own(world: &World, command: &str) -> Start {
    let mut start = world.start_of(command);
    start.spec.app = AppId::new(SYSTEM_APP);
    start
}

#[tokio::test]
async fn an_app_is_granted_nothing() {
    let world = World::new().await;
    let refused = world.engine.start_with(world.start_of("true"), HOST).await;
    let Err(StartError::Step { step, source }) = refused else { panic!("{refused:?}") };
    assert_eq!(source.raw_os_error(), Some(libc::EPERM), "{step}");
    assert!(world.engine.list().await.unwrap().is_empty());
    world.close().await;
}

/// The network of the host, and still nothing else of it: no power, no other root.
#[tokio::test]
async fn a_system_dyno_has_the_hosts_network_and_nothing_more() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let knock = format!(
        "exec python3 -c \"import socket
socket.create_connection(('127.0.0.1', {port}), 60).sendall(b'knock')
print([line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')], end='')\""
    );
    let start = own(&world, &knock);
    let id = start.id;
    world.engine.start_with(start, HOST).await.unwrap();
    assert_eq!(world.output(id).await, "['0000000000000000']");
    world.end(id).await;
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "knock");

    let start = own(&world, &knock);
    let id = start.id;
    world.engine.start(start).await.unwrap();
    assert!(world.output(id).await.contains("ConnectionRefused"), "not asked for, not given");
    world.end(id).await;
    world.close().await;
}

/// A socket it was given is its own to accept from, can be had back, and is closed with it.
#[tokio::test]
async fn a_listening_socket_goes_in_and_can_be_had_back() {
    let world = World::new().await;
    let listener = door();
    let address = listener.local_addr().unwrap();
    let greet = "exec python3 -c \"import socket
door = socket.socket(fileno=3)
door.accept()[0].sendall(b'hello')
print('greeted', flush=True)
door.accept()\"";
    let mut start = own(&world, greet);
    let id = start.id;
    start.extra_fds.push(listener.into());
    world.engine.start_with(start, HOST).await.unwrap();
    let mut heard = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    world.hear(id, "greeted", 1).await;

    let again = TcpListener::from(world.engine.listener_of(id, 3).unwrap());
    assert_eq!(again.local_addr().unwrap(), address);
    assert!(world.engine.listener_of(id, 1).is_err(), "no listening socket");
    drop(again);

    // When no engine is to come the dynos that served it are not to stay either.
    let World { engine, config, stack, dir, .. } = world;
    drop(engine);
    let_go(&config.dir).await.unwrap();
    let world = World::of(open(&config).await, config, stack, dir);
    assert_eq!(world.end(id).await.status, 128 + 15);
    shut(address).await;
    world.close().await;
}
