//! What the guard reports to its operator: metrics, one log line per request, and operational lines.
//!
//! Knows the core's closed enums (denials, methods, slots), never a body, an argument or a token, and not Pingora.

pub(crate) mod access_log;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod record;
pub(crate) mod span_sink;
pub(crate) mod trace;

pub(crate) use self::log::{Log, Reader};
pub(crate) use self::metrics::Metrics;
pub(crate) use self::record::{Outcome, Record};
pub(crate) use self::trace::RequestTrace;
