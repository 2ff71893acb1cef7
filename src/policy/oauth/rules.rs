//! What is configured of an authorization: issuers, audience, algorithms, and grants.
//!
//! Plain values. Must not know how a token is read.

use super::super::ClientId;

/// A signature algorithm of RFC 7518 or RFC 8037. There is no `none` and no HMAC: a public key must never become a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the algorithm of its name")]
pub enum Algorithm {
    Es256,
    Es384,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm that can be configured.
    pub const ALL: [Algorithm; 9] = [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::EdDsa,
    ];

    /// Those that are allowed unless the configuration says otherwise.
    pub const DEFAULT: [Algorithm; 4] =
        [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa];

    /// The name in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name; names are case-sensitive (RFC 7515, 4.1.1).
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// The value that a grant requires of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// A text, compared byte for byte.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
}

/// Which tokens become which client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The client that holds the policy of the grant.
    pub client: ClientId,
    /// The scopes that a token must have, all of them.
    pub scopes: Vec<String>,
    /// The claims that it must have; a claim that is a list must contain the value.
    pub claims: Vec<(String, ClaimValue)>,
    /// The index of the only issuer whose tokens it is for; `None` for those of any.
    pub issuer: Option<usize>,
}

/// `[auth.oauth]`, as far as a token is judged by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The identifier of this server: what `aud` must contain.
    pub resource: String,
    /// The exact values of `iss` that are accepted.
    pub issuers: Vec<String>,
    /// The algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// Seconds by which clocks may differ.
    pub leeway: u64,
    /// The claims of which the first that is present names the subject.
    pub client_claim: Vec<String>,
    /// The first that matches decides.
    pub grants: Vec<Grant>,
}
