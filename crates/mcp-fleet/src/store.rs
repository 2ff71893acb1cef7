//! Where a fleet keeps what its members share.

use std::future::Future;

use crate::request::{Reply, Request, StoreError};

/// A store that carries out one request at once, before and after all others.
pub trait Store: Send + Sync + 'static {
    /// Carries out a request. Must end in bounded time.
    fn exchange(&self, request: Request) -> impl Future<Output = Result<Reply, StoreError>> + Send;
}
