//! A client of TLS as far from ours as it allows: blocking sockets and no runtime.

use crate::Platform;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;

pub type Secured = StreamOwned<ClientConnection, TcpStream>;

impl Platform {
    /// A connection to one of its addresses for `host`, verified against its own authority alone.
    pub fn secured(&self, address: &str, host: &str) -> Secured {
        let mut roots = RootCertStore::empty();
        let authority = std::fs::read(self.data().join("tls/ca.pem")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, TcpStream::connect(self.address(address)).unwrap())
    }
}
