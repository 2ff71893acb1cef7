//! The runtime that commands run on.

use tokio::runtime::{Builder, Runtime};

use super::report::{CommandError, other};

pub(crate) fn runtime() -> Result<Runtime, CommandError> {
    builder().build().map_err(other)
}

/// One thread: a call is cheaper than handing it to another thread. What takes long runs on threads of its own.
pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    builder
}
