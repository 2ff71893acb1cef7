//! Tokens that were verified: a signature is checked once, and then a hash is looked up.
//!
//! Bounded in number and time. A token is forgotten when it ends, when its key is gone, or when the keys of its issuer have not been
//! confirmed for too long, whichever comes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::policy::auth::TokenHash;
use crate::policy::oauth::keys::Key;
use crate::policy::oauth::verify::Verified;
use crate::policy::{ClientId, Subject};

/// How long a token is remembered, in seconds.
const REMEMBERED_SECONDS: u64 = 300;
const TOKENS_MAX: usize = 10_000;
/// Parts with a lock each, so that requests on several threads rarely meet.
const SHARDS: usize = 16;
const SHARD_MAX: usize = TOKENS_MAX / SHARDS;

/// The tokens of one configuration.
#[derive(Debug)]
pub(super) struct TokenCache {
    shards: [Mutex<HashMap<TokenHash, Remembered>>; SHARDS],
}

#[derive(Debug)]
struct Remembered {
    client: ClientId,
    subject: Arc<Subject>,
    until: u64,
    key: Arc<Key>,
}

impl Remembered {
    fn holds(&self, now: u64) -> bool {
        now < self.until && !self.key.is_retired()
    }
}

impl TokenCache {
    pub(super) fn new() -> TokenCache {
        TokenCache { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Whose token this is, if it was verified lately and still holds.
    pub(super) fn get(&self, hash: &TokenHash, now: u64) -> Option<(ClientId, Arc<Subject>)> {
        let shard = self.shard(hash);
        let remembered = shard.get(hash).filter(|remembered| remembered.holds(now))?;
        Some((remembered.client, remembered.subject.clone()))
    }

    /// Remembers a token that was verified at `now`, with keys that hold until `keys_until`.
    pub(super) fn put(&self, hash: TokenHash, verified: &Verified, keys_until: u64, now: u64) {
        let until = verified.expires.min(now.saturating_add(REMEMBERED_SECONDS)).min(keys_until);
        if until <= now {
            return;
        }
        let mut shard = self.shard(&hash);
        if shard.len() >= SHARD_MAX {
            shard.retain(|_, remembered| remembered.holds(now));
        }
        if shard.len() >= SHARD_MAX {
            // Which ones go does not matter: they are verified once more.
            let mut kept = SHARD_MAX / 2;
            shard.retain(|_, _| {
                kept = kept.saturating_sub(1);
                kept > 0
            });
        }
        let Verified { client, subject, key, .. } = verified;
        shard.insert(hash, Remembered { client: *client, subject: subject.clone(), until, key: key.clone() });
    }

    fn shard(&self, hash: &TokenHash) -> MutexGuard<'_, HashMap<TokenHash, Remembered>> {
        let shard = &self.shards[usize::from(hash.0[0]) % SHARDS];
        // Nothing under this lock can panic half-way through a change.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use mcp_testkit::TokenKey;

    use super::*;
    use crate::identity::testing;
    use crate::policy::oauth::keys::KeySet;

    const NOW: u64 = 1_800_000_000;
    /// No bound of its own.
    const KEYS_LAST: u64 = u64::MAX;

    fn hash(number: usize) -> TokenHash {
        TokenHash::of(&number.to_be_bytes())
    }

    fn verified(expires: u64) -> (Verified, Arc<KeySet>) {
        let key = TokenKey::ed25519("k");
        let keys = Arc::new(KeySet::parse(TokenKey::set(&[&key]).as_bytes(), None).unwrap());
        let token = testing::token(&key, expires);
        (testing::rules().verify(token.as_bytes(), NOW, |_| Some(keys.clone())).unwrap(), keys)
    }

    // "A verified token is remembered [..] until `exp` (at most 5 min"; and no longer than the keys of its issuer hold.
    #[test]
    fn a_token_is_remembered_until_the_first_of_its_ends() {
        for (expires, keys_until, until) in [
            (NOW + 60, KEYS_LAST, NOW + 60),
            (NOW + 3_600, KEYS_LAST, NOW + 300),
            (NOW + 3_600, NOW + 20, NOW + 20),
        ] {
            let cache = TokenCache::new();
            let (verified, _) = verified(expires);
            cache.put(hash(1), &verified, keys_until, NOW);
            assert_eq!(cache.get(&hash(1), until - 1), Some((verified.client, verified.subject)));
            assert_eq!(cache.get(&hash(1), until), None, "{expires} {keys_until}");
            assert_eq!(cache.get(&hash(2), NOW), None, "another token");
        }
        let (cache, (verified, _)) = (TokenCache::new(), verified(NOW + 60));
        cache.put(hash(1), &verified, NOW, NOW);
        assert_eq!(cache.get(&hash(1), NOW), None, "its keys hold no longer");
    }

    #[test]
    fn a_token_is_forgotten_with_the_key_that_signed_it() {
        let (cache, (verified, keys)) = (TokenCache::new(), verified(NOW + 3_600));
        cache.put(hash(1), &verified, KEYS_LAST, NOW);
        assert!(cache.get(&hash(1), NOW).is_some());
        keys.retire_all_but(&KeySet::default());
        assert_eq!(cache.get(&hash(1), NOW), None);
    }

    // "10,000 entries"
    #[test]
    fn the_number_of_tokens_is_bounded_and_those_that_have_ended_go_first() {
        let (cache, (verified, _)) = (TokenCache::new(), verified(NOW + 3_600));
        let held = || (0..SHARDS).map(|part| cache.shards[part].lock().unwrap().len()).sum::<usize>();
        for number in 0..3 * TOKENS_MAX {
            cache.put(hash(number), &verified, KEYS_LAST, NOW);
            assert!(cache.get(&hash(number), NOW).is_some(), "the newest is there");
        }
        assert!((TOKENS_MAX / 3..=TOKENS_MAX).contains(&held()), "{}", held());
        let later = NOW + 300;
        for number in 0..2 * TOKENS_MAX {
            cache.put(hash(4 * TOKENS_MAX + number % SHARD_MAX), &verified, KEYS_LAST, later);
        }
        let fresh =
            (0..SHARD_MAX).filter(|number| cache.get(&hash(4 * TOKENS_MAX + number), later).is_some());
        assert_eq!(fresh.count(), SHARD_MAX, "room is made of what has ended");
    }
}
