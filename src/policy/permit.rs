//! Proof that a request head passed the front door. Nothing is forwarded without one.

use super::auth::ClientId;

/// Made only by [`super::Policy::decide`].
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    client: ClientId,
}

impl Permit {
    pub(super) fn new(client: ClientId) -> Permit {
        Permit { client }
    }

    /// Who is calling.
    pub fn client(&self) -> ClientId {
        self.client
    }
}
