//! What the guard tells its operator: metrics, one log line per request, and operational lines.
//!
//! Knows the core's closed enums (denials, methods, slots), never a body, an argument or a token, and not Pingora.

pub(crate) mod log;

pub(crate) use self::log::Log;
