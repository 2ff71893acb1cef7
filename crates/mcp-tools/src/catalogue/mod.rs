//! Tool catalogues: TOML files that declare tools, read with every problem of every file reported at once.
//!
//! Must not know handlers, the protocol or the registry.

mod arguments;
mod builtin;
mod example;
pub(crate) mod file;
mod identity;
mod json;
mod output;
mod property;
#[cfg(test)]
mod proptests;
mod read;
mod schema;
mod source;
mod validator;

pub(crate) use arguments::{Argument, Arguments, Sent};
pub(crate) use builtin::builtin_sources;
pub(crate) use example::{Example, examples};
pub(crate) use identity::Identity;
pub(crate) use json::json_of;
pub(crate) use output::{Output, RESULT};
pub(crate) use read::read_catalogue;
pub(crate) use schema::{Input, Param, input_schema};
pub(crate) use source::{Source, listed, read_text, unreadable};
