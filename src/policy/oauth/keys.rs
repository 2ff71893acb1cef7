//! The keys of one issuer: a JWK set (RFC 7517), and which of its keys may verify what.
//!
//! A key that stays in the set stays the same value, so that what remembers a key learns when it is gone. Must not know where a
//! set comes from, nor when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm as JwtAlgorithm, DecodingKey, DecodingKeyKind, crypto};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::rules::Algorithm;
use super::{json, provider};
use crate::wire::bounded;

/// Keys of a set beyond these are not used: an issuer has a handful.
const KEYS_MAX: usize = 100;
/// Bits of an RSA modulus: fewer can be factored, and more take longer than a request may.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a text is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is no JSON object, or one with a repeated member.
    #[error("it is no JSON object, or repeats a member")]
    Json,
    /// It is small, and what it stands for is not.
    #[error("it would take too much memory to read")]
    TooHeavy,
    /// It has no list of keys.
    #[error("it has no list `keys`")]
    Keys,
}

/// One key that can verify signatures.
#[derive(Debug)]
pub struct Key {
    id: Option<String>,
    key: DecodingKey,
    /// The algorithms of its type and curve, or the one it is for.
    algorithms: Vec<Algorithm>,
    /// Of the whole key, to recognise it in the next set.
    digest: [u8; 32],
    retired: AtomicBool,
}

/// The usable keys of an issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    skipped: usize,
    has_private: bool,
}

impl Key {
    /// Whether the signature, in base64url, is this key's.
    pub(super) fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        self.algorithms.contains(&algorithm)
            && crypto::verify(signature, signed, &self.key, of_crate(algorithm)) == Ok(true)
    }

    /// Whether the issuer no longer has it.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

impl KeySet {
    /// Reads a set. Keys that `previous` has as well are taken from there; keys that cannot verify tokens are left out.
    pub fn parse(text: &[u8], previous: Option<&KeySet>) -> Result<KeySet, KeySetError> {
        provider::install();
        if bounded::weigh_text(text) > bounded::TREE_BYTES_MAX {
            return Err(KeySetError::TooHeavy);
        }
        let set = json::object(text).map_err(|_| KeySetError::Json)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Keys)?;
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for key in list.iter().take(KEYS_MAX).filter_map(read_key) {
            if keys.iter().any(|listed| listed.digest == key.digest) {
                continue;
            }
            let known = previous.and_then(|set| set.keys.iter().find(|known| known.digest == key.digest));
            keys.push(known.filter(|known| !known.is_retired()).cloned().unwrap_or_else(|| Arc::new(key)));
        }
        let has_private = list.iter().any(is_private);
        Ok(KeySet { skipped: list.len() - keys.len(), keys, has_private })
    }

    /// Whether both sets have the same keys, in any order.
    pub fn has_same_keys(&self, other: &KeySet) -> bool {
        let has = |key: &Arc<Key>| other.keys.iter().any(|kept| Arc::ptr_eq(kept, key));
        self.keys.len() == other.keys.len() && self.keys.iter().all(has)
    }

    /// The number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of entries that are no usable key, or the same as one before.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether it has the private half of a key, with which every reader of the set can sign tokens.
    pub fn has_private_keys(&self) -> bool {
        self.has_private
    }

    /// Marks the keys of this set that `next` has no more: what they have signed is no longer accepted.
    pub fn retire_all_but(&self, next: &KeySet) {
        for key in self.keys.iter().filter(|key| !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key))) {
            key.retired.store(true, Ordering::Release);
        }
    }

    /// The keys of this id, or without one all, that are fit for the algorithm.
    pub(super) fn fitting<'k>(
        &'k self,
        id: Option<&'k str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'k Arc<Key>> {
        let fits = move |key: &&Arc<Key>| {
            (id.is_none() || key.id.as_deref() == id) && key.algorithms.contains(&algorithm)
        };
        self.keys.iter().filter(fits)
    }

    /// Whether any key has this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

/// RFC 7518, 6.2.2 and 6.3.2, RFC 8037, 2: `d` is the private half of every type of key.
fn is_private(entry: &Value) -> bool {
    entry.get("d").is_some()
}

/// The key that this entry is; `None` for a key that is not for verifying signatures, or that this guard does not know.
fn read_key(entry: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(entry.clone()).ok()?;
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let may_verify =
        common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures || !may_verify {
        return None;
    }
    let of_type = algorithms_of(&jwk.algorithm)?;
    let is_named = |algorithm: &&Algorithm| {
        common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(of_crate(**algorithm)))
    };
    let algorithms: Vec<Algorithm> = of_type.iter().filter(is_named).copied().collect();
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    if algorithms.is_empty() || !is_of_size(&key, &jwk.algorithm) {
        return None;
    }
    let digest = Sha256::digest(serde_json::to_vec(&jwk).ok()?).into();
    Some(Key { id: common.key_id.clone(), key, algorithms, digest, retired: AtomicBool::new(false) })
}

/// RFC 7518, 6 and RFC 8037: what a type of key is for.
fn algorithms_of(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    if let AlgorithmParameters::RSA(_) = parameters {
        return Some(&[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512]);
    }
    if let AlgorithmParameters::EllipticCurve(key) = parameters {
        return [(EllipticCurve::P256, [Es256].as_slice()), (EllipticCurve::P384, &[Es384])]
            .into_iter()
            .find_map(|(curve, algorithms)| (key.curve == curve).then_some(algorithms));
    }
    let is_ed25519 =
        matches!(parameters, AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519);
    is_ed25519.then_some(&[EdDsa])
}

fn is_of_size(key: &DecodingKey, parameters: &AlgorithmParameters) -> bool {
    match (key.kind(), parameters) {
        (DecodingKeyKind::RsaModulusExponent { n, .. }, _) => {
            let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
            MODULUS_BITS.contains(&bits)
        }
        (DecodingKeyKind::SecretOrDer(point), AlgorithmParameters::EllipticCurve(curve)) => {
            let coordinate = if curve.curve == EllipticCurve::P384 { 48 } else { 32 };
            point.len() == 1 + 2 * coordinate
        }
        (DecodingKeyKind::SecretOrDer(key), _) => key.len() == 32,
    }
}

fn of_crate(algorithm: Algorithm) -> JwtAlgorithm {
    match algorithm {
        Algorithm::Es256 => JwtAlgorithm::ES256,
        Algorithm::Es384 => JwtAlgorithm::ES384,
        Algorithm::Rs256 => JwtAlgorithm::RS256,
        Algorithm::Rs384 => JwtAlgorithm::RS384,
        Algorithm::Rs512 => JwtAlgorithm::RS512,
        Algorithm::Ps256 => JwtAlgorithm::PS256,
        Algorithm::Ps384 => JwtAlgorithm::PS384,
        Algorithm::Ps512 => JwtAlgorithm::PS512,
        Algorithm::EdDsa => JwtAlgorithm::EdDSA,
    }
}
