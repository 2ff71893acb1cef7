//! The MCP service: checks each message and responds to it from one registry.
//!
//! Stateless: no request leaves state for the next. The SDK's service would start two tasks and three channels for each
//! request, so only its models are used. Must not know sockets, files or how a tool works.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use rmcp::model::{
    CallToolRequestParams, ErrorCode, ErrorData, GetPromptRequestParams, InitializeRequestParams,
    ProtocolVersion, ReadResourceRequestParams, RequestMetaObject,
};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::call_log::{CallLog, FinishedCall, Outcome};
use crate::catalogue::{Arguments, Sent};
use crate::database::Databases;
use crate::handler::{CallInfo, Context};
use crate::protocol::call_result::call_tool_response;
use crate::protocol::era::Era;
use crate::protocol::headers as headers_of;
use crate::protocol::message::{Call, Id, Message, Notification};
use crate::protocol::reply::{self, Reply, closed};
use crate::registry::{Registry, Tool};
use crate::traces::Carried;

/// The id of a response to a message without one.
const NO_ID: &str = "null";
/// Writes at the same time, at most.
const WRITES_MAX: u32 = 1 << 20;

/// What delivers the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Headers repeat what the body says.
    Http,
    /// There are no headers.
    Stdio,
}

/// What one request uses: the registry that was current on its arrival, and the process's context.
pub(crate) struct View {
    pub(crate) registry: Arc<Registry>,
    pub(crate) context: Arc<Context>,
    pub(crate) carrier: Carrier,
    pub(crate) writes: Writes,
}

/// The writes under way. One may outlive its connection.
#[derive(Clone)]
pub(crate) struct Writes(Arc<Semaphore>);

impl Writes {
    fn new() -> Writes {
        Writes(Arc::new(Semaphore::new(WRITES_MAX as usize)))
    }

