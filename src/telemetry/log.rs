//! The log: operational lines (through the `log` crate) and request lines share one bounded queue and one writer thread.
//!
//! A slow or full stderr never slows a request: what does not fit is dropped and counted. Must not know HTTP.

use std::io;

use crate::config;

/// A handle on the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Log {}

impl Log {
    /// Starts the writer thread on stderr and installs it as the process's logger. Once per process.
    pub(crate) fn start(config: config::Log) -> io::Result<Log> {
        let _ = config;
        todo!()
    }

    /// Writes what is queued and returns when it is written (or a second has passed). The last thing before exit.
    pub(crate) fn flush(&self) {
        todo!()
    }
}
