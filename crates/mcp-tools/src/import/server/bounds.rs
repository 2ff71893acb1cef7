//! How much of a server is read, at most.

use std::time::Duration;

/// All responses together.
pub(super) const BYTES_MAX: usize = 32 << 20;
pub(super) const PAGES_MAX: usize = 1_000;
pub(super) const TOOLS_MAX: usize = 10_000;
pub(super) const TIME_MAX: Duration = Duration::from_secs(60);
