//! The certificate that the client of a connection has proved to own, as far as the checks read it.
//!
//! The chain was verified at the handshake; here it only names a client. Must not know TLS, nor how a certificate is encoded.

use super::auth::{ClientId, Clients};

/// A verified certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// Its subject alternative names that are URIs (SPIFFE), in their order.
    pub uris: Vec<String>,
}

/// The client that a certificate names. No client is configured by certificate yet.
pub(super) fn find(_clients: &Clients, _shown: &ClientCertificate) -> Option<ClientId> {
    None
}
