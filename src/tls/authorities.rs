//! What both directions have in common: authorities from PEM, and the protocol behind a handshake.

use tokio_rustls::rustls::RootCertStore;

use super::pair::certificates;

/// The only protocol behind the handshake.
pub(super) const HTTP_1_1: &[u8] = b"http/1.1";

/// The authorities of a text in PEM.
pub(super) fn authorities(text: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text)? {
        roots.add(certificate).map_err(|_| "holds a certificate that cannot be an authority".to_owned())?;
    }
    Ok(roots)
}
