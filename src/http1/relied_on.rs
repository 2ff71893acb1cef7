//! Which fields a check, framing or a handshake relies on, in any spelling: `Connection` must not take them away.

use super::known::{KnownField, Nomination, same_name};

/// Families of names that a check, a handshake or a backend's own check relies on, beside the known names.
const RELIED_FAMILIES: [&[u8]; 4] = [b"access-control-request-", b"mcp-", WEBSOCKET, FORWARDING_CLAIMS];

pub(super) const WEBSOCKET: &[u8] = b"sec-websocket-";

/// Fields that decide framing, authentication, policy or a handshake, in any spelling: `Connection` must not be able to
/// take them away.
pub(super) fn is_relied_on(name: &[u8]) -> bool {
    KnownField::recognise_any_spelling(name).row().nomination == Nomination::Refused
        || RELIED_FAMILIES.iter().any(|family| is_of_family(name, family))
}

/// Proxies name clients, schemes and addresses in a family of fields; the guard writes the ones it stands for.
pub(super) const FORWARDING_CLAIMS: &[u8] = b"x-forwarded-";

/// Whether `name` begins like this, in any spelling.
pub fn is_of_family(name: &[u8], family: &[u8]) -> bool {
    name.len() >= family.len() && same_name(&name[..family.len()], family)
}
