//! The fleet's key: what members write carries an HMAC over fleet, kind of value and value.
//!
//! A writer without the key can remove values or repeat old ones, but cannot make one.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::encoding::Writer;
use crate::names::FleetName;

const MAC_BYTES: usize = 32;
const KEY_BYTES_MIN: usize = 32;

/// The secret that all members of one fleet have.
#[derive(Clone)]
pub struct FleetKey(Hmac<Sha256>);

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fleet key has {0} bytes; it must have 32 or more")]
pub struct KeyError(usize);

/// Which value is sealed: no value passes for one of another kind or of another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed<'a> {
    /// The fleet's state.
    Generation,
    /// The record of this member.
    Record(&'a str),
}

impl FleetKey {
    /// Takes the bytes of the key.
    ///
    /// # Errors
    /// Refuses a short key.
    pub fn new(secret: &[u8]) -> Result<FleetKey, KeyError> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(KeyError(secret.len()));
        }
        Hmac::new_from_slice(secret).map(FleetKey).map_err(|_| KeyError(secret.len()))
    }

    /// The MAC, and the value behind it.
    pub fn seal(&self, fleet: &FleetName, kind: Sealed<'_>, value: &[u8]) -> Vec<u8> {
        let mac = self.mac(fleet, kind, value).finalize().into_bytes();
        let mut sealed = Vec::with_capacity(MAC_BYTES + value.len());
        sealed.extend_from_slice(&mac);
        sealed.extend_from_slice(value);
        sealed
    }

    /// The value, if a holder of this key sealed it. Compared in constant time.
    pub fn open<'a>(&self, fleet: &FleetName, kind: Sealed<'_>, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (mac, value) = sealed.split_at_checked(MAC_BYTES)?;
        self.mac(fleet, kind, value).verify_slice(mac).ok()?;
        Some(value)
    }

    fn mac(&self, fleet: &FleetName, kind: Sealed<'_>, value: &[u8]) -> Hmac<Sha256> {
        let mut scope = Writer::default();
        let (kind, member) = match kind {
            Sealed::Generation => ("generation", ""),
            Sealed::Record(member) => ("record", member),
        };
        scope.bytes(b"mcp-fleet 1").bytes(fleet.as_str().as_bytes());
        scope.bytes(kind.as_bytes()).bytes(member.as_bytes());
        let mut mac = self.0.clone();
        mac.update(&scope.finish());
        mac.update(value);
        mac
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_as_what_it_was_sealed() {
        let (fleet, other) = (FleetName::new("a").unwrap(), FleetName::new("b").unwrap());
        let key = FleetKey::new(&[7; 32]).unwrap();
        let mut sealed = key.seal(&fleet, Sealed::Record("m"), b"value");
        assert_eq!(key.open(&fleet, Sealed::Record("m"), &sealed), Some(&b"value"[..]));
        assert_eq!(key.open(&fleet, Sealed::Record("n"), &sealed), None);
        assert_eq!(key.open(&fleet, Sealed::Generation, &sealed), None);
        assert_eq!(key.open(&other, Sealed::Record("m"), &sealed), None);
        let stranger = FleetKey::new(&[8; 32]).unwrap();
        assert_eq!(stranger.open(&fleet, Sealed::Record("m"), &sealed), None);
        for index in 0..sealed.len() {
            sealed[index] ^= 1;
            assert_eq!(key.open(&fleet, Sealed::Record("m"), &sealed), None, "byte {index}");
            sealed[index] ^= 1;
            assert_eq!(key.open(&fleet, Sealed::Record("m"), &sealed[..index]), None, "cut at {index}");
        }
        assert!(FleetKey::new(&[7; 31]).is_err());
        assert_eq!(format!("{key:?}"), "FleetKey(..)");
    }
}
