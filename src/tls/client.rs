//! How a server is reached over TLS: which name it must prove, who may vouch for it, and what the guard shows.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use mcp_host::tls::system_roots;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{ServerName, TrustAnchor};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::authorities::{HTTP_1_1, authorities};
use super::pair::Pair;

/// The settings of connections to one server. Cheap to clone; equal where they were made of the same texts.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) identity: [u8; 32],
    pub(super) not_after: Option<u64>,
}

impl ClientTls {
    /// The server must prove to be `name` by a certificate that one of `trusted` has signed: PEM, or else the system's
    /// authorities. `shown` is the guard's own certificate.
    pub(crate) fn new(name: &str, trusted: Option<&str>, shown: Option<&Pair>) -> Result<ClientTls, String> {
        let digest = Sha256::new().chain_update(name).chain_update([0]);
        let digest = digest.chain_update(trusted.unwrap_or_default()).chain_update([0]);
        let mut digest = digest.chain_update(shown.map(|pair| pair.digest).unwrap_or_default());
        let name = server_name(name)?;
        let roots = match trusted {
            Some(text) => authorities(text)?,
            None => {
                let (roots, errors) = system_roots();
                if roots.is_empty() {
                    let none = "this machine has no certificate authorities".to_owned();
                    return Err(std::iter::once(none).chain(errors).collect::<Vec<_>>().join("; "));
                }
                // A reload that finds other authorities on the machine changes the settings.
                digest.update(digest_of(&roots));
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
        let not_after = shown.map(|pair| pair.facts.not_after);
        Ok(ClientTls { config: Arc::new(config), name, identity: digest.finalize().into(), not_after })
    }

    /// Equal where the settings are.
    pub(crate) fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// Until when the guard's own certificate is valid, in seconds since the epoch, if it shows one.
    pub(crate) fn not_after(&self) -> Option<u64> {
        self.not_after
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

/// Equal where the authorities are, whatever their order.
fn digest_of(roots: &RootCertStore) -> [u8; 32] {
    let one = |root: &TrustAnchor<'_>| -> [u8; 32] {
        Sha256::new()
            .chain_update(&root.subject)
            .chain_update([0])
            .chain_update(&root.subject_public_key_info)
            .finalize()
            .into()
    };
    let mut digests: Vec<_> = roots.roots.iter().map(one).collect();
    digests.sort_unstable();
    Sha256::digest(digests.concat()).into()
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
