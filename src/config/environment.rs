//! What a configuration depends on besides its files: environment variables and the time.

use std::ffi::OsString;
use std::time::SystemTime;

/// What a configuration depends on besides its files.
pub(crate) struct Environment<'s> {
    /// An environment variable.
    pub(crate) variable: &'s dyn Fn(&str) -> Option<OsString>,
    /// Seconds since the epoch.
    pub(crate) now: u64,
    /// The digests of the pairs that a running guard shows to its clients: one of them that has expired since is no reason to refuse
    /// everything else. None where no guard runs yet.
    pub(crate) shown_pairs: Option<&'s [[u8; 32]]>,
}

impl Environment<'static> {
    /// No variable, at the beginning of time: for keys that depend on neither.
    pub(crate) const NOTHING: Environment<'static> =
        Environment { variable: &|_| None, now: 0, shown_pairs: None };

    /// Those of this process.
    pub(crate) fn of_process() -> Environment<'static> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Environment { variable: &|name| std::env::var_os(name), now: now.as_secs(), shown_pairs: None }
    }
}
