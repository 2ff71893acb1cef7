//! The client's side of a connection: bytes, deadlines, bodies, and local replies.

pub(crate) mod body;
pub(crate) mod client_stream;
pub(crate) mod connection;
pub(crate) mod handshake;
pub(crate) mod health;
pub(crate) mod local_reply;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod shown_certificate;
pub(crate) mod stream;
mod timer;
