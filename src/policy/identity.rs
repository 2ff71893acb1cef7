//! Who calls, and by which credential that is known: one identity for limits, tools, log and rollout, whichever way it came.
//!
//! Values only: `identify` has the checks. Must not know how a signature is verified, nor where keys come from.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::auth::{ClientId, TokenHash};
use super::certificate::ClientCertificate;
use super::denial::Denial;
use super::subject::Subject;

/// What a connection proves of its client, beside what the head of a request says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presented<'p> {
    /// The certificate of the connection, if the client showed one and it was verified.
    pub certificate: Option<&'p ClientCertificate>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    client: ClientId,
    credential: Credential,
    subject: Option<Arc<Subject>>,
}

/// What the identity was known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A token of the configuration: its place in [`super::Clients::tokens`].
    Token(u32),
    /// The certificate of the connection.
    Certificate,
    /// A token that an issuer signed.
    SignedToken,
}

/// Verifies tokens that issuers sign.
pub trait TokenVerifier: Send + Sync + fmt::Debug {
    /// Who this token is for, or why it is refused. `now` is seconds since the epoch.
    fn verify(&self, token: &[u8], hash: &TokenHash, now: u64) -> Result<(ClientId, Arc<Subject>), Denial>;

    /// The same, of a token that is only looked at: it is not remembered, and no key is fetched for it.
    fn look(&self, token: &[u8], hash: &TokenHash, now: u64) -> Result<(ClientId, Arc<Subject>), Denial>;

    /// What is known of each issuer's keys.
    fn issuers(&self) -> Vec<IssuerStatus>;
}

/// What is known of the keys of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerStatus {
    /// The issuer.
    pub url: String,
    /// Its usable keys.
    pub keys: usize,
    /// Whether it answered when it was last asked.
    pub reachable: bool,
    /// When it last confirmed the keys, in seconds since the epoch; `None` for never, and for keys of a file.
    pub confirmed: Option<u64>,
}

impl Identity {
    pub(super) fn new(client: ClientId, credential: Credential, subject: Option<Arc<Subject>>) -> Identity {
        Identity { client, credential, subject }
    }

    /// Who is calling.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// What it is known by.
    pub fn credential(&self) -> Credential {
        self.credential
    }

    /// Which of those that the client stands for; `None` for a client that stands for itself.
    pub fn subject(&self) -> Option<&Arc<Subject>> {
        self.subject.as_ref()
    }
}
