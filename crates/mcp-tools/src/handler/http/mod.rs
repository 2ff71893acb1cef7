//! The `http` handler: one call of a declared service.

mod body;
mod charset;
mod declare;
mod exchange;
mod headers;
mod patterns;
mod pick;
mod query;
mod reason;
mod refusal;
mod render;
mod service;
mod spans;
mod tool;
mod totals;

pub(crate) use declare::build;
pub(crate) use service::{Service, Services};
pub(crate) use tool::HttpTool;
