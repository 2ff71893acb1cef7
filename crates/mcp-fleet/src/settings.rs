//! Intervals and bounds of one member. All members of a fleet use the same ones.

use std::time::Duration;

/// How often a member speaks to the store, and how long what it was told holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time between two requests to the store.
    pub sync_interval: Duration,
    /// After this time a request without a response has failed; a later response changes nothing.
    pub response_timeout: Duration,
    /// How long one renewal keeps a leader.
    pub leader_lease: Duration,
    /// How long a share of a limit holds; a member that was silent for so long is not live.
    pub share_lease: Duration,
    /// How long a store that lost its memory gathers what members still have, before it takes a leader.
    pub settle: Duration,
    /// Time between two records of a member, unless something urgent changes.
    pub record_interval: Duration,
    /// A window older than this is no evidence.
    pub window_age_max: Duration,
    /// After this time without a response the store counts as away.
    pub away_after: Duration,
    /// A member that was silent for so long is no longer counted.
    pub forget_after: Duration,
}

/// Settings under which the rules of a fleet would not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct SettingsError {
    /// Which of them.
    pub key: &'static str,
    /// What it must be.
    pub reason: &'static str,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sync_interval: Duration::from_millis(100),
            response_timeout: Duration::from_millis(400),
            leader_lease: Duration::from_secs(2),
            share_lease: Duration::from_secs(2),
            settle: Duration::from_millis(2_500),
            record_interval: Duration::from_millis(500),
            window_age_max: Duration::from_secs(3),
            away_after: Duration::from_secs(1),
            forget_after: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The first setting that breaks a rule.
    ///
    /// # Errors
    /// Names it, and the rule.
    pub fn check(&self) -> Result<(), SettingsError> {
        let error = |key, reason| Err(SettingsError { key, reason });
        if self.sync_interval < Duration::from_millis(10) || self.sync_interval > Duration::from_secs(1) {
            return error("sync_interval", "must be 10 ms to 1 s");
        }
        if self.response_timeout < self.sync_interval {
            return error("response_timeout", "must not be shorter than `sync_interval`");
        }
        if self.leader_lease < self.response_timeout * 3 || self.leader_lease > Duration::from_secs(4) {
            return error("leader_lease", "must be three times `response_timeout` at least, and 4 s at most");
        }
        // A store without memory must not give away what a member may still use.
        if self.settle < self.leader_lease.max(self.share_lease) + self.response_timeout {
            return error("settle", "must outlast `leader_lease`, `share_lease` and one `response_timeout`");
        }
        if self.share_lease < self.sync_interval * 5 {
            return error("share_lease", "must be five times `sync_interval` at least");
        }
        if self.window_age_max < self.record_interval * 2 {
            return error("window_age_max", "must be twice `record_interval` at least");
        }
        if self.forget_after < self.share_lease * 2 {
            return error("forget_after", "must be twice `share_lease` at least");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl Fn(&mut Settings), key: &str) {
        let mut settings = Settings::default();
        change(&mut settings);
        assert_eq!(settings.check().map_err(|error| error.key), Err(key));
    }

    #[test]
    fn settings_that_break_a_rule_are_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        check(|settings| settings.sync_interval = Duration::ZERO, "sync_interval");
        check(|settings| settings.response_timeout = Duration::from_millis(50), "response_timeout");
        check(|settings| settings.leader_lease = Duration::from_secs(1), "leader_lease");
        check(|settings| settings.leader_lease = Duration::from_secs(60), "leader_lease");
        check(|settings| settings.settle = Duration::from_secs(2), "settle");
        check(|settings| settings.share_lease = Duration::from_millis(200), "share_lease");
        check(|settings| settings.window_age_max = Duration::from_millis(500), "window_age_max");
        check(|settings| settings.forget_after = Duration::from_secs(3), "forget_after");
    }
}
