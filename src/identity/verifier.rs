//! Verifies tokens for the policy: remembered, or judged with the keys that are known now.

use std::sync::Arc;

use super::cache::TokenCache;
use super::issuer::IssuerState;
use crate::policy::auth::{TokenHash, WrongToken};
use crate::policy::identity::{IssuerStatus, TokenVerifier};
use crate::policy::oauth::rules::Rules;
use crate::policy::oauth::verify::{Refused, UnknownKey, Verified};
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

    /// Judges a token that is not remembered.
    fn judge(&self, token: &[u8], now: u64) -> Result<Verified, Refused> {
        self.rules.verify(token, now, |issuer: usize| self.issuers.get(issuer)?.keys(now))
    }

    fn denial(&self, refused: Refused, now: u64) -> Denial {
        match refused {
            Refused::Fault(fault) | Refused::WrongKey { fault, .. } => Denial::JwtInvalid(fault),
            Refused::Expired => Denial::JwtExpired,
            Refused::NoGrant(grant) => Denial::InsufficientScope { grant },
            Refused::UnknownKey(token) => {
                let Some(issuer) = self.issuers.get(token.issuer) else { return Denial::JwtKeysUnavailable };
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

    /// The issuer whose keys a fetch may change so that the token holds. An issuer may replace a key without a new name for it: the
    /// next token is judged by what the fetch brings.
    fn wanted(&self, refused: Refused) -> Option<&IssuerState> {
        let issuer = match refused {
            Refused::WrongKey { issuer, .. } | Refused::UnknownKey(UnknownKey { issuer, .. }) => issuer,
            Refused::Fault(_) | Refused::Expired | Refused::NoGrant(_) => return None,
        };
        self.issuers.get(issuer).map(Arc::as_ref)
    }
}

/// Without a dot it was meant for a token of the configuration.
fn check_dot(token: &[u8]) -> Result<(), Denial> {
    memchr::memchr(b'.', token).map(drop).ok_or(Denial::TokenInvalid(WrongToken::Challenge))
}

impl TokenVerifier for Verifier {
    fn issuers(&self) -> Vec<IssuerStatus> {
        self.issuers.iter().map(|issuer| issuer.status()).collect()
    }

    fn verify(&self, token: &[u8], hash: &TokenHash, now: u64) -> Result<(ClientId, Arc<Subject>), Denial> {
        if let Some(known) = self.remembered.get(hash, now) {
            return Ok(known);
        }
        check_dot(token)?;
        let verified = self.judge(token, now).map_err(|refused| {
            if let Some(issuer) = self.wanted(refused) {
                issuer.want();
            }
            self.denial(refused, now)
        })?;
        let keys_until = self.issuers.get(verified.issuer).map_or(now, |issuer| issuer.keys_until());
        self.remembered.put(*hash, &verified, keys_until, now);
        Ok((verified.client, verified.subject))
    }

    fn look(&self, token: &[u8], hash: &TokenHash, now: u64) -> Result<(ClientId, Arc<Subject>), Denial> {
        if let Some(known) = self.remembered.get(hash, now) {
            return Ok(known);
        }
        check_dot(token)?;
        let verified = self.judge(token, now).map_err(|refused| self.denial(refused, now))?;
        Ok((verified.client, verified.subject))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mcp_testkit::TokenKey;

    use super::*;
    use crate::identity::testing;

    const NOW: u64 = 1_800_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn issuer(keys: &[&TokenKey]) -> Arc<IssuerState> {
        let issuer = Arc::new(IssuerState::new(testing::ISSUER, DAY));
        issuer.took(TokenKey::set(keys).as_bytes(), NOW).unwrap();
        issuer
    }

    fn ask(verifier: &Verifier, token: &str, now: u64) -> Result<(), Denial> {
        verifier.verify(token.as_bytes(), &TokenHash::of(token.as_bytes()), now).map(drop)
    }

    // The rules are taken away behind the back of the verifier: only what is remembered can hold without them.
    #[test]
    fn a_token_that_is_remembered_is_not_judged_again() {
        let key = TokenKey::ed25519("a");
        let mut verifier = Verifier::new(testing::rules(), vec![issuer(&[&key])]);
        let (seen, unseen) = (testing::token(&key, NOW + 60), testing::token(&key, NOW + 61));
        assert_eq!(ask(&verifier, &seen, NOW), Ok(()));
        verifier.rules.issuers.clear();
        assert_eq!(ask(&verifier, &seen, NOW + 59), Ok(()));
        assert_eq!(ask(&verifier, &unseen, NOW), Err(Denial::JwtInvalid(TokenFault::Issuer)));
        assert_eq!(ask(&verifier, &seen, NOW + 60), Err(Denial::JwtInvalid(TokenFault::Issuer)));
    }

    // "a set without a key takes that key's tokens out of service at once", also those that are remembered.
    #[test]
    fn a_remembered_token_ends_with_its_key() {
        let (old, new) = (TokenKey::ed25519("a"), TokenKey::ed25519("b"));
        let issuer = issuer(&[&old, &new]);
        let verifier = Verifier::new(testing::rules(), vec![issuer.clone()]);
        let token = testing::token(&old, NOW + 3_600);
        assert_eq!(ask(&verifier, &token, NOW), Ok(()));
        issuer.took(TokenKey::set(&[&new]).as_bytes(), NOW + 40).unwrap();
        assert_eq!(ask(&verifier, &token, NOW + 41), Err(Denial::JwtInvalid(TokenFault::UnknownKey)));
        assert_eq!(ask(&verifier, &testing::token(&new, NOW + 3_600), NOW + 41), Ok(()));
    }

    // "kept while the issuer is away (24 h, configurable)", and then for no token, seen or unseen.
    #[test]
    fn a_remembered_token_ends_with_the_time_for_which_keys_are_kept() {
        let key = TokenKey::ed25519("a");
        let verifier = Verifier::new(testing::rules(), vec![issuer(&[&key])]);
        let (end, token) = (NOW + DAY.as_secs(), testing::token(&key, NOW + 2 * DAY.as_secs()));
        assert_eq!(ask(&verifier, &token, end - 1), Ok(()));
        assert_eq!(ask(&verifier, &token, end), Err(Denial::JwtKeysUnavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_may_have_been_replaced_under_its_name_is_fetched_again() {
        let (key, replaced) = (TokenKey::ed25519("a"), TokenKey::ed25519("a"));
        let issuer = issuer(&[&key]);
        let verifier = Verifier::new(testing::rules(), vec![issuer.clone()]);
        let is_wanted = async || tokio::time::timeout(Duration::from_secs(1), issuer.wanted()).await.is_ok();
        assert_eq!(ask(&verifier, &testing::token(&key, NOW + 60), NOW), Ok(()));
        assert!(!is_wanted().await);
        let token = testing::token(&replaced, NOW + 60);
        assert_eq!(ask(&verifier, &token, NOW), Err(Denial::JwtInvalid(TokenFault::Signature)));
        assert!(is_wanted().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_looked_at_is_judged_alike_and_changes_nothing() {
        let (key, other) = (TokenKey::ed25519("a"), TokenKey::ed25519("b"));
        let issuer = issuer(&[&key]);
        let mut verifier = Verifier::new(testing::rules(), vec![issuer.clone()]);
        let look = |verifier: &Verifier, token: &str| {
            verifier.look(token.as_bytes(), &TokenHash::of(token.as_bytes()), NOW).map(drop)
        };
        let (good, unknown) = (testing::token(&key, NOW + 60), testing::token(&other, NOW + 60));
        assert_eq!(look(&verifier, &good), Ok(()));
        assert_eq!(look(&verifier, &unknown), Err(Denial::JwtInvalid(TokenFault::UnknownKey)));
        assert_eq!(look(&verifier, "word"), Err(Denial::TokenInvalid(WrongToken::Challenge)));
        let is_wanted = tokio::time::timeout(Duration::from_secs(1), issuer.wanted()).await.is_ok();
        assert!(!is_wanted, "no fetch");
        assert_eq!(ask(&verifier, &unknown, NOW), look(&verifier, &unknown));
        verifier.rules.issuers.clear();
        assert_eq!(
            look(&verifier, &good),
            Err(Denial::JwtInvalid(TokenFault::Issuer)),
            "it was not remembered"
        );
    }
}
