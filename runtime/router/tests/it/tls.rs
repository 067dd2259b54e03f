//! HTTPS as clients see it: which certificate they get, and that every limit holds as by HTTP.

use crate::world::{Dyno, GET, OK, PATIENCE, TRIES, World, patient};
use lathe_router::{Keyring, LastFile, Pair, RouterConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn pair(name: &str) -> Arc<Pair> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Arc::new(Pair { chain: cert.pem(), key: signing_key.serialize_pem() })
}

/// Two names with certificates of their own, one of them unusable, and a default.
fn keyring() -> Keyring {
    let broken = Arc::new(Pair { chain: "no certificate".into(), key: "no key".into() });
    let named = [("one", pair("app.test")), ("two", broken)];
    let hosts = [("app.test", "one"), ("broken.test", "two"), ("lost.test", "three")];
    Keyring {
        default: Some(pair("default.test")),
        pairs: named.map(|(name, pair)| (name.to_owned(), pair)).into(),
        hosts: hosts.map(|(host, name)| (host.to_owned(), name.to_owned())).into(),
        ..Keyring::default()
    }
}

/// What of the keyring a client trusts.
#[derive(Clone, Copy)]
enum Trust<'a> {
    Own(&'a Keyring),
    Default(&'a Keyring),
}

impl Trust<'_> {
    fn connector(self, alpn: &[&str]) -> TlsConnector {
        let pair = match self {
            Self::Own(keyring) => &keyring.pairs["one"],
            Self::Default(keyring) => keyring.default.as_ref().unwrap(),
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config).into()
    }
}

async fn shake(
    world: &World,
    trust: Trust<'_>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.tls_address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    trust.connector(&["h2", "http/1.1"]).connect(name, stream).await
}

async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut rest = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap());
    String::from_utf8_lossy(&rest).into_owned()
}

/// A router that has the keyring.
async fn world(config: RouterConfig, dynos: &[&Dyno]) -> (World, Keyring) {
    let (world, keyring) = (World::new(config, dynos).await, keyring());
    publish(&world, &keyring).await;
    (world, keyring)
}

async fn publish(world: &World, keyring: &Keyring) {
    world.keyrings.send_replace(Arc::new(keyring.clone()));
    let applied = async {
        while shake(world, Trust::Default(keyring), "default.test").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, applied).await.unwrap();
}

/// fault H13: a name that nobody knows, a certificate that cannot be used, a client that names nothing.
#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let dyno = Dyno::saying("web.1", OK).await;
    let (world, keyring) = world(patient(), &[&dyno]).await;
    let (own, default) = (Trust::Own(&keyring), Trust::Default(&keyring));
    for (name, trust, fits) in [
        ("app.test", own, true),
        ("APP.test", own, true),
        ("app.test", default, false),
        ("default.test", default, true),
        ("unknown.test", own, false),
    ] {
        assert_eq!(shake(&world, trust, name).await.is_ok(), fits, "{name}");
    }
    // The names do not match; that it is the default certificate shows in what is wrong with it.
    for name in ["unknown.test", "broken.test", "lost.test", "127.0.0.1"] {
        let error = shake(&world, default, name).await.unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_request_by_tls_is_the_same_and_says_so() {
    let dyno = Dyno::echo("web.1").await;
    let config = RouterConfig { public_port: 80, public_tls_port: 443, ..patient() };
    let (mut world, keyring) = world(config, &[&dyno]).await;
    let mut stream = shake(&world, Trust::Own(&keyring), "app.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(GET.as_bytes()).await.unwrap();
    let seen = rest(&mut stream).await;
    assert!(seen.contains("x-forwarded-proto: https\r\nx-forwarded-port: 443\r\n"), "{seen}");
    let line = world.line().await;
    assert!(line.starts_with("at=info method=GET path=\"/\" host=app.test "), "{line}");
    assert!(line.ends_with(" protocol=https tls=true tls_version=tls1.3"), "{line}");

    let seen = world.exchange(GET).await;
    assert!(seen.contains("x-forwarded-proto: http\r\nx-forwarded-port: 80\r\n"), "{seen}");
    assert!(world.line().await.ends_with(" protocol=http"));
}

#[tokio::test]
async fn a_tunnel_goes_through_tls() {
    const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\n\r\n";
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let dyno = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send(SWITCH).await;
        let (mut reader, mut writer) = client.0.split();
        drop(tokio::io::copy(&mut reader, &mut writer).await);
    })
    .await;
    let (mut world, keyring) = world(patient(), &[&dyno]).await;
    let mut stream = shake(&world, Trust::Own(&keyring), "app.test").await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    let line = world.line().await;
    assert!(line.contains(" status=101 bytes=4 protocol=https tls=true"), "{line}");
}

