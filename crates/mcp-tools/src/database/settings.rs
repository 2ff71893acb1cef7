//! How a database is used: connections, waits, and what a pooler between does not permit.
//!
//! Must not know where the database is.

use std::time::Duration;

/// Connections of one database when its settings do not say; calls beyond that wait.
const POOL_DEFAULT: usize = 8;
/// How long a call waits for a connection when the settings do not say.
const POOL_WAIT_DEFAULT: Duration = Duration::from_secs(2);

/// The settings of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Connections at most.
    pub(crate) pool: usize,
    /// How long a call waits for one of them.
    pub(crate) pool_wait: Duration,
    /// How long a statement waits for a lock; `None` leaves it to the server, or to SQLite's second.
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) prepared: Prepared,
}

/// Whether statements stay prepared on their connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepared {
    Kept,
    /// A pooler such as PgBouncer gives each transaction another connection.
    Never,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pool: POOL_DEFAULT,
            pool_wait: POOL_WAIT_DEFAULT,
            lock_timeout: None,
            prepared: Prepared::Kept,
        }
    }
}

/// The connections of a database at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolStatus {
    pub(crate) connections_max: usize,
    /// Open connections.
    pub(crate) connections: usize,
    /// Open connections that no call uses.
    pub(crate) idle: usize,
    /// Calls that wait for a connection.
    pub(crate) waiting: usize,
}
