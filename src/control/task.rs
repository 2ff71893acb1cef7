//! A task that ends with its handle.

use tokio::task::JoinHandle;

/// A task that is aborted when this handle is dropped.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
