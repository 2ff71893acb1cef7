//! Routes on pingora-proxy: one exchange, the session that pingora-proxy serves, and the proxy itself.

pub(crate) mod bridge;
pub(crate) mod exchange;
mod session;
