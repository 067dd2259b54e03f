//! Drains over TLS: syslog and HTTPS, with certificates that are trusted and that are not.

use crate::drains::{app, drain, policy, read_frames, set, settled};
use crate::support::{ALL, line, next, start};
use lathe_logs::DrainCounts;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// A certificate for `localhost`, as an acceptor and as a file of authorities.
fn certificate(dir: &tempfile::TempDir) -> (tokio_rustls::TlsAcceptor, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
        )
        .unwrap();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), roots)
}

#[tokio::test]
async fn frames_are_posted_over_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    let (acceptor, roots) = certificate(&dir);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/in", listener.local_addr().unwrap().port());
    let mut trusting = policy();
    trusting.drain.roots = roots;
    let running = start(None, trusting);
    set(&running, 1, vec![drain("one", url)]).await;
    for text in ["first", "second"] {
        running.lines.send(line(&app(), text));
        // Each answered by hanging up: the next comes over a connection of its own.
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let request = read_frames(&mut stream, &format!("{text}\n")).await;
        assert!(request.starts_with("POST /in HTTP/1.1\r\n"), "{request}");
        stream.write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        settled(&running, "one", 1).await;
    }
    let want = DrainCounts { taken: 2, delivered: 2, dropped: 0, pending: 0 };
    assert_eq!(settled(&running, "one", 2).await, want);
    running.stop().await;
}

#[tokio::test]
async fn tls_is_checked_against_the_given_authorities() {
    let dir = tempfile::tempdir().unwrap();
    let (acceptor, roots) = certificate(&dir);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("syslog+tls://localhost:{}", listener.local_addr().unwrap().port());

    let mut trusting = policy();
    trusting.drain.roots = roots;
    let running = start(None, trusting);
    set(&running, 1, vec![drain("one", url.clone())]).await;
    running.lines.send(line(&app(), "over tls"));
    let (stream, _) = listener.accept().await.unwrap();
    let stream = acceptor.accept(stream).await.unwrap();
    assert!(read_frames(stream, "over tls\n").await.starts_with("69 <190>1 "));
    running.stop().await;

    let mut distrusting = policy();
    (_, distrusting.drain.roots) = certificate(&dir);
    let running = start(None, distrusting);
    set(&running, 1, vec![drain("one", url.clone())]).await;
    running.lines.send(line(&app(), "never seen"));
    // A failure that is nobody's affair takes no word from the one that is.
    drop(listener.accept().await.unwrap());
    let (stream, _) = listener.accept().await.unwrap();
    assert!(acceptor.accept(stream).await.is_err());
    let mut tail = running.hub.tail(&app(), ALL, true).unwrap();
    assert_eq!(next(&mut tail).await, "never seen");
    let told = next(&mut tail).await;
    assert!(told.starts_with("Error L14 (certificate validation): error=\""), "{told}");
    assert!(told.ends_with(&format!(" uri=\"{url}/\"")), "{told}");
    drop(listener);
    running.stop().await;
}
