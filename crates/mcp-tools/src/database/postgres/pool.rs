//! The connections of one database: a bounded number, each used by one call at a time.
//!
//! Must not know what is done on a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::Config;

use super::super::settings::PoolStatus;
use super::connect::{Connection, Connector};

/// A server that does not accept a connection within this time counts as unreachable.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    #[error("all connections are in use")]
    Busy,
    #[error("no connection within {} s", CONNECT_MAX.as_secs())]
    Slow,
    #[error("cannot connect")]
    Connect(#[source] tokio_postgres::Error),
}

pub(super) struct Pool {
    connector: Connector,
    config: Config,
    max: usize,
    wait: Duration,
    limit: Arc<Semaphore>,
    idle: Arc<Idle>,
    /// Calls that wait for a permit.
    waiting: AtomicUsize,
}

/// A connection for one call.
pub(super) struct Taken {
    pub(super) connection: Connection,
    /// Where it goes afterwards.
    pub(super) idle: Arc<Idle>,
    /// Released after that.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Open connections that no call uses, the last used at the end: its memory and the server's are warm.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Connection>>);

impl Idle {
    pub(super) fn put(&self, connection: Connection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if !connection.client.is_closed() {
                return Some(connection);
            }
        }
        None
    }
}

/// Counts a call that waits for a permit, until it has one or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, config: Config, max: usize, wait: Duration) -> Pool {
        let limit = Arc::new(Semaphore::new(max));
        Pool { connector, config, max, wait, limit, idle: Arc::default(), waiting: AtomicUsize::new(0) }
    }

    pub(super) async fn take(&self) -> Result<Taken, PoolError> {
        let permit = self.permit().await?;
        let connection = match self.idle.take() {
            Some(connection) => connection,
            None => {
                let connected = timeout(CONNECT_MAX, self.connector.open(&self.config)).await;
                connected.map_err(|_| PoolError::Slow)?.map_err(PoolError::Connect)?
            }
        };
        Ok(Taken { connection, idle: Arc::clone(&self.idle), permit })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, PoolError> {
        if let Ok(permit) = Arc::clone(&self.limit).try_acquire_owned() {
            return Ok(permit);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let counted = Waiting(&self.waiting);
        let permit = timeout(self.wait, Arc::clone(&self.limit).acquire_owned()).await;
        drop(counted);
        permit.map_err(|_| PoolError::Busy)?.map_err(|_| PoolError::Busy)
    }

    pub(super) fn status(&self) -> PoolStatus {
        let idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        let used = self.max.saturating_sub(self.limit.available_permits());
        let waiting = self.waiting.load(Ordering::Relaxed);
        PoolStatus { connections_max: self.max, connections: idle + used, idle, waiting }
    }
}
