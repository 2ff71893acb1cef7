//! Proof that a request head passed the checks. Nothing is forwarded without one.

use std::sync::Arc;

use super::ClientId;
use super::identity::{Credential, Identity};
use super::subject::Subject;

/// Made only by [`super::Policy::decide`].
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    identity: Identity,
}

impl Permit {
    pub(super) fn new(identity: Identity) -> Permit {
        Permit { identity }
    }

    /// Which token of the configuration was shown, if one was: its place in [`super::Clients::tokens`].
    pub fn token(&self) -> Option<usize> {
        match self.identity.credential() {
            Credential::Token(place) => Some(place as usize),
            Credential::Certificate | Credential::SignedToken => None,
        }
    }

    /// Who is calling.
    pub fn client(&self) -> ClientId {
        self.identity.client()
    }

    /// Which of those that the client stands for.
    pub fn subject(&self) -> Option<&Arc<Subject>> {
        self.identity.subject()
    }

    pub(super) fn into_identity(self) -> Identity {
        self.identity
    }
}
