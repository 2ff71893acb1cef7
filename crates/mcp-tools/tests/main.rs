//! mcp-tools as its users meet it: the command line, and HTTP on the Unix socket.
//!
//! Knows nothing of the library's inside: it runs the program.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod catalogue;
mod digits;
mod docs;
mod examples;
mod identity;
mod import;
mod import_database;
mod import_openapi;
mod limits;
mod listen;
mod log_secrets;
mod metrics;
mod one_exchange;
mod output;
mod own_catalogue;
mod params;
mod pg;
mod pgbouncer;
mod postgresql;
mod process;
mod program;
mod protocol;
mod recorded;
mod rest;
mod rest_responses;
mod service;
mod services;
mod sql_answers;
mod sql_declarations;
mod sql_postgres;
mod sql_refusals;
mod sql_sqlite;
mod sql_text;
mod sqlite_files;
mod statements;
mod stdio;
mod surface;
mod tls;
mod transactions;
