//! The upstream side: slots, their connections, one exchange of a request and a response, and the reading of both.
//!
//! Must not know policy or the client.

pub(crate) mod exchange;
pub(crate) mod hold;
pub(crate) mod idle_connections;
pub(crate) mod pool;
pub(crate) mod request_head;
pub(crate) mod response_body;
pub(crate) mod response_head;
pub(crate) mod slot;
