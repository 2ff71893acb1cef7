//! What a call does: one handler for each kind of declaration, and the one form of their answers.
//!
//! Must not know the protocol: an [`Answer`] becomes a result of `tools/call` elsewhere.

mod answer;
mod argument;
mod http;
mod report;
mod sql;
mod template;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio_rustls::rustls::{ClientConfig, Error as TlsError};

pub(super) use answer::{Answer, Done, Outcome};
pub(super) use http::{Service, Services};

use super::call_log::CallLog;
use super::catalogue::{Arguments, Input, ServerReport, TextFile, TextSource, ToolFile};
use super::database::Databases;
use super::registry::{Registry, Tool};
use super::tls;
use http::HttpTool;
use sql::SqlTool;

/// A call never takes longer, whatever its handler allows: the guard gives up at 55 s.
const CALL_TIME_MAX: Duration = Duration::from_secs(50);

/// What handlers use of the process: it outlives every registry.
pub(super) struct Host {
    pub(super) started: Instant,
    pub(super) databases: Databases,
    pub(super) call_log: Arc<CallLog>,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Host {
    pub(super) fn new(databases: Databases) -> Host {
        let call_log = Arc::new(CallLog::on_standard_error());
        Host { started: Instant::now(), databases, call_log, tls: OnceLock::new() }
    }

    /// A host whose calls leave no line.
    pub(super) fn quiet(databases: Databases) -> Host {
        Host { call_log: Arc::new(CallLog::off()), ..Host::new(databases) }
    }

    /// TLS settings, read from the machine when first needed.
    fn tls(&self) -> Result<&Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.tls.get() {
            return Ok(config);
        }
        let config = Arc::new(tls::client_config()?);
        Ok(self.tls.get_or_init(|| config))
    }
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
    /// Rows of a database.
    Sql(Box<SqlTool>),
    /// The answer of a service.
    Http(Box<HttpTool>),
}

impl Handler {
    /// The handler a declaration asks for; [`Handler::check_declared`] has seen that it is one.
    pub(super) fn build(
        tool: ToolFile,
        input: &Input,
        instructions: &Arc<str>,
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
            return Ok(Handler::Sql(Box::new(sql::build(sql, read_only, input)?)));
        }
        if let Some(http) = tool.http {
            return Ok(Handler::Http(Box::new(http::build(http, read_only, input, services)?)));
        }
        Ok(Handler::Catalog)
    }

    /// Whether exactly one handler is declared.
    pub(super) fn check_declared(tool: &ToolFile) -> Result<(), String> {
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

    async fn run(&self, arguments: &Arguments, host: &Host, registry: &Registry) -> Done {
        match self {
            Handler::Text(text) => text_answer(text),
            Handler::Catalog => catalog_answer(registry.self_descriptions()),
            Handler::Server(report) => Done::ok(Answer::Value(report::report(*report, host, registry).await)),
            Handler::Refuse(reason) => Done::failed(Outcome::Refused, reason.clone()),
            Handler::Sql(sql) => sql.run(arguments, host).await,
            Handler::Http(http) => http.run(arguments, host).await,
        }
    }

    /// The answer, when it is the same for every call. `tools` is what the list of all tools says.
    pub(super) fn fixed(&self, tools: &[Value]) -> Option<Done> {
        match self {
            Handler::Text(text) => Some(text_answer(text)),
            Handler::Catalog => Some(catalog_answer(tools)),
            Handler::Server(_) | Handler::Refuse(_) | Handler::Sql(_) | Handler::Http(_) => None,
        }
    }

    /// Whether the database has what this handler asks for; says what it lacks.
    pub(super) async fn check(&self, databases: &Databases) -> Vec<String> {
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

fn text_handler(text: TextFile, instructions: &Arc<str>) -> Result<Handler, Vec<String>> {
    match (text.body, text.from) {
        (Some(body), None) => Ok(Handler::Text(body.into())),
        (None, Some(TextSource::Instructions)) => Ok(Handler::Text(Arc::clone(instructions))),
        (Some(_), Some(_)) | (None, None) => Err(vec!["text: needs one of body, from".into()]),
    }
}

fn text_answer(text: &str) -> Done {
    Done::ok(Answer::Text(text.to_owned()))
}

fn catalog_answer(tools: &[Value]) -> Done {
    Done::ok(Answer::List(tools.to_vec())).with_rows(tools.len())
}

/// Judges the arguments of a call.
pub(super) fn accept(tool: &Tool, sent: Map<String, Value>) -> Result<Arguments, Done> {
    tool.input().accept(sent).map_err(|reason| {
        Done::failed(Outcome::Invalid, format!("Invalid arguments for {}: {reason}", tool.name()))
    })
}

/// Runs the handler within the time a call may take.
pub(super) async fn run(tool: &Tool, arguments: &Arguments, host: &Host, registry: &Registry) -> Done {
    let run = tool.handler().run(arguments, host, registry);
    match tokio::time::timeout(CALL_TIME_MAX, run).await {
        Ok(done) => done,
        Err(_) => {
            let told = format!("{} did not finish within {} s", tool.name(), CALL_TIME_MAX.as_secs());
            Done::failed(Outcome::Timeout, told)
        }
    }
}
