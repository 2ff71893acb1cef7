//! Tokens that were verified: a signature is checked once, and then a hash is looked up.
//!
//! Bounded in number and time. A token is forgotten when it ends, or when its key is gone, whichever comes first.

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

    /// Remembers a token that was verified at `now`.
    pub(super) fn put(&self, hash: TokenHash, verified: &Verified, now: u64) {
        let until = verified.expires.min(now.saturating_add(REMEMBERED_SECONDS));
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
