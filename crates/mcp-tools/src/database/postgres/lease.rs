//! A pooled connection for one batch. It returns to the pool only when its transaction has ended.
//!
//! A lease that is dropped earlier, because its caller has gone, cancels the query and closes the connection: the next
//! call must not wait for it. Must not know what the batch does.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::connect::Connection;
use super::pipeline::Pipeline;
use super::pool::{Idle, Taken};

/// How long the request to cancel a query may take.
const CANCEL_MAX: Duration = Duration::from_secs(2);

/// A connection that one batch uses.
pub(super) struct Lease {
    connection: Option<Connection>,
    idle: Arc<Idle>,
    settled: bool,
    condemned: bool,
    /// Released after the connection is back.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn new(taken: Taken) -> Lease {
        let Taken { connection, idle, permit } = taken;
        Lease { connection: Some(connection), idle, settled: false, condemned: false, _permit: permit }
    }

    /// The connection, while the lease lives.
    pub(super) fn client(&self) -> Option<&ClientWrapper> {
        self.connection.as_ref().map(|connection| &connection.client)
    }

    /// The connection with its pipeline, where it has one.
    pub(super) fn pipeline(&mut self) -> Option<(&ClientWrapper, &mut Pipeline)> {
        let connection = self.connection.as_mut()?;
        Some((&connection.client, connection.pipeline.as_mut()?))
    }

    /// A transaction begins: until it has ended, no other call may use the connection.
    pub(super) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// The connection is closed after this batch, whatever becomes of it.
    pub(super) fn condemn(&mut self) {
        self.condemned = true;
    }

    /// No transaction is open any more, and no response is missing: another call may use the connection.
    pub(super) fn settle(&mut self) {
        self.settled = !self.condemned;
    }

    /// Asks the server to end what runs on this connection.
    pub(super) async fn cancel(&self) {
        if let Some(connection) = &self.connection {
            let token = connection.client.cancel_token();
            let _ = timeout(CANCEL_MAX, connection.canceller.cancel(token)).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.settled {
            self.idle.put(connection);
            return;
        }
        let (token, closed) = (connection.client.cancel_token(), connection.client.is_closed());
        let Connection { client, canceller, pipeline } = connection;
        drop((client, pipeline));
        if let (false, Ok(runtime)) = (closed, Handle::try_current()) {
            runtime.spawn(async move { timeout(CANCEL_MAX, canceller.cancel(token)).await });
        }
    }
}
