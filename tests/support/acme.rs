//! A certificate authority that speaks ACME (RFC 8555), as far as a client needs it, and that has moods.
//!
//! It asks the router for the answer to each challenge, and checks no signatures.

use crate::{Authority, get};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What precedes the point of a P-256 key in a request (RFC 5480, 2).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Issues certificates from this day on until that, counted from today.
    Well { days: (i64, i64) },
    /// Closes every connection.
    Down,
    /// Says that it is asked too often.
    Limited,
    /// Believes no answer.
    Doubtful,
}

/// Goes on until the test process ends.
#[derive(Debug)]
pub struct Acme {
    desk: Arc<Desk>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Desk {
    authority: Authority,
    mood: Mutex<Mood>,
    /// Where the names lead to.
    router: Mutex<Option<SocketAddr>>,
    orders: Mutex<BTreeMap<usize, Order>>,
    url: String,
}

#[derive(Clone, Debug)]
struct Order {
    host: String,
    status: &'static str,
    certificate: String,
}

impl Acme {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Authority::new("ACME of the tests");
        let (chain, key) = authority.issue(&["localhost"], (-1, 30));
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let desk = Arc::new(Desk {
            authority,
            mood: Mutex::new(Mood::Down),
            router: Mutex::default(),
            orders: Mutex::default(),
            url: format!("https://localhost:{}", address.port()),
        });
        let (shared, tls) = (Arc::clone(&desk), Arc::new(tls));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (desk, tls) = (Arc::clone(&shared), Arc::clone(&tls));
                std::thread::spawn(move || desk.serve(stream, tls));
            }
        });
        Self { desk, address }
    }

    pub fn directory(&self) -> String {
        format!("{}/directory", self.desk.url)
    }

    /// Of its own and of everything that it issues, PEM.
    pub fn root(&self) -> String {
        self.desk.authority.pem()
    }

    /// Where it looks for the answers.
    pub fn asks(&self, router: SocketAddr) {
        *self.desk.router.lock().unwrap() = Some(router);
    }

    pub fn is(&self, mood: Mood) {
        *self.desk.mood.lock().unwrap() = mood;
    }

    /// How many it was asked for.
    pub fn orders(&self) -> usize {
        self.desk.orders.lock().unwrap().len()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Somebody's public key.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Desk {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream, tls: Arc<ServerConfig>) -> Option<()> {
        if self.mood() == Mood::Down {
            return None;
        }
        let stream = StreamOwned::new(ServerConnection::new(tls).ok()?, stream);
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        let (status, location, answer) = self.answer(&path, &body);
        let answer = match &answer {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let answer = if head.starts_with("HEAD ") { "" } else { &answer };
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nReplay-Nonce: bm9uY2U\r\n\
             Location: {}{location}\r\n\r\n{answer}",
            answer.len(),
            self.url
        );
        let stream = stream.get_mut();
        stream.write_all(text.as_bytes()).ok()?;
        stream.flush().ok()?;
        // As real ones do it keeps the connection: the client has to know when it has everything.
        drop(stream.read_to_end(&mut Vec::new()));
        Some(())
    }

    /// Status, path of what was made, body.
    fn answer(&self, path: &str, body: &[u8]) -> (u16, String, Value) {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(asked["payload"].as_str().unwrap_or_default());
        let payload: Value = serde_json::from_slice(&payload.unwrap()).unwrap_or_default();
        let (what, number) = path[1..].split_once('/').unwrap_or((&path[1..], "0"));
        let number = number.parse().unwrap_or(0);
        match what {
            "directory" => (200, String::new(), self.directory()),
            "nonce" => (200, String::new(), json!("")),
            "account" => (201, "/account/1".into(), json!({"status": "valid"})),
            "order" if number == 0 => self.order(&payload),
            "order" => (200, path.into(), self.show(number)),
            "authorization" => (200, path.into(), self.authorization(number)),
            "challenge" => {
                self.look(number);
                (200, path.into(), self.authorization(number)["challenges"][0].clone())
            }
            "finalize" => {
                self.issue(number, payload["csr"].as_str().unwrap());
                (200, format!("/order/{number}"), self.show(number))
            }
            "certificate" => {
                (200, path.into(), json!(self.orders.lock().unwrap()[&number].certificate))
            }
            _ => (404, path.into(), json!({"type": "urn:ietf:params:acme:error:malformed"})),
        }
    }

    fn directory(&self) -> Value {
        let url = |path: &str| format!("{}/{path}", self.url);
        json!({
            "newNonce": url("nonce"),
            "newAccount": url("account"),
            "newOrder": url("order"),
            "revokeCert": url("revoke"),
            "keyChange": url("key"),
        })
    }

    fn order(&self, payload: &Value) -> (u16, String, Value) {
        let host = payload["identifiers"][0]["value"].as_str().unwrap().to_owned();
        let number = {
            let mut orders = self.orders.lock().unwrap();
            let number = orders.len() + 1;
            orders.insert(number, Order { host, status: "pending", certificate: String::new() });
            number
        };
        if self.mood() == Mood::Limited {
            let kind = "urn:ietf:params:acme:error:rateLimited";
            let detail = "too many certificates already issued";
            return (429, String::new(), json!({"type": kind, "detail": detail, "status": 429}));
        }
        (201, format!("/order/{number}"), self.show(number))
    }

    fn show(&self, number: usize) -> Value {
        let order = self.orders.lock().unwrap()[&number].clone();
        let url = |what: &str| format!("{}/{what}/{number}", self.url);
        let mut shown = json!({
            "status": order.status,
            "identifiers": [{"type": "dns", "value": order.host}],
            "authorizations": [url("authorization")],
            "finalize": url("finalize"),
        });
        if order.status == "valid" {
            shown["certificate"] = json!(url("certificate"));
        }
        shown
    }

    fn authorization(&self, number: usize) -> Value {
        let order = self.orders.lock().unwrap()[&number].clone();
        let status = if order.status == "ready" { "valid" } else { order.status };
        let mut challenge = json!({
            "type": "http-01",
            "url": format!("{}/challenge/{number}", self.url),
            "token": token(number),
            "status": status,
        });
        if status == "invalid" {
            let kind = "urn:ietf:params:acme:error:unauthorized";
            challenge["error"] = json!({"type": kind, "detail": "the answer was another"});
        }
        json!({
            "status": status,
            "identifier": {"type": "dns", "value": order.host},
            "challenges": [challenge],
        })
    }

    /// Asks the router for the answer to the challenge.
    fn look(&self, number: usize) {
        let router = self.router.lock().unwrap().unwrap();
        let host = self.orders.lock().unwrap()[&number].host.clone();
        let answer =
            get(router, &host, &format!("/.well-known/acme-challenge/{}", token(number))).body;
        // A token, and the thumbprint of a key: SHA-256 in base64url (RFC 8555, 8.1).
        let print = answer.strip_prefix(&format!("{}.", token(number)));
        let is_answer = print.is_some_and(|print| print.len() == 43);
        let believed = is_answer && self.mood() != Mood::Doubtful;
        let status = if believed { "ready" } else { "invalid" };
        self.orders.lock().unwrap().get_mut(&number).unwrap().status = status;
    }

    fn issue(&self, number: usize, request: &str) {
        let Mood::Well { days } = self.mood() else { return };
        let request = BASE64_URL_SAFE_NO_PAD.decode(request).unwrap();
        let at = request.windows(P256.len()).position(|window| window == P256).unwrap();
        let point = Point(request[at + P256.len()..][..POINT_BYTES].to_vec());
        let mut orders = self.orders.lock().unwrap();
        let order = orders.get_mut(&number).unwrap();
        assert_eq!(order.status, "ready", "nobody has proved {}", order.host);
        order.certificate = self.authority.sign(&[&order.host], days, &point);
        order.status = "valid";
    }
}

fn token(number: usize) -> String {
    format!("token-{number}")
}
