//! What a call does: one handler for each kind of declaration, and the one form of their answers.
//!
//! Must not know the protocol: an [`Answer`] becomes a result of `tools/call` elsewhere.

mod answer;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(super) use answer::{Answer, Done, Outcome};

use super::catalogue::{Arguments, ServerReport, TextSource, ToolFile};
use super::registry::{Registry, Tool};

/// A call never takes longer, whatever its handler allows: the guard gives up at 55 s.
const CALL_TIME_MAX: Duration = Duration::from_secs(50);

/// What handlers use of the process: it outlives every registry.
pub(super) struct Host {
    pub(super) started: Instant,
}

/// What a tool does when it is called.
pub(super) enum Handler {
    /// A fixed text.
    Text(Arc<str>),
    /// The list of all tools.
    Catalog,
    /// What the process knows about itself.
    Server(ServerReport),
    /// Stays listed, and says why it cannot be done here.
    Refuse(String),
}

impl Handler {
    /// The handler a declaration asks for; exactly one must be declared.
    pub(super) fn build(tool: &ToolFile, instructions: &Arc<str>) -> Result<Handler, Vec<String>> {
        let mut handlers: Vec<Result<Handler, Vec<String>>> = Vec::new();
        if let Some(text) = &tool.text {
            handlers.push(match (&text.body, text.from) {
                (Some(body), None) => Ok(Handler::Text(body.as_str().into())),
                (None, Some(TextSource::Instructions)) => Ok(Handler::Text(Arc::clone(instructions))),
                (Some(_), Some(_)) | (None, None) => Err(vec!["text: needs one of body, from".into()]),
            });
        }
        if tool.catalog.is_some() {
            handlers.push(Ok(Handler::Catalog));
        }
        if let Some(server) = &tool.server {
            handlers.push(Ok(Handler::Server(server.report)));
        }
        if let Some(refuse) = &tool.refuse {
            handlers.push(Ok(Handler::Refuse(refuse.reason.clone())));
        }
        match (handlers.pop(), handlers.is_empty()) {
            (Some(only), true) => only,
            (None, _) => Err(vec!["has no handler (give one of text, catalog, server, refuse)".into()]),
            (Some(_), false) => Err(vec!["has several handlers; give exactly one".into()]),
        }
    }

    async fn run(&self, _arguments: &Arguments, host: &Host, registry: &Registry) -> Done {
        match self {
            Handler::Text(text) => Done::ok(Answer::Text(text.to_string())),
            Handler::Catalog => {
                let tools = registry.self_descriptions();
                Done::ok(Answer::List(tools.to_vec())).with_rows(tools.len())
            }
            Handler::Server(report) => Done::ok(Answer::Value(report::report(*report, host, registry))),
            Handler::Refuse(reason) => Done::failed(Outcome::Refused, reason.clone()),
        }
    }
}

/// Calls a tool: judges the arguments, runs the handler within the time a call may take.
pub(super) async fn call(
    tool: &Tool,
    sent: serde_json::Map<String, Value>,
    host: &Host,
    registry: &Registry,
) -> Done {
    let arguments = match tool.input().accept(sent) {
        Ok(arguments) => arguments,
        Err(reason) => {
            return Done::failed(
                Outcome::Invalid,
                format!("Invalid arguments for {}: {reason}", tool.name()),
            );
        }
    };
    let run = tool.handler().run(&arguments, host, registry);
    match tokio::time::timeout(CALL_TIME_MAX, run).await {
        Ok(done) => done,
        Err(_) => {
            let told = format!("{} did not finish within {} s", tool.name(), CALL_TIME_MAX.as_secs());
            Done::failed(Outcome::Timeout, told)
        }
    }
}