#[tokio::test]
async fn handshakes_have_a_time_and_a_number() {
    let dyno = Dyno::saying("web.1", OK).await;
    let handshake_timeout = Duration::from_secs(2);
    let config = RouterConfig { max_connections: 2, handshake_timeout, ..patient() };
    let (world, keyring) = world(config, &[&dyno]).await;
    let mut idle = TcpStream::connect(world.tls_address).await.unwrap();
    let mut slow = TcpStream::connect(world.tls_address).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    // Both places are taken: others wait until those have lost theirs, by whichever door they come.
    // One that had a place and no time to say anything tries again.
    let shaken = async {
        loop {
            if let Ok(stream) = shake(&world, Trust::Own(&keyring), "app.test").await {
                break stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut stream = tokio::time::timeout(PATIENCE, shaken).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("ok"));
    assert!(world.exchange(GET).await.ends_with("ok"));
    for held in [&mut idle, &mut slow] {
        let mut nothing = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, held.read_to_end(&mut nothing)).await;
        assert!(ended.is_ok(), "it is cut off");
    }
}

/// fault H2: a client that by TLS says nothing, sends half a head, or does not read.
#[tokio::test]
async fn who_dawdles_by_tls_is_cut_off() {
    let endless = Dyno::new("web.1", |mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\n\r\n").await;
        for _ in 0..1000 {
            client.send(vec![b'x'; 1 << 16]).await;
        }
    })
    .await;
    let short = Duration::from_secs(1);
    let idle = RouterConfig { idle_timeout: short, ..patient() };
    let slow = RouterConfig { silent_timeout: short, header_timeout: short, ..patient() };
    let (slow, keyring) = world(slow, &[&endless]).await;
    for said in ["", "GET / HT"] {
        let mut stream = shake(&slow, Trust::Own(&keyring), "app.test").await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "", "{said:?}");
    }
    let (mut world, keyring) = world(idle, &[&endless]).await;
    for _ in 0..TRIES {
        let mut stream = shake(&world, Trust::Own(&keyring), "app.test").await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        let line = world.line().await;
        if line.contains("code=H28 ") {
            return;
        }
        assert!(line.contains("code=H15 "), "{line}");
    }
    panic!("the client was never to blame");
}

#[tokio::test]
async fn a_router_starts_alone_from_its_last_keyring() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.json");
    let kept = |file| RouterConfig { last_keyring: Some(file), ..patient() };
    let dyno = Dyno::saying("web.1", OK).await;
    let (mut first, keyring) = world(kept(LastFile::Kept(path.clone())), &[&dyno]).await;
    let saved = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saved).await.unwrap();
    first.stop();
    first.ended().await;
    let second = World::new(kept(LastFile::Given(path)), &[&dyno]).await;
    shake(&second, Trust::Own(&keyring), "app.test").await.unwrap();
    // And takes a newer one: those who are there keep what they have, the next get the new.
    let newer = Keyring { pairs: [("one".to_owned(), pair("app.test"))].into(), ..keyring.clone() };
    publish(&second, &Keyring { default: Some(pair("default.test")), ..newer.clone() }).await;
    assert!(shake(&second, Trust::Own(&keyring), "app.test").await.is_err());
    shake(&second, Trust::Own(&newer), "app.test").await.unwrap();
}

#[tokio::test]
async fn an_ending_router_finishes_what_it_has_by_tls() {
    let (slow, go_on) = Dyno::held("web.1").await;
    let (mut world, keyring) = world(patient(), &[&slow]).await;
    let mut stream = shake(&world, Trust::Own(&keyring), "app.test").await.unwrap();
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: app.test\r\n\r\n").await.unwrap();
    slow.called(1).await;
    world.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    go_on.send_replace(true);
    let answer = rest(&mut stream).await;
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer}");
    world.ended().await;
    assert!(TcpStream::connect(world.tls_address).await.is_err());
}

#[tokio::test]
async fn an_authority_is_answered_before_the_app_is_asked() {
    let dyno = Dyno::saying("web.1", OK).await;
    let (world, keyring) = world(patient(), &[&dyno]).await;
    let answers = [("tok".to_owned(), "tok.print".to_owned())].into();
    let challenges = [("app.test".to_owned(), answers)].into();
    // A default of its own shows when it applies.
    let keyring = Keyring { challenges, default: Some(pair("default.test")), ..keyring };
    publish(&world, &keyring).await;
    let ask = |path: &str| {
        let request = GET.replace("/ ", &format!("/.well-known/acme-challenge/{path} "));
        async { world.exchange(request).await }
    };
    assert!(ask("tok").await.ends_with("\r\n\r\ntok.print"));
    assert!(ask("other").await.ends_with("\r\n\r\nok"), "the app may have an authority of its own");
}
