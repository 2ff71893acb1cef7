//! Verifies tokens for the policy: remembered, or judged with the keys that are known now.

use std::sync::Arc;

use super::cache::TokenCache;
use super::issuer::IssuerState;
use crate::policy::auth::{TokenHash, WrongToken};
use crate::policy::identity::{IssuerStatus, TokenVerifier};
use crate::policy::oauth::rules::Rules;
use crate::policy::oauth::verify::Refused;
use crate::policy::token_fault::TokenFault;
use crate::policy::{ClientId, Denial, Subject};

/// The verifier of one configuration.
#[derive(Debug)]
pub(super) struct Verifier {
    rules: Rules,
    /// In the order of the rules.
    issuers: Vec<Arc<IssuerState>>,
    remembered: TokenCache,
}

impl Verifier {
    pub(super) fn new(rules: Rules, issuers: Vec<Arc<IssuerState>>) -> Verifier {
        Verifier { rules, issuers, remembered: TokenCache::new() }
    }

    fn denial(&self, refused: Refused, now: u64) -> Denial {
        match refused {
            Refused::Fault(fault) => Denial::JwtInvalid(fault),
            Refused::Expired => Denial::JwtExpired,
            Refused::NoGrant(grant) => Denial::InsufficientScope { grant },
            Refused::UnknownKey(token) => {
                let Some(issuer) = self.issuers.get(token.issuer) else { return Denial::JwtKeysUnavailable };
                issuer.want();
                // Only keys that were just fetched, and after the token was issued, say that there is no such key. A client with
                // a newer token must not sign its user in again: the next fetch brings the key.
                if issuer.is_fresh(now) && !issuer.is_older_than(token.issued, self.rules.leeway) {
                    Denial::JwtInvalid(TokenFault::UnknownKey)
                } else {
                    Denial::JwtKeysUnavailable
                }
            }
        }
    }
}

impl TokenVerifier for Verifier {
    fn issuers(&self) -> Vec<IssuerStatus> {
        self.issuers.iter().map(|issuer| issuer.status()).collect()
    }

    fn verify(&self, token: &[u8], hash: &TokenHash, now: u64) -> Result<(ClientId, Arc<Subject>), Denial> {
        if let Some(known) = self.remembered.get(hash, now) {
            return Ok(known);
        }
        // Without a dot it was meant for a token of the configuration.
        if memchr::memchr(b'.', token).is_none() {
            return Err(Denial::TokenInvalid(WrongToken::Challenge));
        }
        let keys = |issuer: usize| self.issuers.get(issuer)?.keys(now);
        let verified = self.rules.verify(token, now, keys).map_err(|refused| self.denial(refused, now))?;
        self.remembered.put(*hash, &verified, now);
        Ok((verified.client, verified.subject))
    }
}
