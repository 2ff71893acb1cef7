//! The TOML mirror of a catalogue file, and the reader that reports every mistake of it.
//!
//! Must not validate what a declaration means: handlers and the schema do.

mod database;
mod document;
mod example;
mod http;
mod include;
mod mistakes;
mod param;
mod server;
mod sql;
mod tool;

pub(crate) use database::DatabaseFile;
pub(crate) use document::{Declared, Document, parse};
pub(crate) use example::ExampleFile;
pub(crate) use http::{HttpFile, HttpMethod, ListStyle, ServiceFile, TotalFile};
pub(crate) use include::includes;
pub(crate) use param::ParamFile;
pub(crate) use server::ServerFile;
pub(crate) use sql::{BeforeFile, IsolationFile, LetFile, SectionFile, Shape, SqlFile, TimeFile, Unit};
pub(crate) use tool::{AnnotationsFile, IdentityFile, ServerReport, TextFile, TextSource, ToolFile};
