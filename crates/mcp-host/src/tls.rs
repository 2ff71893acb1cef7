//! TLS settings of clients: ring, the system's certificate authorities, certificates always verified.
//!
//! Must not know which servers are contacted.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// Reads the system's authorities (or those of `SSL_CERT_FILE`), and the errors on the way. They are more than a hundred
/// certificates: the caller keeps the result.
pub fn system_roots() -> (RootCertStore, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    (roots, found.errors.iter().map(ToString::to_string).collect())
}

/// Settings that trust these authorities.
pub fn client_config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
