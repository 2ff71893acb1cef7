//! Pingora's proxy for one request of a route.

pub(crate) mod bridge;
pub(crate) mod upstream;
