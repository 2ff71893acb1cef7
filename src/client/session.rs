//! MCP over the exchange: open a session in either era, send requests, call tools. `tools_list` reads the pages of a list.
//!
//! A legacy session does what an SDK does (`initialize`, `notifications/initialized`, then the negotiated version and the
//! session id, if the server gave one, on every request); a modern one describes itself in every request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::error::{Error, excerpt};
use super::exchange::{Client, KeptConnection, Method, ReadUntil, Request, Response};
use crate::wire::declaration::Handshake;
use crate::wire::{Era, header_value};

/// The version that a legacy session offers: the newest with `initialize`; the server replies with the one it speaks.
const LEGACY_VERSION: &str = "2025-11-25";
const MODERN_VERSION: &str = "2026-07-28";

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");

/// What a JSON-RPC response says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RpcResponse {
    Result(Value),
    Error { code: i64, message: String },
}

/// A JSON-RPC response, its status and its time.
#[derive(Debug, Clone)]
pub(crate) struct TimedResponse {
    pub(crate) answer: RpcResponse,
    pub(crate) status: u16,
    pub(crate) elapsed: Duration,
}

/// An open session with one server, in one era.
#[derive(Debug)]
pub(crate) struct Session<'c> {
    pub(super) client: &'c Client,
    era: Era,
    /// The version sent with every request, once negotiated.
    version: Option<String>,
    id: Option<HeaderValue>,
    next: AtomicU64,
    pub(crate) handshake: Handshake,
    /// How long the first response took.
    pub(crate) opened_in: Duration,
}

