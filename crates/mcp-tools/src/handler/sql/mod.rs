//! The `sql` handler: a declaration becomes statements with bound values, their rows become a result.
//!
//! Must not know which database runs them, nor the protocol.

mod bind;
mod columns;
mod declare;
mod options;
mod plan;
mod run;
mod shape;
mod spans;
mod text;
mod texts;
mod values;
mod words;

pub(crate) use declare::build;
pub(crate) use plan::SqlTool;
