//! Makes a catalogue from a running MCP server, an OpenAPI document or the tables of a database.
//!
//! Each source gives a [`Draft`]; [`write`] turns it into TOML that `mcp-tools check` accepts. What cannot be expressed
//! becomes a comment with the reason. Must not know the command line.

mod database;
mod draft;
mod names;
mod openapi;
mod params;
mod server;
mod spell;
mod write;

pub(crate) use database::{Origin, import_database};
pub(crate) use draft::Draft;
pub(crate) use openapi::{DocumentError, import_openapi};
pub(crate) use server::import_server;
pub(crate) use write::{Written, write};
