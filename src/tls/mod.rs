//! TLS settings as values: what the guard shows to clients, and how it reaches a backend.
//!
//! Texts of PEM files come in, immutable settings of rustls come out; two settings made of the same texts are equal, so that a
//! reload that changes nothing keeps sessions and connections. Reads no file and opens no socket.

mod authorities;
mod certificate;
mod client;
mod own;
mod pair;
mod server;

pub(crate) use certificate::{Facts, fingerprint};
pub(crate) use client::ClientTls;
pub(crate) use pair::{Expired, Pair, PairError, date};
pub(crate) use server::{ClientAuth, ServerTls, must_keep_tls};
