//! From declarations to the tools that clients see and call: the only module that knows catalogue and handlers.

mod build;
mod databases;
mod server;
mod snapshot;
mod tool;

pub(crate) use build::build;
pub(crate) use databases::DeclaredDatabase;
pub(crate) use snapshot::{Data, Registry};
pub(crate) use tool::Tool;
