//! What is known of one issuer's keys, and what that means to a token at a given moment.
//!
//! Time is passed in. Must not know how keys are fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::policy::identity::IssuerStatus;
use crate::policy::oauth::keys::{KeySet, KeySetError};

/// How old the keys may be for an unknown one to be none; and how often unknown keys cause a fetch, all of them together.
pub(super) const FRESH_SECONDS: u64 = 30;

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct IssuerState {
    pub(super) url: String,
    keep_seconds: u64,
    fetched: ArcSwapOption<Fetched>,
    was_tried: AtomicBool,
    /// Whether the last fetch has failed.
    is_away: AtomicBool,
    wanted: Notify,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    /// When the issuer has last confirmed them; `None` for those of a file, which hold until the next configuration.
    confirmed: Option<u64>,
}

/// What a fetch has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) keys: usize,
    /// Entries that are no usable key.
    pub(super) skipped: usize,
    /// Whether the set tells secrets.
    pub(super) has_private: bool,
    /// Whether these are the keys that were known already.
    pub(super) unchanged: bool,
    /// Whether the fetch before has failed.
    pub(super) was_away: bool,
}

impl IssuerState {
    pub(super) fn new(url: &str, keep: Duration) -> IssuerState {
        IssuerState {
            url: url.to_owned(),
            keep_seconds: keep.as_secs(),
            fetched: ArcSwapOption::empty(),
            was_tried: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            wanted: Notify::new(),
        }
    }

    /// The keys that hold at `now`. Those of an issuer that has been away for too long hold no longer.
    pub(super) fn keys(&self, now: u64) -> Option<Arc<KeySet>> {
        let fetched = self.fetched.load();
        let fetched = fetched.as_ref()?;
        let holds = fetched.confirmed.is_none() || now < self.until(fetched);
        holds.then(|| fetched.keys.clone())
    }

    /// Until when the keys hold, if their issuer does not confirm them before.
    pub(super) fn keys_until(&self) -> u64 {
        self.fetched.load().as_ref().map_or(0, |fetched| self.until(fetched))
    }

    fn until(&self, fetched: &Fetched) -> u64 {
        fetched.confirmed.map_or(u64::MAX, |confirmed| confirmed.saturating_add(self.keep_seconds))
    }

    /// Goes on with the keys of the same issuer from another configuration. Those of a file, which hold there without end, are as
    /// if they were confirmed now.
    pub(super) fn go_on_from(&self, previous: &IssuerState, now: u64) {
        let Some(fetched) = previous.fetched.load_full() else { return };
        let confirmed = Some(fetched.confirmed.unwrap_or(now));
        self.fetched.store(Some(Arc::new(Fetched { keys: fetched.keys.clone(), confirmed })));
        self.is_away.store(previous.is_away.load(Ordering::Acquire), Ordering::Release);
        // There is nothing to wait for.
        self.was_tried.store(true, Ordering::Release);
    }

