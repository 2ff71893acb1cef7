//! What is shared by all clients, and bounded so that one client cannot take it from the others.
//!
//! Imports nothing of the proxy but its locks. Must not know what a request is.

pub(crate) mod body_budget;
pub(crate) mod client_keys;
pub(crate) mod eviction;
pub(crate) mod open_streams;
pub(crate) mod per_client;
pub(crate) mod semaphore;
