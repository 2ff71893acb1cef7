//! What the guard shows to its clients: pairs chosen by name, versions, and whose client certificates it verifies.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::authorities::{HTTP_1_1, authorities};
use super::client::ClientTls;
use super::own;
use super::pair::Pair;

/// The settings of a listener. Cheap to clone; equal where they were made of the same texts.
#[derive(Clone)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    default: Arc<CertifiedKey>,
    host: Option<String>,
    identity: [u8; 32],
    not_after: u64,
    clients: Option<ClientRules>,
    /// The digests of all pairs.
    pairs: Arc<[[u8; 32]]>,
}

/// Whose client certificates are taken.
#[derive(Clone)]
struct ClientRules {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Of the text of the authorities.
    digest: [u8; 32],
    auth: ClientAuth,
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// One that is shown is verified.
    Optional,
    Required,
}

impl ServerTls {
    /// `more` are chosen by the names of their certificates; `default` serves everything else. `clients` is the text of the
    /// authorities that sign clients' certificates.
    pub(crate) fn new(
        default: &Pair,
        more: &[Pair],
        clients: Option<(&str, ClientAuth)>,
    ) -> Result<ServerTls, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?;
        let mut digest = Sha256::new().chain_update(default.digest);
        for pair in more {
            digest.update(pair.digest);
        }
        let clients = clients.map(|(text, auth)| ClientRules::new(text, auth, provider)).transpose()?;
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(rules) => {
                digest.update([1 + u8::from(rules.auth == ClientAuth::Required)]);
                digest.update(rules.digest);
                builder.with_client_cert_verifier(rules.verifier.clone())
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(default, more)));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if clients.is_some() {
            // A resumed session would take over the client's certificate without verifying it again.
            config.send_tls13_tickets = 0;
        } else {
            config.send_tls13_tickets = 1;
            config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        }
        let not_after = more.iter().map(|pair| pair.facts.not_after).min();
        Ok(ServerTls {
            config: Arc::new(config),
            default: default.certified.clone(),
            host: default.facts.hosts.first().cloned(),
            identity: digest.finalize().into(),
            not_after: default.facts.not_after.min(not_after.unwrap_or(u64::MAX)),
            clients,
            pairs: std::iter::once(default).chain(more).map(|pair| pair.digest).collect(),
        })
    }

    /// Whether a client without a verified certificate is refused.
    pub(crate) fn requires_certificate(&self) -> bool {
        self.clients.as_ref().is_some_and(|rules| rules.auth == ClientAuth::Required)
    }

    /// Which authorities sign clients' certificates: equal where the texts are.
    pub(crate) fn client_authorities(&self) -> Option<[u8; 32]> {
        self.clients.as_ref().map(|rules| rules.digest)
    }

    /// Whether these settings take a client's chain at this time, in seconds since the epoch.
    pub(crate) fn verifies(&self, chain: &[CertificateDer<'_>], now: u64) -> bool {
        let (Some(rules), Some((own, above))) = (&self.clients, chain.split_first()) else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        rules.verifier.verify_client_cert(own, above, now).is_ok()
    }

    /// The digests of the pairs that are shown.
    pub(crate) fn pairs(&self) -> &Arc<[[u8; 32]]> {
        &self.pairs
    }

    /// Takes part in handshakes.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// When the first certificate expires, in seconds since the epoch.
    pub(crate) fn not_after(&self) -> u64 {
        self.not_after
    }

    /// How the program's own commands reach this listener.
    pub(crate) fn own_client(&self) -> Result<ClientTls, String> {
        own::client(&self.default.cert, self.host.as_deref(), self.identity)
    }
}

impl ClientRules {
    fn new(text: &str, auth: ClientAuth, provider: Arc<CryptoProvider>) -> Result<ClientRules, String> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(text)?), provider);
        let verifier = match auth {
            ClientAuth::Optional => verifier.allow_unauthenticated(),
            ClientAuth::Required => verifier,
        };
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        Ok(ClientRules { verifier, digest: Sha256::digest(text).into(), auth })
    }
}

/// Whether a listener keeps its running TLS until the next start. What the file says belongs to the address that it says:
/// another one is not listened at yet, and a port never goes back to clear text under clients that trust it to be encrypted.
pub(crate) fn must_keep_tls<A: PartialEq>(
    (bound, running): (A, Option<&ServerTls>),
    (address, file): (A, Option<&ServerTls>),
) -> bool {
    let is_taken_away = running.is_some() && file.is_none();
    running != file && (is_taken_away || address != bound)
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &ServerTls) -> bool {
        self.identity == other.identity
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", self.host.as_deref().unwrap_or("no name"))
    }
}

/// Chooses a pair by the name that a client asks for.
#[derive(Debug)]
struct ByName {
    default: Arc<CertifiedKey>,
    /// By name; a name that begins with `*.` stands for one label.
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn new(default: &Pair, more: &[Pair]) -> ByName {
        let mut named = HashMap::new();
        // Where two pairs have a name, the first one is shown: the default pair keeps its own names.
        for pair in std::iter::once(default).chain(more) {
            for host in &pair.facts.hosts {
                named.entry(host.clone()).or_insert_with(|| pair.certified.clone());
            }
        }
        ByName { default: default.certified.clone(), named }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let exact = self.named.get(&name);
        exact.or_else(|| self.named.get(&format!("*.{}", name.split_once('.')?.1)))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(named.unwrap_or(&self.default).clone())
    }
}