    /// Counts one write until the permit is dropped.
    async fn begin(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// The current registry, which a reload replaces, and the process's context.
pub(crate) struct Shared {
    registry: ArcSwap<Registry>,
    context: Arc<Context>,
    writes: Writes,
}

impl Shared {
    pub(crate) fn new(registry: Registry, context: Context) -> Arc<Shared> {
        Arc::new(Shared {
            registry: ArcSwap::from_pointee(registry),
            context: Arc::new(context),
            writes: Writes::new(),
        })
    }

    /// The view of a request that arrives now.
    pub(crate) fn view(&self, carrier: Carrier) -> View {
        View {
            registry: self.registry.load_full(),
            context: Arc::clone(&self.context),
            carrier,
            writes: self.writes.clone(),
        }
    }

    /// Waits for the writes whose client went: each has a line in the log to write.
    pub(crate) async fn writes_ended(&self) {
        let _ = self.writes.0.acquire_many(WRITES_MAX).await;
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    pub(crate) fn call_log(&self) -> Arc<CallLog> {
        Arc::clone(&self.context.call_log)
    }

    pub(crate) fn databases(&self) -> &Databases {
        &self.context.databases
    }

    /// Serves `registry` from here on. Requests that began on the old one finish on it.
    pub(crate) fn replace(&self, registry: Registry) {
        self.registry.store(Arc::new(registry));
    }
}

/// A request's method, with its parameters where they are needed early.
enum ParsedMethod {
    Initialize(Box<InitializeRequestParams>),
    Discover,
    Call(Box<CallToolRequestParams>),
    Other,
}

impl ParsedMethod {
    fn of(notification: &Notification<'_>) -> ParsedMethod {
        let known = match &*notification.method {
            "initialize" => notification.params().map(|params| ParsedMethod::Initialize(Box::new(params))),
            "tools/call" => notification.params().map(|params| ParsedMethod::Call(Box::new(params))),
            "server/discover" => Some(ParsedMethod::Discover),
            _ => None,
        };
        known.unwrap_or(ParsedMethod::Other)
    }
}

/// Responds to a message.
pub(crate) async fn respond(view: &View, headers: &HeaderMap, message: Message<'_>) -> Reply {
    let bad = StatusCode::BAD_REQUEST;
    let _in_flight = view.context.metrics.as_ref().map(|metrics| metrics.in_flight());
    match message {
        Message::Request(call) => request(view, headers, &call).await,
        Message::Notification(notification) => {
            if let Err(error) = check_version(headers) {
                return reply::error(bad, Some(NO_ID), &error);
            }
            match headers_of::check_notification(
                headers,
                &notification.method,
                named(&notification).as_deref(),
            ) {
                Ok(()) => reply::accepted(),
                Err(reason) => reply::error(bad, None, &ErrorData::header_mismatch(reason, None)),
            }
        }
        Message::Response(id) => {
            if let Err(error) = check_version(headers) {
                return reply::error(bad, Some(id.as_ref().map_or(NO_ID, Id::json)), &error);
            }
            let text = "stateless server does not accept JSON-RPC responses";
            reply::error(bad, None, &ErrorData::invalid_request(text, None))
        }
    }
}

/// If a message does not declare its version itself, the header must name a known one.
fn check_version(headers: &HeaderMap) -> Result<(), ErrorData> {
    let Some(sent) = headers.get(headers_of::VERSION) else { return Ok(()) };
    let Ok(sent) = sent.to_str() else {
        let text = "Bad Request: Invalid MCP-Protocol-Version header encoding";
        return Err(ErrorData::invalid_request(text, None));
    };
    if ProtocolVersion::KNOWN_VERSIONS.iter().any(|version| version.as_str() == sent) {
        return Ok(());
    }
    let text = format!("Bad Request: Unsupported MCP-Protocol-Version: {sent}");
    Err(ErrorData::invalid_request(text, None))
}

async fn request(view: &View, headers: &HeaderMap, call: &Call<'_>) -> Reply {
    let method = ParsedMethod::of(&call.notification);
    let id = Some(call.id.json());
    if let Err(error) = check_request(view, headers, call, &method) {
        return reply::error(StatusCode::BAD_REQUEST, id, &error);
    }
    let version = call.version();
    let era = Era::of(version.as_ref());
    match dispatch(view, headers, call, method, era).await {
        Ok(tail) => reply::result(&call.id, tail),
        // A request that declares its version learns of a missing method from HTTP as well; others expect 200.
        Err(error) => {
            let status = match error.code {
                ErrorCode::METHOD_NOT_FOUND if version.is_some() => StatusCode::NOT_FOUND,
                ErrorCode::INVALID_PARAMS if version.is_some() && !call.missing_metadata().is_empty() => {
                    StatusCode::BAD_REQUEST
                }
                _ => StatusCode::OK,
            };
            reply::error(status, id, &error)
        }
    }
}

/// The value that `Mcp-Name` must repeat.
fn named(notification: &Notification<'_>) -> Option<String> {
    let params: Map<String, Value> = notification.params()?;
    params.get(headers_of::naming_key(&notification.method)?)?.as_str().map(str::to_owned)
}

/// Checks that headers, body, version and metadata agree, before the method runs.
fn check_request(
    view: &View,
    headers: &HeaderMap,
    call: &Call<'_>,
    method: &ParsedMethod,
) -> Result<(), ErrorData> {
    if let ParsedMethod::Initialize(params) = method {
        return check_initialize(headers, params);
    }
    let version = call.version();
    if version.is_none() {
        check_version(headers)?;
    }
    if headers_of::required(headers) {
        check_standard_headers(view, headers, call, method).map_err(mismatch)?;
    }
    let Some(version) = version else {
        if matches!(method, ParsedMethod::Discover) || headers_of::required(headers) {
            return Err(lacking("Invalid params: ", call));
        }
        return Ok(());
    };
    match headers_of::version(headers) {
        None if view.carrier == Carrier::Stdio => {}
        None => {
            let text = "request _meta protocolVersion requires MCP-Protocol-Version header";
            return Err(mismatch(text.to_owned()));
        }
        Some(sent) if sent != version.as_str() => {
            return Err(mismatch(format!(
                "MCP-Protocol-Version header ({sent}) does not match request _meta protocolVersion ({version})"
            )));
        }
        Some(_) => {}
    }
    let known = ProtocolVersion::KNOWN_VERSIONS;
    if !known.contains(&version) {
        return Err(ErrorData::unsupported_protocol_version(version, known));
    }
    let stands_alone = matches!(method, ParsedMethod::Discover) || Era::of(Some(&version)) == Era::PerRequest;
    if stands_alone && !call.missing_metadata().is_empty() {
        return Err(lacking("", call));
    }
    Ok(())
}

fn mismatch(reason: String) -> ErrorData {
    ErrorData::header_mismatch(reason, None)
}

fn lacking(prefix: &str, call: &Call<'_>) -> ErrorData {
    let missing = call.missing_metadata().join(", ");
    let text = format!("{prefix}request _meta is missing or has malformed required fields: {missing}");
    ErrorData::invalid_params(text, None)
}

fn check_initialize(headers: &HeaderMap, params: &InitializeRequestParams) -> Result<(), ErrorData> {
    if let Some(sent) = headers.get(headers_of::VERSION) {
        let Ok(sent) = sent.to_str() else {
            let text = "Invalid Request: MCP-Protocol-Version header is not valid UTF-8";
            return Err(ErrorData::invalid_request(text, None));
        };
        if sent != params.protocol_version.as_str() {
            let text = format!(
                "Invalid Request: MCP-Protocol-Version header ({sent}) does not match initialize params.protocolVersion ({})",
                params.protocol_version
            );
            return Err(ErrorData::invalid_request(text, None));
        }
    }
    if headers_of::required(headers) {
        headers_of::check_handshake(headers).map_err(mismatch)?;
    }
    Ok(())
}

fn check_standard_headers(
    view: &View,
    headers: &HeaderMap,
    call: &Call<'_>,
    parsed: &ParsedMethod,
) -> Result<(), String> {
    let method = &call.notification.method;
    let ParsedMethod::Call(params) = parsed else {
        return headers_of::check(headers, method, named(&call.notification).as_deref());
    };
    headers_of::check(headers, method, Some(&params.name))?;
    match view.registry.tool(&params.name) {
        Some(tool) => {
            headers_of::check_param_headers(headers, tool.param_headers(), params.arguments.as_ref())
        }
        None => Ok(()),
    }
}

/// The result with its closing brace, or an error.
async fn dispatch(
    view: &View,
    headers: &HeaderMap,
    call: &Call<'_>,
    parsed: ParsedMethod,
    era: Era,
) -> Result<Bytes, ErrorData> {
    let cached = view.registry.cached();
    match parsed {
        ParsedMethod::Initialize(params) => return Ok(cached.initialized(&params)),
        ParsedMethod::Discover => return Ok(cached.discovered.clone()),
        ParsedMethod::Call(params) => {
            return call_tool(view, headers, *params, call.notification.params_text(), era).await;
        }
        ParsedMethod::Other => {}
    }
    let method = &*call.notification.method;
    match method {
        "ping" if era == Era::Handshake => Ok(Bytes::from_static(b"{}}")),
        "tools/list" => Ok(cached.tools.get(era)),
        "prompts/list" => Ok(cached.prompts.get(era)),
        "resources/list" => Ok(cached.resources.get(era)),
        "resources/templates/list" => Ok(cached.resource_templates.get(era)),
        "prompts/get" if call.notification.params::<GetPromptRequestParams>().is_some() => {
            Err(ErrorData::invalid_params("Unknown prompt", None))
        }
        "resources/read" if call.notification.params::<ReadResourceRequestParams>().is_some() => {
            let text = "Resource not found";
            Err(match era {
                Era::Handshake => ErrorData::resource_not_found(text, None),
                Era::PerRequest => ErrorData::invalid_params(text, None),
            })
        }
        "tools/call" if call.notification.params::<Value>().is_none() => {
            let text = "Invalid parameters for tools/call: a number has no value below 1.8e308, or they are nested too deeply";
            Err(ErrorData::invalid_params(text, None))
        }
        "initialize" | "tools/call" | "prompts/get" | "resources/read" => {
            Err(ErrorData::invalid_params(format!("Invalid parameters for {method}"), None))
        }
        _ => Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found", None)),
    }
}

async fn call_tool(
    view: &View,
    headers: &HeaderMap,
    params: CallToolRequestParams,
    params_text: &str,
    era: Era,
) -> Result<Bytes, ErrorData> {
    let registry = &*view.registry;
    let Some(tool) = registry.tool(&params.name) else {
        return Err(ErrorData::invalid_params(format!("Unknown tool: {}", params.name), None));
    };
    let trace = view.context.traces.as_ref().map(|traces| {
        traces.begin(carried_context(headers, params.meta.as_ref()), headers_of::known_version(headers))
    });
    let call = CallInfo {
        request_id: headers_of::request_id(headers).map(str::to_owned),
        caller: headers_of::caller(headers),
        trace,
        ..CallInfo::of_tool(tool.shared_name())
    };
    let begun = Instant::now();
    let sent = Sent::within(params.arguments.unwrap_or_default(), params_text);
    let result = match (tool.accept(sent), tool.static_result()) {
        (Err(refused), _) => refused,
        (Ok(_), Some(static_result)) => {
            record(view, tool, &call, begun, (Outcome::Ok, static_result.rows));
            return Ok(static_result.wire.get(era));
        }
        (Ok(arguments), None) if tool.read_only() => {
            let mut abandonment = Abandonment { view, tool, call: &call, begun, finished: false };
            let result = tool.run(&arguments, &view.context, &call, registry.self_description()).await;
            abandonment.finished = true;
            result
        }
        // What writes is not cut off in the middle when the client goes: it ends in a task of its own, with its log line.
        (Ok(arguments), None) => return write(view, params.name, arguments, call, begun, era).await,
    };
    record(view, tool, &call, begun, (result.outcome, result.rows));
    Ok(closed(call_tool_response(result, tool.structured(), era, &registry.cached().frames)))
}

/// The trace context of a call: that of the headers, which the guard has written, or that of the body.
fn carried_context<'a>(headers: &'a HeaderMap, meta: Option<&'a RequestMetaObject>) -> Carried<'a> {
    let in_headers = headers_of::trace_context(headers);
    // A shadowed call has the client's body, but no part in the client's trace.
    if in_headers.parent.is_some() || headers_of::is_shadowed(headers) {
        return in_headers;
    }
    let text = |key: &str| meta?.get(key)?.as_str();
    Carried { parent: text("traceparent"), state: text("tracestate").map(Cow::Borrowed) }
}

/// Runs a tool that writes to its end, whether or not a client still waits for it.
async fn write(
    view: &View,
    name: Cow<'static, str>,
    arguments: Arguments,
    call: CallInfo,
    begun: Instant,
    era: Era,
) -> Result<Bytes, ErrorData> {
    let view = View {
        registry: Arc::clone(&view.registry),
        context: Arc::clone(&view.context),
        carrier: view.carrier,
        writes: view.writes.clone(),
    };
    let permit = view.writes.begin().await;
    let work = async move {
        let _permit = permit;
        let tool = view.registry.tool(&name)?;
        let result = tool.run(&arguments, &view.context, &call, view.registry.self_description()).await;
        record(&view, tool, &call, begun, (result.outcome, result.rows));
        let frames = &view.registry.cached().frames;
        Some(closed(call_tool_response(result, tool.structured(), era, frames)))
    };
    let ended = tokio::spawn(work).await.ok().flatten();
    let text = "the call ended early; whether it was carried out is unknown";
    ended.ok_or_else(|| ErrorData::internal_error(text, None))
}

/// Records a read whose client went before the result: its query is cancelled.
struct Abandonment<'a> {
    view: &'a View,
    tool: &'a Tool,
    call: &'a CallInfo,
    begun: Instant,
    finished: bool,
}

impl Drop for Abandonment<'_> {
    fn drop(&mut self) {
        if !self.finished {
            record(self.view, self.tool, self.call, self.begun, (Outcome::Abandoned, None));
        }
    }
}

fn record(view: &View, tool: &Tool, call: &CallInfo, begun: Instant, ended: (Outcome, Option<usize>)) {
    let (outcome, rows) = ended;
    let finished = FinishedCall {
        tool: tool.name(),
        request_id: call.request_id.as_deref(),
        writes: !tool.read_only(),
        took: begun.elapsed(),
        outcome,
        rows,
    };
    view.context.call_log.record(&finished);
    if let Some(metrics) = &view.context.metrics {
        metrics.record(&finished);
    }
    if let Some(trace) = &call.trace {
        trace.end(&finished);
    }
}
