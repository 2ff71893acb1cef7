//! Why a batch did not run: one text for the caller, and a detail that only the log gets.

use std::time::Duration;

use super::batch::ROW_BYTES_MAX;

/// Said of a statement of a tool that only reads.
pub(crate) const WRITES: &str = "this statement writes, and the tool says read_only = true, so it can never run (hint: read_only = false)";

/// Why a batch did not run. `Display` is for the caller; the log gets `detail`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the database {0:?} is not configured (hint: start mcp-tools with --database {0}=URL)")]
    NotConfigured(String),
    #[error("the database cannot be reached at the moment; try again later")]
    Unreachable { detail: String },
    #[error("every connection to the database is busy; try again later")]
    Busy,
    #[error("the query took longer than {} s; narrow the filters", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the answer is larger than {} MiB; narrow the filters", ROW_BYTES_MAX / 1024 / 1024)]
    TooLarge,
    #[error("the database takes no changes from here (it is read-only)")]
    ReadOnly { detail: String },
    #[error("this would be more than a number of 64 bits can hold")]
    OutOfRange,
    #[error("the database did not accept the query")]
    Failed { detail: String },
}

impl DatabaseError {
    /// Two columns of a statement have this name.
    pub(crate) fn same_name(name: &str) -> DatabaseError {
        let detail = format!("two columns are named {name} (hint: AS gives each a name of its own)");
        DatabaseError::Failed { detail }
    }

    /// The detail for the log, which the caller must not see.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            DatabaseError::Unreachable { detail }
            | DatabaseError::ReadOnly { detail }
            | DatabaseError::Failed { detail } => Some(detail),
            DatabaseError::NotConfigured(_)
            | DatabaseError::Busy
            | DatabaseError::Timeout(_)
            | DatabaseError::TooLarge
            | DatabaseError::OutOfRange => None,
        }
    }
}
