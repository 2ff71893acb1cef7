//! The upstream side: slots, their connections, and one exchange of a request and a response.
//!
//! Must not know calls, nor the client's side of a connection.

pub(crate) mod dial;
pub(crate) mod discover_cache;
pub(crate) mod exchange;
pub(crate) mod hold;
pub(crate) mod idle_connections;
pub(crate) mod pingora;
pub(crate) mod pool;
pub(crate) mod request_head;
mod resolve;
pub(crate) mod response_body;
pub(crate) mod response_head;
pub(crate) mod slot;
pub(crate) mod socket;