impl<'c> Session<'c> {
    /// Opens as SDKs do: `server/discover` first, and `initialize` where that is not understood.
    pub(crate) async fn open(client: &'c Client) -> Result<Session<'c>, Error> {
        match Session::modern(client).await {
            Err(error) if says_legacy(&error) => Session::legacy(client).await,
            opened => opened,
        }
    }

    /// Opens with `initialize`.
    pub(crate) async fn legacy(client: &'c Client) -> Result<Session<'c>, Error> {
        match Session::initialize(client).await {
            Err(error) if error.status() == Some(406) && client.accept_json_only() => {
                Session::initialize(client).await
            }
            opened => opened,
        }
    }

    async fn initialize(client: &'c Client) -> Result<Session<'c>, Error> {
        let mut session = Session::unopened(client, Era::Legacy);
        let params =
            json!({"protocolVersion": LEGACY_VERSION, "capabilities": {}, "clientInfo": client_info()});
        let (reply, answered) = session.exchange("initialize", params, None).await?;
        session.opened_in = answered.elapsed;
        let result = session.result_of("initialize", answered)?;
        let lacks = |lacks| Error::Shape { question: client.question("initialize"), lacks };
        let version = text(&result, "protocolVersion").ok_or_else(|| lacks("`protocolVersion`"))?;
        let server = result.get("serverInfo");
        session.handshake = handshake(version.clone(), vec![version.clone()], server, &result);
        session.version = Some(version);
        session.id = reply.headers.get(SESSION_ID).cloned();
        session.notify_initialized().await?;
        Ok(session)
    }

    /// Opens with `server/discover`.
    pub(crate) async fn modern(client: &'c Client) -> Result<Session<'c>, Error> {
        let mut session = Session::unopened(client, Era::Modern);
        session.version = Some(MODERN_VERSION.to_owned());
        let answered = session.ask("server/discover", json!({}), None).await?;
        session.opened_in = answered.elapsed;
        let result = session.result_of("server/discover", answered)?;
        let lacks = |lacks| Error::Shape { question: client.question("server/discover"), lacks };
        let listed = result.get("supportedVersions").and_then(Value::as_array);
        let versions: Vec<String> = listed
            .ok_or_else(|| lacks("`supportedVersions`"))?
            .iter()
            .filter_map(|version| version.as_str().map(str::to_owned))
            .collect();
        let server = result.get("_meta").and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo"));
        session.handshake = handshake(MODERN_VERSION.to_owned(), versions, server, &result);
        Ok(session)
    }

    fn unopened(client: &'c Client, era: Era) -> Session<'c> {
        Session {
            client,
            era,
            version: None,
            id: None,
            next: AtomicU64::new(1),
            handshake: Handshake::default(),
            opened_in: Duration::ZERO,
        }
    }

    /// Calls a tool. A JSON-RPC error is a response here, not a failure.
    pub(crate) async fn call_tool(&self, name: &str, arguments: &Value) -> Result<TimedResponse, Error> {
        self.ask("tools/call", json!({"name": name, "arguments": arguments}), Some(name)).await
    }

    /// Any request; `name` is what `Mcp-Name` repeats.
    pub(crate) async fn ask(
        &self,
        method: &str,
        params: Value,
        name: Option<&str>,
    ) -> Result<TimedResponse, Error> {
        Ok(self.exchange(method, params, name).await?.1)
    }

    /// Deletes the session on a server that keeps them: repeated probes must not fill its memory. What
    /// it replies does not matter.
    pub(crate) async fn close(self) {
        let Some(id) = &self.id else { return };
        let mut request = Request::bare(Method::DELETE, None);
        request.authorized = true;
        request.headers.push((SESSION_ID, id.clone()));
        let version = self.version.as_deref().and_then(|version| HeaderValue::from_str(version).ok());
        request.headers.extend(version.map(|version| (PROTOCOL_VERSION, version)));
        let _whatever = self.client.raw(request).await;
    }

    /// The result, or the JSON-RPC error as an error.
    pub(crate) fn result_of(&self, what: &str, answered: TimedResponse) -> Result<Value, Error> {
        match answered.answer {
            RpcResponse::Result(result) => Ok(result),
            RpcResponse::Error { code, message } => Err(Error::Rpc {
                question: self.client.question(what),
                status: answered.status,
                code,
                message: excerpt(message.as_bytes()),
            }),
        }
    }

    async fn exchange(
        &self,
        method: &str,
        params: Value,
        name: Option<&str>,
    ) -> Result<(Response, TimedResponse), Error> {
        let (id, reply) = self.send(method, params, name).await?;
        let answered = self.read(method, &id, &reply)?;
        Ok((reply, answered))
    }

    /// Sends a request; what comes back is not read yet. Its id is the number of the request in this session.
    pub(super) async fn send(
        &self,
        method: &str,
        params: Value,
        name: Option<&str>,
    ) -> Result<(Value, Response), Error> {
        let (id, request) = self.numbered(method, params, name)?;
        let reply = self.client.exchange(method, request, ReadUntil::Response(&id)).await?;
        Ok((id, reply))
    }

    /// The same over a kept connection.
    pub(super) async fn send_kept(
        &self,
        kept: &mut KeptConnection,
        method: &str,
        params: Value,
        name: Option<&str>,
    ) -> Result<(Value, Response), Error> {
        let (id, request) = self.numbered(method, params, name)?;
        let reply = self.client.exchange_kept(kept, method, request, ReadUntil::Response(&id)).await?;
        Ok((id, reply))
    }

    fn numbered(
        &self,
        method: &str,
        mut params: Value,
        name: Option<&str>,
    ) -> Result<(Value, Request), Error> {
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let id = Value::from(self.next.fetch_add(1, Ordering::Relaxed));
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let request = self.request(method, name, body)?;
        Ok((id, request))
    }

    fn request(&self, method: &str, name: Option<&str>, body: String) -> Result<Request, Error> {
        let mut request = Request::post(Bytes::from(body));
        let mut fields = Vec::new();
        if let Some(version) = &self.version {
            fields.push((PROTOCOL_VERSION, HeaderValue::from_str(version)));
        }
        if self.era == Era::Modern {
            fields.push((MCP_METHOD, HeaderValue::from_str(method)));
            fields.extend(name.map(|name| (MCP_NAME, HeaderValue::from_str(&header_value::encode(name)))));
        }
        for (field, value) in fields {
            let malformed = |error: hyper::header::InvalidHeaderValue| Error::Request {
                question: self.client.question(method),
                reason: format!("{field}: {error}"),
            };
            request.headers.push((field.clone(), value.map_err(malformed)?));
        }
        request.headers.extend(self.id.clone().map(|id| (SESSION_ID, id)));
        Ok(request)
    }

    pub(super) fn read(&self, what: &str, id: &Value, reply: &Response) -> Result<TimedResponse, Error> {
        let status = reply.status;
        let answer = self.client.tree(what, &reply.body)?.and_then(|message| response_of(message, id));
        if let Some(answer) = answer {
            return Ok(TimedResponse { answer, status, elapsed: reply.elapsed });
        }
        Err(self.unusable(what, reply))
    }

    /// A response that is no JSON-RPC response.
    pub(super) fn unusable(&self, what: &str, reply: &Response) -> Error {
        let (question, status, excerpt) = (self.client.question(what), reply.status, reply.excerpt());
        if !(200..300).contains(&status) {
            return Error::Status { question, status, excerpt };
        }
        let content_type = reply.content_type();
        Error::NotRpc { question, status, content_type, excerpt }
    }

    async fn notify_initialized(&self) -> Result<(), Error> {
        let what = "notifications/initialized";
        let body = json!({"jsonrpc": "2.0", "method": what}).to_string();
        let reply = self.client.exchange(what, self.request(what, None, body)?, ReadUntil::Head).await?;
        if (200..300).contains(&reply.status) {
            return Ok(());
        }
        let (question, excerpt) = (self.client.question(what), reply.excerpt());
        Err(Error::Status { question, status: reply.status, excerpt })
    }
}

/// Whether this refusal of `server/discover` says that the server only knows `initialize`. Silence, 5xx and a refused
/// token say nothing about that.
pub(crate) fn says_legacy(error: &Error) -> bool {
    match error.status() {
        Some(status) => status < 500 && status != 401 && status != 403,
        None => matches!(error, Error::Shape { .. }),
    }
}

fn response_of(mut message: Value, id: &Value) -> Option<RpcResponse> {
    if message.get("jsonrpc")? != "2.0" {
        return None;
    }
    if let Some(error) = message.get("error") {
        let code = error.get("code")?.as_i64()?;
        return Some(RpcResponse::Error { code, message: text(error, "message").unwrap_or_default() });
    }
    (message.get("id")? == id)
        .then(|| message.get_mut("result").map(|result| RpcResponse::Result(result.take())))?
}

fn handshake(version: String, versions: Vec<String>, server: Option<&Value>, result: &Value) -> Handshake {
    Handshake {
        protocol_version: version,
        supported_versions: versions,
        server_name: server.and_then(|server| text(server, "name")),
        server_version: server.and_then(|server| text(server, "version")),
        instructions: text(result, "instructions"),
        capabilities: result.get("capabilities").cloned().unwrap_or(Value::Null),
    }
}

fn client_info() -> Value {
    json!({"name": "mcp-guard", "version": env!("CARGO_PKG_VERSION")})
}

pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}
