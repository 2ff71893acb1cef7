//! Names of fleets and members, and what identifies one start of a member.

use std::fmt;

/// Longest name of a fleet or a member.
const NAME_BYTES_MAX: usize = 64;

/// A name that is no name of a fleet or a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name of 1 to 64 letters, digits, `.`, `_` and `-`")]
pub struct NameError(pub String);

/// The name of a fleet: the hash tag of all its keys, so that they lie on one node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetName(String);

/// The name of a member, unique in its fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(String);

/// One start of a member: when it was, so that of two processes with one name the store goes by the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(u64);

impl FleetName {
    /// Takes a name that can stand in a key.
    ///
    /// # Errors
    /// Returns the text that is none.
    pub fn new(name: &str) -> Result<FleetName, NameError> {
        checked(name).map(FleetName)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MemberId {
    /// Takes a name that can stand in a key.
    ///
    /// # Errors
    /// Returns the text that is none.
    pub fn new(name: &str) -> Result<MemberId, NameError> {
        checked(name).map(MemberId)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Incarnation {
    /// From the microseconds since 1970. 52 bits are used, since the store's numbers are floating-point ones; never 0.
    pub fn new(micros: u64) -> Incarnation {
        Incarnation((micros & ((1 << 52) - 1)).max(1))
    }

    /// As the store returned it.
    pub(crate) fn from_store(number: u64) -> Incarnation {
        Incarnation(number)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

fn checked(name: &str) -> Result<String, NameError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(NameError(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_a_key() {
        for name in ["", "a{b}", "a b", "ä", "a:b", &"n".repeat(65)] {
            assert!(MemberId::new(name).is_err() && FleetName::new(name).is_err(), "{name}");
        }
        assert_eq!(MemberId::new("guard-1.example_a").unwrap().as_str(), "guard-1.example_a");
        assert!(Incarnation::new(u64::MAX).get() < 1 << 53 && Incarnation::new(0).get() == 1);
    }
}
