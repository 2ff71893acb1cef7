//! The certificate that the client of a connection has proved to own, as far as the checks read it, and which client it names.
//!
//! The chain was verified at the handshake; here it only names a client. Must not know TLS, nor how a certificate is encoded.

use std::collections::HashMap;

/// A verified certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// Its subject alternative names that are URIs (SPIFFE), in their order.
    pub uris: Vec<String>,
}

/// How the configuration names a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// This very certificate.
    Sha256([u8; 32]),
    /// Every certificate with this URI among its names, compared byte for byte.
    Uri(String),
}

impl std::fmt::Display for CertificateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CertificateName::Sha256(digest) => {
                f.write_str("sha256:")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            CertificateName::Uri(uri) => f.write_str(uri),
        }
    }
}

/// Which client each certificate names, by its place in the configuration.
#[derive(Debug, Default)]
pub(super) struct CertificateIndex {
    digests: HashMap<[u8; 32], u32>,
    uris: HashMap<String, u32>,
}

impl CertificateIndex {
    /// Indexes the certificates of all clients; `Err` has the places of two that the same one would stand for.
    pub(super) fn new<'c>(
        clients: impl Iterator<Item = &'c [CertificateName]>,
    ) -> Result<CertificateIndex, (u32, u32)> {
        let mut index = CertificateIndex::default();
        for (place, names) in (0..).zip(clients) {
            for name in names {
                let before = match name {
                    CertificateName::Sha256(digest) => index.digests.insert(*digest, place),
                    CertificateName::Uri(uri) => index.uris.insert(uri.clone(), place),
                };
                if let Some(first) = before.filter(|first| *first != place) {
                    return Err((first, place));
                }
            }
        }
        Ok(index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty() && self.uris.is_empty()
    }

    /// The client that a certificate names. What names exactly one certificate counts more than what names many; of two URIs that
    /// name different clients neither counts.
    pub(super) fn find(&self, shown: &ClientCertificate) -> Option<u32> {
        if let Some(client) = self.digests.get(&shown.sha256) {
            return Some(*client);
        }
        let mut named = shown.uris.iter().filter_map(|uri| self.uris.get(uri));
        let first = *named.next()?;
        named.all(|other| *other == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Client = (&'static str, Vec<CertificateName>);

    fn client(name: &'static str, certificates: &[CertificateName]) -> Client {
        (name, certificates.to_vec())
    }

    fn index(clients: &[Client]) -> Result<CertificateIndex, (u32, u32)> {
        CertificateIndex::new(clients.iter().map(|(_, names)| names.as_slice()))
    }

    fn uri(text: &str) -> CertificateName {
        CertificateName::Uri(text.to_owned())
    }

    #[track_caller]
    fn check(clients: &[Client], sha256: [u8; 32], uris: &[&str], expect: Option<&str>) {
        let shown = ClientCertificate { sha256, uris: uris.iter().map(|uri| (*uri).to_owned()).collect() };
        let found = index(clients).unwrap().find(&shown);
        assert_eq!(found.map(|place| clients[place as usize].0), expect, "{shown:?}");
    }

    #[test]
    fn a_certificate_names_a_client_by_its_fingerprint_or_by_a_uri() {
        let clients = [
            client("bot", &[CertificateName::Sha256([1; 32]), uri("spiffe://a/bot")]),
            client("watchdog", &[uri("spiffe://a/watchdog")]),
        ];
        check(&clients, [1; 32], &[], Some("bot"));
        check(&clients, [2; 32], &["spiffe://a/watchdog"], Some("watchdog"));
        check(&clients, [2; 32], &["https://a", "spiffe://a/bot"], Some("bot"));
        check(&clients, [1; 32], &["spiffe://a/watchdog"], Some("bot"));
        check(&clients, [2; 32], &["spiffe://a/bot", "spiffe://a/watchdog"], None);
        for near in ["spiffe://a/bot/", "spiffe://a/Bot", "spiffe://a/bo", ""] {
            check(&clients, [2; 32], &[near], None);
        }
        check(&[], [1; 32], &["spiffe://a/bot"], None);
    }

    #[test]
    fn a_certificate_that_would_name_two_clients_is_refused() {
        let twice = [client("a", &[uri("spiffe://x")]), client("b", &[uri("spiffe://x")])];
        assert_eq!(index(&twice).err(), Some((0, 1)));
        let same = [client("a", &[uri("spiffe://x"), uri("spiffe://x")])];
        assert!(index(&same).is_ok());
        assert_eq!(CertificateName::Sha256([0xab; 32]).to_string(), format!("sha256:{}", "ab".repeat(32)));
    }
}
