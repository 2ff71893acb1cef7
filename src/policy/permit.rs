//! Proof that a request head passed the checks. Nothing is forwarded without one.

use super::auth::ClientId;

/// Made only by [`super::Policy::decide`].
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    client: ClientId,
    token: u32,
}

impl Permit {
    pub(super) fn new(client: ClientId, token: u32) -> Permit {
        Permit { client, token }
    }

    /// Which token was shown: its place in [`super::Clients::tokens`].
    pub fn token(&self) -> usize {
        self.token as usize
    }

    /// Who is calling.
    pub fn client(&self) -> ClientId {
        self.client
    }
}
