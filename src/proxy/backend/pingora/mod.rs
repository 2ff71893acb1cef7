//! Routes on pingora-proxy: one exchange, the session that pingora-proxy serves, and the proxy itself.

pub(crate) mod bridge;
mod connector;
pub(crate) mod exchange;
mod session;
