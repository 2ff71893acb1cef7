//! Why a batch did not run: one text for the caller, and a detail that only the log gets.

use std::fmt;
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
    #[error("the result is larger than {} MiB; narrow the filters", ROW_BYTES_MAX / 1024 / 1024)]
    TooLarge,
    #[error("the result holds JSON that is nested too deeply to be shown")]
    TooDeep,
    #[error("the column {0} of the result holds an infinite number, which JSON cannot hold")]
    Infinite(String),
    #[error("the database takes no changes from here (it is read-only)")]
    ReadOnly { detail: String },
    #[error("other changes to the same rows were made at the same time; try again")]
    Conflict { detail: String },
    #[error("another change holds these rows; try again later")]
    Locked { detail: String },
    /// COMMIT was sent, and no response tells whether the changes are there.
    #[error(
        "the connection to the database broke; whether it was carried out is unknown, check before you repeat it"
    )]
    Unknown { detail: String },
    #[error("{0}")]
    Caller(Box<CallerFault>),
    #[error("the database did not accept the query")]
    Failed { detail: String },
}

impl DatabaseError {
    /// Two columns of a statement have this name.
    pub(crate) fn same_name(name: &str) -> DatabaseError {
        let detail = format!("two columns are named {name} (hint: AS gives each a name of its own)");
        DatabaseError::Failed { detail }
    }

    /// The value of `error.type` in a span.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            DatabaseError::NotConfigured(_) => "not_configured",
            DatabaseError::Unreachable { .. } => "unreachable",
            DatabaseError::Busy => "busy",
            DatabaseError::Timeout(_) => "timeout",
            DatabaseError::TooLarge => "too_large",
            DatabaseError::TooDeep => "too_deep",
            DatabaseError::Infinite(_) => "infinite",
            DatabaseError::ReadOnly { .. } => "read_only",
            DatabaseError::Conflict { .. } => "conflict",
            DatabaseError::Locked { .. } => "locked",
            DatabaseError::Unknown { .. } => "unknown",
            DatabaseError::Caller(_) => "caller",
            DatabaseError::Failed { .. } => "failed",
        }
    }

    /// The same error, of the statement with this index.
    pub(crate) fn in_statement(mut self, index: usize) -> DatabaseError {
        if let DatabaseError::Caller(fault) = &mut self {
            fault.statement = Some(index);
        }
        self
    }

    /// The same error with another detail for the log.
    pub(crate) fn with_detail(mut self, text: String) -> DatabaseError {
        match &mut self {
            DatabaseError::Caller(fault) => fault.detail = text,
            DatabaseError::Unreachable { detail }
            | DatabaseError::ReadOnly { detail }
            | DatabaseError::Conflict { detail }
            | DatabaseError::Locked { detail }
            | DatabaseError::Unknown { detail }
            | DatabaseError::Failed { detail } => *detail = text,
            DatabaseError::NotConfigured(_)
            | DatabaseError::Busy
            | DatabaseError::Timeout(_)
            | DatabaseError::TooLarge
            | DatabaseError::TooDeep
            | DatabaseError::Infinite(_) => {}
        }
        self
    }

    /// The detail for the log, which the caller must not see.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            DatabaseError::Unreachable { detail }
            | DatabaseError::ReadOnly { detail }
            | DatabaseError::Conflict { detail }
            | DatabaseError::Locked { detail }
            | DatabaseError::Unknown { detail }
            | DatabaseError::Failed { detail } => Some(detail),
            DatabaseError::Caller(fault) => Some(&fault.detail),
            DatabaseError::NotConfigured(_)
            | DatabaseError::Busy
            | DatabaseError::Timeout(_)
            | DatabaseError::TooLarge
            | DatabaseError::TooDeep
            | DatabaseError::Infinite(_) => None,
        }
    }
}

/// What the caller's values did wrong. Names of the database alone, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerFault {
    pub(crate) kind: CallerFaultKind,
    /// SQLSTATE, or SQLite's extended code.
    pub(crate) code: String,
    pub(crate) constraint: Option<String>,
    pub(crate) table: Option<String>,
    /// The column, or several with commas between.
    pub(crate) column: Option<String>,
    pub(crate) data_type: Option<String>,
    /// The statement of the batch, and the number of the value in it, where PostgreSQL tells them.
    pub(crate) statement: Option<usize>,
    pub(crate) parameter: Option<usize>,
    /// The text that a function raised; it may hold values, so only a tool that says so shows it.
    pub(crate) message: Option<String>,
    /// For the log.
    pub(crate) detail: String,
}

/// The kinds of a [`CallerFault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerFaultKind {
    Unique,
    ForeignKey,
    NotNull,
    Check,
    Exclusion,
    /// Text that is no value of a type.
    InvalidText,
    InvalidTime,
    OutOfRange,
    TooLong,
    DivisionByZero,
    /// Text that is no search query, regular expression or path.
    Expression,
    /// A function or trigger of the database refused it.
    Raised,
    Other,
}

impl fmt::Display for CallerFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.kind {
            CallerFaultKind::Unique => "there is already a row with this value",
            CallerFaultKind::ForeignKey => {
                "a row that this one belongs to is missing, or others belong to this one"
            }
            CallerFaultKind::NotNull => "a value is missing",
            CallerFaultKind::Check => "a value is not allowed",
            CallerFaultKind::Exclusion => "this is in conflict with another row",
            CallerFaultKind::InvalidText => "a value does not have the form that is needed",
            CallerFaultKind::InvalidTime => "a value is not a valid date or time",
            CallerFaultKind::OutOfRange => "a number is larger or smaller than the database can hold",
            CallerFaultKind::TooLong => "a text is too long",
            CallerFaultKind::DivisionByZero => "a value leads to a division by zero",
            CallerFaultKind::Expression => "an argument is not a valid search query, pattern or path",
            CallerFaultKind::Raised => "a rule of the database refused this",
            CallerFaultKind::Other => "the database did not accept a value",
        })?;
        let names = [
            ("constraint", &self.constraint),
            ("table", &self.table),
            ("column", &self.column),
            ("type", &self.data_type),
        ];
        let mut before = " (";
        for (kind, name) in names {
            if let Some(name) = name {
                write!(formatter, "{before}{kind} {name}")?;
                before = ", ";
            }
        }
        formatter.write_str(if before == ", " { ")" } else { "" })
    }
}
