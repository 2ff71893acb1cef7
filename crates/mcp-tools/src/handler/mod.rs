//! What a call does: one handler for each kind of declaration, and the common form of their results.
//!
//! Must not know the protocol: `protocol` turns a [`ToolResult`] into a result of `tools/call`.

mod argument;
mod call;
mod context;
mod http;
mod report;
mod result;
mod self_description;
mod sql;
mod template;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub(crate) use call::{CallInfo, Caller};
pub(crate) use context::Context;
pub(crate) use http::{Service, Services};
pub(crate) use result::{Content, Notice, ToolResult};
pub(crate) use self_description::SelfDescription;

use crate::call_log::Outcome;
use crate::catalogue::file::{ServerReport, Shape, TextFile, TextSource, ToolFile};
use crate::catalogue::{Arguments, Input, Output, RESULT};
use crate::database::Databases;
use http::HttpTool;
use sql::SqlTool;

/// What a tool does when it is called.
pub(crate) enum Handler {
    /// A fixed text.
    Text(Arc<str>),
    /// The list of all tools.
    Catalog,
    /// What the process knows about itself.
    Server(ServerReport),
    /// Stays listed, and returns why it cannot run here.
    Refuse(String),
    /// Rows of a database.
    Sql(Box<SqlTool>),
    /// The response of a service.
    Http(Box<HttpTool>),
}

impl Handler {
    /// Builds the declared handler; [`Handler::check_declared`] has checked that there is exactly one.
    pub(crate) fn build(
        tool: ToolFile,
        input: &Input,
        instructions: Option<&Arc<str>>,
        services: &Services,
    ) -> Result<Handler, Vec<String>> {
        let read_only = tool.read_only;
        if let Some(text) = tool.text {
            return text_handler(text, instructions);
        }
        if let Some(server) = tool.server {
            return Ok(Handler::Server(server.report));
        }
        if let Some(refuse) = tool.refuse {
            return Ok(Handler::Refuse(refuse.reason));
        }
        if let Some(sql) = tool.sql {
            return Ok(Handler::Sql(Box::new(sql::build(sql, read_only, tool.identity, input)?)));
        }
        if let Some(http) = tool.http {
            return Ok(Handler::Http(Box::new(http::build(
                http,
                read_only,
                tool.identity,
                input,
                services,
            )?)));
        }
        Ok(Handler::Catalog)
    }

    /// Whether exactly one handler is declared.
    pub(crate) fn check_declared(tool: &ToolFile) -> Result<(), String> {
        let declared = [
            tool.text.is_some(),
            tool.catalog.is_some(),
            tool.server.is_some(),
            tool.refuse.is_some(),
            tool.sql.is_some(),
            tool.http.is_some(),
        ];
        match declared.iter().filter(|given| **given).count() {
            1 => Ok(()),
            0 => Err("has no handler (give one of text, catalog, server, refuse, sql, http)".into()),
            _ => Err("has several handlers; give exactly one".into()),
        }
    }

    /// Runs a call.
    pub(crate) async fn run(
        &self,
        arguments: &Arguments,
        context: &Context,
        call: &CallInfo,
        server: &SelfDescription,
    ) -> ToolResult {
        match self {
            Handler::Text(text) => text_result(text),
            Handler::Catalog => catalog_result(&server.tools),
            Handler::Server(report) => {
                ToolResult::ok(Content::Value(report::report(*report, context, server).await))
            }
            Handler::Refuse(reason) => ToolResult::failed(Outcome::Refused, reason.clone()),
            Handler::Sql(sql) => sql.run(arguments, context, call).await,
            Handler::Http(http) => http.run(arguments, context, call).await,
        }
    }

    /// The time limit that is declared, of a handler that waits for others.
    pub(crate) fn time_max(&self) -> Option<Duration> {
        match self {
            Handler::Sql(sql) => Some(sql.time_max),
            Handler::Http(http) => Some(http.time_max),
            Handler::Text(_) | Handler::Catalog | Handler::Server(_) | Handler::Refuse(_) => None,
        }
    }

    /// The database that it needs.
    pub(crate) fn database(&self) -> Option<&str> {
        match self {
            Handler::Sql(sql) => Some(sql.database()),
            Handler::Text(_)
            | Handler::Catalog
            | Handler::Server(_)
            | Handler::Refuse(_)
            | Handler::Http(_) => None,
        }
    }

    /// Why no result of this handler fits an output schema, as far as the declaration shows it.
    pub(crate) fn contradiction(&self, output: &Output) -> Option<String> {
        let wraps = match self {
            Handler::Text(text) => {
                let content = Content::Text(text.to_string()).structured()?;
                let misfit = output.misfit(content.as_str())?;
                return Some(format!("output_schema: the text does not fit it: {misfit}"));
            }
            Handler::Catalog => true,
            Handler::Sql(sql) => matches!(sql.shape, Shape::Rows | Shape::Value),
            Handler::Server(_) | Handler::Refuse(_) | Handler::Http(_) => false,
        };
        let name = output.unmet_by_wrapped().filter(|_| wraps)?;
        Some(format!(
            "output_schema: requires {name}, and the structured content of this tool is {{{RESULT:?}: ...}} only"
        ))
    }

    /// Whether a call leaves nothing behind once its transaction is undone.
    pub(crate) fn can_be_undone(&self) -> bool {
        match self {
            Handler::Http(http) => http.read_only,
            Handler::Text(_)
            | Handler::Catalog
            | Handler::Server(_)
            | Handler::Refuse(_)
            | Handler::Sql(_) => true,
        }
    }

    /// The result, if it is the same for every call.
    pub(crate) fn static_result(&self, server: &SelfDescription) -> Option<ToolResult> {
        match self {
            Handler::Text(text) => Some(text_result(text)),
            Handler::Catalog => Some(catalog_result(&server.tools)),
            Handler::Server(_) | Handler::Refuse(_) | Handler::Sql(_) | Handler::Http(_) => None,
        }
    }

    /// What the database lacks for this handler; empty if it lacks nothing.
    pub(crate) async fn check(&self, databases: &Databases) -> Vec<String> {
        match self {
            Handler::Sql(sql) => match databases.get(sql.database()) {
                Ok(database) => sql.check(database).await,
                Err(error) => vec![error.to_string()],
            },
            Handler::Text(_)
            | Handler::Catalog
            | Handler::Server(_)
            | Handler::Refuse(_)
            | Handler::Http(_) => Vec::new(),
        }
    }
}

fn text_handler(text: TextFile, instructions: Option<&Arc<str>>) -> Result<Handler, Vec<String>> {
    match (text.body, text.from) {
        (Some(body), None) => Ok(Handler::Text(body.into())),
        (None, Some(TextSource::Instructions)) => match instructions {
            Some(text) => Ok(Handler::Text(Arc::clone(text))),
            None => Err(vec!["text.from: the server has no instructions (hint: instructions or instructions_file in [server])".into()]),
        },
        (Some(_), Some(_)) | (None, None) => Err(vec!["text: needs one of body, from".into()]),
    }
}

fn text_result(text: &str) -> ToolResult {
    ToolResult::ok(Content::Text(text.to_owned()))
}

fn catalog_result(tools: &[Value]) -> ToolResult {
    ToolResult::ok(Content::List(tools.to_vec())).with_rows(tools.len())
}
