//! When each token was last seen. Outlives a reload.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::auth::TokenHash;
use crate::policy::{Clients, Permit};

/// Seconds since the epoch, 0 for never, in the order of the tokens.
pub(crate) struct TokenUsage(Vec<AtomicU64>);

impl TokenUsage {
    /// For these clients' tokens; what `previous` has of the same tokens goes on.
    pub(crate) fn new(clients: &Clients, previous: Option<(&TokenUsage, &Clients)>) -> TokenUsage {
        let hashes = |clients: &Clients| clients.tokens().map(|(hash, _)| *hash).collect::<Vec<_>>();
        let previous = previous.map(|(usage, old)| hashes(old).into_iter().zip(&usage.0));
        let previous: HashMap<TokenHash, &AtomicU64> = previous.into_iter().flatten().collect();
        let seen = |hash| previous.get(&hash).map_or(0, |seen| seen.load(Ordering::Relaxed));
        TokenUsage(hashes(clients).into_iter().map(|hash| AtomicU64::new(seen(hash))).collect())
    }

    /// A valid token was seen at `now`, in seconds since the epoch.
    pub(crate) fn record(&self, permit: &Permit, now: u64) {
        if let Some(seen) = permit.token().and_then(|place| self.0.get(place))
            && seen.load(Ordering::Relaxed) != now
        {
            seen.store(now, Ordering::Relaxed);
        }
    }

    /// When the token at this place was last seen.
    pub(crate) fn last_used(&self, token: usize) -> Option<u64> {
        let seen = self.0.get(token)?.load(Ordering::Relaxed);
        (seen > 0).then_some(seen)
    }
}
