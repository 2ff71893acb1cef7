//! How the program's own commands reach the guard of the same configuration: it must show the configured certificate.
//!
//! The connection goes to an address of this machine, which no authority vouches for. A certificate that was renewed on disk and
//! is not yet reloaded, or the other way round, is accepted where the system's authorities vouch for the same name.

use std::sync::Arc;

use mcp_host::tls::system_roots;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::authorities::HTTP_1_1;
use super::client::{ClientTls, server_name};

/// Settings for a listener that shows the first certificate of `chain`.
pub(super) fn client(
    chain: &[CertificateDer<'static>],
    host: Option<&str>,
    identity: [u8; 32],
) -> Result<ClientTls, String> {
    let own = chain.first().ok_or("there is no certificate")?.clone();
    let name = server_name(host.filter(|host| !host.starts_with('*')).unwrap_or("localhost"))?;
    let provider = Arc::new(ring::default_provider());
    let (mut roots, _errors) = system_roots();
    // What the file itself holds above the certificate vouches for a renewed one.
    roots.add_parsable_certificates(chain.iter().skip(1).cloned());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = OwnListener { own, authorities: verifier.ok(), algorithms };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(ClientTls { config: Arc::new(config), name, identity, not_after: None })
}

#[derive(Debug)]
struct OwnListener {
    own: CertificateDer<'static>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OwnListener {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.authorities {
            _ if *shown == self.own => Ok(ServerCertVerified::assertion()),
            Some(authorities) => authorities.verify_server_cert(shown, above, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