    /// Whether a key that is not among the keys does not exist: they were confirmed a moment ago.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        let fetched = self.fetched.load();
        fetched.as_ref().is_some_and(|fetched| {
            fetched.confirmed.is_none_or(|confirmed| now < confirmed.saturating_add(FRESH_SECONDS))
        })
    }

    /// Whether the keys were confirmed before a token of this time was issued, by clocks that differ by `leeway`: its key may be
    /// newer than they are.
    pub(super) fn is_older_than(&self, issued: Option<u64>, leeway: u64) -> bool {
        let fetched = self.fetched.load();
        let confirmed = fetched.as_ref().and_then(|fetched| fetched.confirmed);
        issued.zip(confirmed).is_some_and(|(issued, confirmed)| confirmed <= issued.saturating_add(leeway))
    }

    /// A key was shown that is not known.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until such a key was shown.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether a fetch has ended, well or not.
    pub(super) fn was_tried(&self) -> bool {
        self.was_tried.load(Ordering::Acquire)
    }

    /// The issuer answered with this set.
    pub(super) fn took(&self, text: &[u8], now: u64) -> Result<Taken, KeySetError> {
        let before = self.fetched.load_full();
        let before = before.as_ref().map(|fetched| fetched.keys.as_ref());
        let keys = KeySet::parse(text, before)?;
        let unchanged = before.is_some_and(|before| before.has_same_keys(&keys));
        let taken = Taken {
            keys: keys.len(),
            skipped: keys.skipped(),
            has_private: keys.has_private_keys(),
            unchanged,
            was_away: self.is_away.swap(false, Ordering::AcqRel),
        };
        self.replace(before, keys, Some(now));
        self.was_tried.store(true, Ordering::Release);
        Ok(taken)
    }

    fn replace(&self, before: Option<&KeySet>, keys: KeySet, confirmed: Option<u64>) {
        if let Some(before) = before {
            before.retire_all_but(&keys);
        }
        self.fetched.store(Some(Arc::new(Fetched { keys: Arc::new(keys), confirmed })));
    }

    /// The issuer could not be asked, or its answer is no set. Returns whether that is new.
    pub(super) fn failed(&self) -> bool {
        self.was_tried.store(true, Ordering::Release);
        !self.is_away.swap(true, Ordering::AcqRel)
    }

    /// What an operator is told.
    pub(super) fn status(&self) -> IssuerStatus {
        let fetched = self.fetched.load();
        let fetched = fetched.as_ref();
        IssuerStatus {
            url: self.url.clone(),
            keys: fetched.map_or(0, |fetched| fetched.keys.len()),
            reachable: fetched.is_some() && !self.is_away.load(Ordering::Acquire),
            confirmed: fetched.and_then(|fetched| fetched.confirmed),
        }
    }

    /// The keys that an earlier process has saved: they hold as long as they would have there, and the issuer is asked all the same.
    pub(super) fn took_saved(&self, text: &[u8], confirmed: u64) {
        if let Ok(keys) = KeySet::parse(text, None) {
            self.fetched.store(Some(Arc::new(Fetched { keys: Arc::new(keys), confirmed: Some(confirmed) })));
        }
    }

    /// The keys of a file, which the configuration has judged.
    pub(super) fn took_file(&self, text: &str) {
        let before = self.fetched.load_full();
        let before = before.as_ref().map(|fetched| fetched.keys.as_ref());
        if let Ok(keys) = KeySet::parse(text.as_bytes(), before) {
            self.replace(before, keys, None);
            // Nothing is asked any more, so nothing can be away.
            self.is_away.store(false, Ordering::Release);
        }
        self.was_tried.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const OTHER: &str =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"b","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn state() -> IssuerState {
        IssuerState::new("https://a.example", Duration::from_secs(86_400))
    }

    fn set(keys: &[&str]) -> Vec<u8> {
        format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
    }

    // "kept while the issuer is away (24 h, configurable)"
    #[test]
    fn the_keys_of_an_issuer_that_is_away_hold_for_a_day() {
        let issuer = state();
        assert!(issuer.keys(0).is_none() && !issuer.is_fresh(0) && !issuer.was_tried());
        issuer.took(&set(&[KEY]), 1_000).unwrap();
        assert!(issuer.failed(), "the outage is new");
        assert!(!issuer.failed());
        assert!(issuer.keys(1_000 + 86_399).is_some());
        assert!(issuer.keys(1_000 + 86_400).is_none());
        let back = issuer.took(&set(&[KEY]), 100_000).unwrap();
        assert_eq!(back, Taken { keys: 1, skipped: 0, has_private: false, unchanged: true, was_away: true });
        assert!(issuer.keys(100_001).is_some());
    }

    // A reload of another `keep` or source of keys.
    #[test]
    fn an_issuer_goes_on_with_the_keys_that_it_had() {
        let before = state();
        before.took(&set(&[KEY]), 1_000).unwrap();
        let key = before.keys(1_000).unwrap();
        let after = IssuerState::new("https://a.example", Duration::from_secs(100));
        assert_eq!((after.keys_until(), after.was_tried()), (0, false));
        after.go_on_from(&before, 5_000);
        assert!(after.was_tried(), "there is nothing to wait for");
        assert_eq!(after.keys_until(), 1_100);
        assert!(after.keys(1_099).is_some_and(|keys| keys.has_same_keys(&key)));
        let again = after.took(&set(&[KEY, OTHER]), 1_050).unwrap();
        assert_eq!((again.keys, again.unchanged), (2, false));
        let file = state();
        file.took_file(std::str::from_utf8(&set(&[KEY])).unwrap());
        after.go_on_from(&file, 5_000);
        assert_eq!(after.keys_until(), 5_100, "keys of a file last no longer than others once it is gone");
        after.failed();
        assert!(!after.status().reachable);
        file.go_on_from(&after, 5_000);
        file.took_file(std::str::from_utf8(&set(&[KEY])).unwrap());
        assert!(file.status().reachable, "a file is never away");
    }

    #[test]
    fn what_is_no_set_of_keys_changes_nothing() {
        let issuer = state();
        issuer.took(&set(&[KEY]), 1_000).unwrap();
        for garbage in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(issuer.took(garbage.as_bytes(), 2_000).is_err(), "{garbage}");
        }
        assert_eq!(issuer.keys(2_000).map(|keys| keys.len()), Some(1));
        assert!(!issuer.is_fresh(2_000), "the issuer has confirmed nothing");
    }

    #[test]
    fn keys_are_fresh_for_half_a_minute() {
        let issuer = state();
        issuer.took(&set(&[KEY, OTHER]), 1_000).unwrap();
        assert!(issuer.is_fresh(1_029) && !issuer.is_fresh(1_030));
        let changed = issuer.took(&set(&[OTHER, r#"{"kty":"oct","k":"c2VjcmV0"}"#]), 1_010).unwrap();
        assert_eq!(
            changed,
            Taken { keys: 1, skipped: 1, has_private: false, unchanged: false, was_away: false }
        );
        // A token may be of a key that is newer than the set, as far as the clocks tell.
        assert!(issuer.is_older_than(Some(1_010), 30) && issuer.is_older_than(Some(980), 30));
        assert!(!issuer.is_older_than(Some(979), 30) && !issuer.is_older_than(None, 30));
        let saved = state();
        saved.took_saved(&set(&[KEY]), 1_000);
        assert!(saved.keys(1_000 + 86_399).is_some() && saved.keys(1_000 + 86_400).is_none());
        assert!(!saved.was_tried(), "the issuer is asked all the same");
        let file = state();
        file.took_file(std::str::from_utf8(&set(&[KEY])).unwrap());
        assert!(file.is_fresh(u64::MAX) && file.keys(u64::MAX).is_some());
        assert!(!file.is_older_than(Some(u64::MAX), 30), "a file has all keys there are");
    }
}
