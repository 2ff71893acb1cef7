//! How a server is reached over TLS: which name it must prove, who may vouch for it, and what the guard shows.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use mcp_host::tls::system_roots;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use super::authorities::{HTTP_1_1, authorities};
use super::pair::Pair;

/// The settings of connections to one server. Cheap to clone; equal where they were made of the same texts.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) identity: [u8; 32],
}

impl ClientTls {
    /// The server must prove to be `name` by a certificate that one of `trusted` has signed: PEM, or else the system's
    /// authorities. `shown` is the guard's own certificate.
    pub(crate) fn new(name: &str, trusted: Option<&str>, shown: Option<&Pair>) -> Result<ClientTls, String> {
        let digest = Sha256::new().chain_update(name).chain_update([0]);
        let digest = digest.chain_update(trusted.unwrap_or_default()).chain_update([0]);
        let identity = digest.chain_update(shown.map(|pair| pair.digest).unwrap_or_default()).finalize();
        let name = server_name(name)?;
        let roots = match trusted {
            Some(text) => authorities(text)?,
            None => {
                let (roots, errors) = system_roots();
                if roots.is_empty() {
                    let none = "this machine has no certificate authorities".to_owned();
                    return Err(std::iter::once(none).chain(errors).collect::<Vec<_>>().join("; "));
                }
                roots
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified.clone())))
            }
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(ClientTls { config: Arc::new(config), name, identity: identity.into() })
    }

    /// Takes part in handshakes.
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.clone())
    }

    /// Performs a handshake over a connection that blocks, and nothing else.
    pub(crate) fn handshake(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut session =
            ClientConnection::new(self.config.clone(), self.name()).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(())
    }

    /// The name that the server must prove.
    pub(crate) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

/// A DNS name or an address without brackets.
pub(super) fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let invalid = |_| "is no name that a certificate could have".to_owned();
    ServerName::try_from(text.to_owned()).map_err(invalid)
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        self.identity == other.identity
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({})", self.name.to_str())
    }
}
