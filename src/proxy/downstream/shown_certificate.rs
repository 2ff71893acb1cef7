//! The certificate that the client of a connection has shown, and whether it still counts: a connection may outlive the certificate, and
//! the authorities of its handshake.
//!
//! Must not know whom a certificate names.

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::policy::certificate::ClientCertificate;
use crate::tls::{Facts, ServerTls, fingerprint};

/// A chain that was verified at the handshake.
#[derive(Debug)]
pub(super) struct ShownCertificate {
    chain: Vec<CertificateDer<'static>>,
    own: ClientCertificate,
    /// The authorities that it was verified with.
    authorities: [u8; 32],
    /// Until when that need not be done again: when the first certificate of the chain expires. Zero where that cannot be read.
    not_after: u64,
}

/// What a connection proves of its client at the time of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing<'c> {
    /// A certificate, or none where none is required.
    Good(Option<&'c ClientCertificate>),
    /// A handshake would be refused now.
    Refused,
}

impl ShownCertificate {
    /// What a client has shown at a handshake with these settings, its own certificate first.
    pub(super) fn new(chain: &[CertificateDer<'_>], tls: &ServerTls) -> Option<ShownCertificate> {
        let (own, authorities) = (chain.first()?, tls.client_authorities()?);
        let facts: Vec<Option<Facts>> = chain.iter().map(|certificate| Facts::of(certificate)).collect();
        let ends = facts.iter().map(|facts| facts.as_ref().map_or(0, |facts| facts.not_after));
        let not_after = ends.min().unwrap_or(0);
        let uris = facts.into_iter().next().flatten().map(|facts| facts.uris).unwrap_or_default();
        Some(ShownCertificate {
            own: ClientCertificate { sha256: fingerprint(own), uris },
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            authorities,
            not_after,
        })
    }

    /// Whether a handshake with these settings would take the certificate at this time. Signatures are verified again only where
    /// something has changed.
    fn counts(&mut self, tls: &ServerTls, now: u64) -> bool {
        let authorities = tls.client_authorities();
        if authorities == Some(self.authorities) && now < self.not_after {
            return true;
        }
        let counts = tls.verifies(&self.chain, now);
        if let (true, Some(authorities)) = (counts, authorities) {
            self.authorities = authorities;
        }
        counts
    }
}

/// Judges what a connection has shown by the settings that are in force now; `now` is seconds since the epoch.
pub(super) fn standing<'c>(
    shown: Option<&'c mut ShownCertificate>,
    tls: Option<&ServerTls>,
    now: u64,
) -> Standing<'c> {
    let Some(tls) = tls else { return Standing::Good(None) };
    match shown {
        // Without authorities no certificate is asked for, and none counts.
        Some(_) if tls.client_authorities().is_none() => Standing::Good(None),
        Some(shown) => {
            if shown.counts(tls, now) {
                Standing::Good(Some(&shown.own))
            } else {
                Standing::Refused
            }
        }
        None if tls.requires_certificate() => Standing::Refused,
        None => Standing::Good(None),
    }
}
