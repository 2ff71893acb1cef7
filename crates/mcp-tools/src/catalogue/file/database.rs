//! The TOML mirror of `[database.NAME]`.

use serde::Deserialize;

/// Where a database is (one key of the first two), and how it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseFile {
    /// Without a password: other users may read the file.
    pub(crate) url: Option<String>,
    /// The variable that holds the URL.
    pub(crate) url_env: Option<String>,
    /// Connections at most.
    pub(crate) pool: Option<usize>,
    /// How long a call waits for one of them.
    pub(crate) pool_wait_ms: Option<u64>,
    /// How long a statement waits for a lock.
    pub(crate) lock_timeout_ms: Option<u64>,
    /// Whether statements stay prepared; `false` behind a pooler such as PgBouncer.
    pub(crate) prepared: Option<bool>,
}
