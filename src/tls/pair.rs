//! A certificate with its chain and its private key, checked to belong together.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, crypto::ring};

use super::certificate::Facts;

/// Certificates that a file may hold: a chain has three or four.
const CHAIN_MAX: usize = 16;

/// A certificate and its key.
pub(crate) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) digest: [u8; 32],
    pub(crate) facts: Facts,
}

/// Whether a certificate may have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Refused,
    Taken,
}

/// Why two texts are no pair: which of the two is wrong, and what is wrong with it. Never quotes a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairError {
    #[error("{0}")]
    Certificate(String),
    #[error("{0}")]
    Key(String),
}

impl Pair {
    /// Reads a chain in PEM, the own certificate first, and the key of that certificate. `now` is seconds since the epoch.
    pub(crate) fn new(certificate: &str, key: &str, now: u64, expired: Expired) -> Result<Pair, PairError> {
        let chain = chain(certificate).map_err(PairError::Certificate)?;
        let facts = chain.first().and_then(|own| Facts::of(own));
        let unreadable = || PairError::Certificate("its first certificate cannot be read".to_owned());
        let facts = facts.ok_or_else(unreadable)?;
        if let Some(reason) = out_of_time(&facts, now, expired) {
            return Err(PairError::Certificate(reason));
        }
        let read = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key_der = read.map_err(|error| PairError::Key(pem_reason(&error, "private key")))?;
        let signing = ring::default_provider().key_provider.load_private_key(key_der);
        let refused = |_: Error| PairError::Key("is no RSA, ECDSA (P-256, P-384) or Ed25519 key".to_owned());
        let certified = CertifiedKey::new(chain, signing.map_err(refused)?);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(PairError::Key("is the key of another certificate".to_owned()));
            }
            Err(error) => return Err(PairError::Certificate(error.to_string())),
        }
        Ok(Pair { certified: Arc::new(certified), digest: Pair::digest(certificate, key), facts })
    }

    /// Equal where the texts are.
    pub(crate) fn digest(certificate: &str, key: &str) -> [u8; 32] {
        Sha256::new().chain_update(certificate).chain_update([0]).chain_update(key).finalize().into()
    }
}

/// Why a certificate cannot be used at this time.
fn out_of_time(facts: &Facts, now: u64, expired: Expired) -> Option<String> {
    if facts.not_after <= now && expired == Expired::Refused {
        return Some(format!("expired on {}", date(facts.not_after)));
    }
    (facts.not_before > now).then(|| format!("is not valid before {}", date(facts.not_before)))
}

/// A time as a person reads it.
pub(crate) fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a date out of range".to_owned(), |time| time.to_string())
}

/// The certificates of a text in PEM: at least one.
pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(pem_reason(&error, "certificate")),
    }
}

/// The certificates of a chain: a bounded number.
pub(super) fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(text)?;
    if found.len() > CHAIN_MAX {
        return Err(format!("holds {} certificates; a chain has at most {CHAIN_MAX}", found.len()));
    }
    Ok(found)
}

/// The error without what the file holds.
fn pem_reason(error: &PemError, what: &str) -> String {
    let verb = if matches!(error, PemError::NoItemsFound) { "holds" } else { "is" };
    format!("{verb} no {what} in PEM")
}
