//! A pooled connection for one batch. It returns to the pool only when its transaction has ended.
//!
//! A lease that is dropped earlier, because its caller has gone, cancels the query and closes the connection: the next
//! call must not wait for it. Must not know what the batch does.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the request to cancel a query may take.
const CANCEL_MAX: Duration = Duration::from_secs(2);

/// A connection that one batch uses.
pub(super) struct Lease {
    client: Option<Object>,
    tls: MakeRustlsConnect,
    settled: bool,
}

impl Lease {
    pub(super) fn new(client: Object, tls: MakeRustlsConnect) -> Lease {
        Lease { client: Some(client), tls, settled: false }
    }

    /// The connection, while the lease lives.
    pub(super) fn client(&self) -> Option<&ClientWrapper> {
        self.client.as_deref()
    }

    /// A transaction begins: until it has ended, no other call may use the connection.
    pub(super) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// No transaction is open any more: another call may use the connection.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// Asks the server to end what runs on this connection.
    pub(super) async fn cancel(&self) {
        if let Some(client) = &self.client {
            let _ = timeout(CANCEL_MAX, client.cancel_token().cancel_query(self.tls.clone())).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if self.settled {
            return;
        }
        let client = Object::take(client);
        let (token, tls, closed) = (client.cancel_token(), self.tls.clone(), client.is_closed());
        drop(client);
        if let (false, Ok(runtime)) = (closed, Handle::try_current()) {
            runtime.spawn(async move { timeout(CANCEL_MAX, token.cancel_query(tls)).await.map(drop) });
        }
    }
}
