//! Headers that repeat values of the body (MCP 2026-07-28): both must agree.
//!
//! Otherwise a proxy that routes by a header would route a call that the body does not contain. Must not know what a
//! method does.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rmcp::model::ProtocolVersion;
use serde_json::{Map, Value};

use crate::handler::Caller;
use crate::traces::Carried;

pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CLIENT: HeaderName = HeaderName::from_static("x-mcp-client");
const SUBJECT: HeaderName = HeaderName::from_static("x-mcp-subject");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const SHADOW: HeaderName = HeaderName::from_static("x-mcp-shadow");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest value of these three that is used.
const GUARD_BYTES_MAX: usize = 256;
const PARAM_PREFIX: &str = "Mcp-Param-";
const BASE64_OPEN: &str = "=?base64?";
const BASE64_CLOSE: &str = "?=";

/// The declared version, when it is text.
pub(crate) fn version(headers: &HeaderMap) -> Option<&str> {
    headers.get(VERSION)?.to_str().ok()
}

/// Whether the declared version is one that has these headers.
pub(crate) fn required(headers: &HeaderMap) -> bool {
    version(headers).is_some_and(|version| version >= ProtocolVersion::STANDARD_HEADERS.as_str())
}

/// The guard's id of the request, if it can be written into a log line as it is.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    of_guard(headers, REQUEST_ID).filter(|id| id.bytes().all(plain))
}

/// The caller that the guard names.
pub(crate) fn caller(headers: &HeaderMap) -> Caller {
    let text = |name| of_guard(headers, name).map(str::to_owned);
    Caller { client: text(CLIENT), subject: text(SUBJECT) }
}

/// The declared version, if it is a published one.
pub(crate) fn known_version(headers: &HeaderMap) -> Option<&'static str> {
    let sent = version(headers)?;
    ProtocolVersion::KNOWN_VERSIONS.iter().map(ProtocolVersion::as_str).find(|known| *known == sent)
}

/// The trace context: `traceparent`, where it stands once, and `tracestate`, whose fields are one list (Trace Context, 3.3.1).
pub(crate) fn trace_context(headers: &HeaderMap) -> Carried<'_> {
    let parent = only(headers, TRACEPARENT, "").ok().flatten();
    let states: Option<Vec<&str>> =
        headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let state = match states.as_deref() {
        None | Some([]) => None,
        Some([state]) => Some(Cow::Borrowed(*state)),
        Some(states) => Some(Cow::Owned(states.join(","))),
    };
    Carried { parent, state }
}

/// Whether the guard compares the response with another backend's, and gives it to no client.
pub(crate) fn is_shadowed(headers: &HeaderMap) -> bool {
    headers.contains_key(SHADOW)
}

/// Removes the caller's identity from a request of an entrance where every client can claim one.
pub(crate) fn remove_caller(headers: &mut HeaderMap) {
    headers.remove(CLIENT);
    headers.remove(SUBJECT);
}

/// The only value of a header that the guard writes. It writes one, so with two values one is of another origin.
fn of_guard(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let text = only(headers, name, "").ok()??;
    (1..=GUARD_BYTES_MAX).contains(&text.len()).then_some(text)
}

/// The handshake may do without; what it does send must be right.
pub(crate) fn check_handshake(headers: &HeaderMap) -> Result<(), String> {
    let mut values = headers.get_all(METHOD).iter();
    let Some(first) = values.next() else { return Ok(()) };
    if values.next().is_some() {
        return Err("multiple Mcp-Method header values supplied; initialize requires exactly one".to_owned());
    }
    if first != HeaderValue::from_static("initialize") {
        let sent = String::from_utf8_lossy(first.as_bytes());
        return Err(format!("Mcp-Method header `{sent}` does not match body method `initialize`"));
    }
    Ok(())
}

/// A notification may do without, as in the servers of the SDKs; what it does send must be right.
pub(crate) fn check_notification(
    headers: &HeaderMap,
    method: &str,
    name: Option<&str>,
) -> Result<(), String> {
    if required(headers) && headers.contains_key(METHOD) { check(headers, method, name) } else { Ok(()) }
}

/// `name` is what the body names: a tool, a prompt, a resource or a task.
pub(crate) fn check(headers: &HeaderMap, method: &str, name: Option<&str>) -> Result<(), String> {
    match only(headers, METHOD, "Mcp-Method")? {
        None => return Err("missing required Mcp-Method header".to_owned()),
        Some(sent) if sent != method => {
            return Err(format!("Mcp-Method header `{sent}` does not match body method `{method}`"));
        }
        Some(_) => {}
    }
    let Some(name) = name else { return Ok(()) };
    let Some(sent) = only(headers, NAME, "Mcp-Name")? else {
        return Err(format!("missing required Mcp-Name header for `{method}`"));
    };
    let sent = decoded(sent, "Mcp-Name")?;
    if sent != name {
        return Err(format!("Mcp-Name header `{sent}` does not match body value `{name}`"));
    }
    Ok(())
}

/// The key of the parameters that `Mcp-Name` repeats.
pub(crate) fn naming_key(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// A parameter that clients must repeat in a header (`x-mcp-header` in the tool's schema).
pub(crate) struct ParamHeader {
    path: Vec<String>,
    header: String,
}

/// Every `x-mcp-header` of an input schema, nested ones included.
pub(crate) fn param_headers(schema: &Map<String, Value>) -> Vec<ParamHeader> {
    let mut found = Vec::new();
    collect(schema.get("properties"), &mut Vec::new(), &mut found);
    found
}

fn collect(properties: Option<&Value>, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) {
    for (name, schema) in properties.and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        let header = schema.get("x-mcp-header").and_then(Value::as_str);
        if let Some(header) = header.filter(|header| !header.is_empty()) {
            found.push(ParamHeader { path: path.clone(), header: format!("{PARAM_PREFIX}{header}") });
        }
        collect(schema.get("properties"), path, found);
        path.pop();
    }
}

/// The headers of param_headers parameters against the arguments.
pub(crate) fn check_param_headers(
    headers: &HeaderMap,
    param_headers: &[ParamHeader],
    arguments: Option<&Map<String, Value>>,
) -> Result<(), String> {
    for ParamHeader { path, header } in param_headers {
        let mut steps = path.iter();
        let top = steps.next().and_then(|key| arguments?.get(key));
        let value = steps.fold(top, |value, key| value?.get(key)).and_then(spelled);
        let sent = only(headers, header.as_str(), header)?;
        match (sent, value) {
            (None, None) => {}
            (Some(_), None) => {
                return Err(format!("unexpected {header} header for absent or null `{}`", path.join(".")));
            }
            (None, Some(_)) => return Err(format!("missing {header} header for `{}`", path.join("."))),
            (Some(sent), Some(value)) => {
                let sent = decoded(sent, header)?;
                if sent != value {
                    return Err(format!("{header} header `{sent}` does not match body value `{value}`"));
                }
            }
        }
    }
    Ok(())
}

fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The only value of a header. With two values, a proxy could read another one than this server.
fn only<'a>(
    headers: &'a HeaderMap,
    name: impl hyper::header::AsHeaderName,
    label: &str,
) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(format!("duplicate {label} header"));
    }
    value.to_str().map(Some).map_err(|_| format!("{label} header contains invalid characters"))
}

fn decoded(value: &str, label: &str) -> Result<String, String> {
    let inner = value.strip_prefix(BASE64_OPEN).and_then(|rest| rest.strip_suffix(BASE64_CLOSE));
    let Some(inner) = inner else { return Ok(value.to_owned()) };
    let bytes = BASE64_STANDARD.decode(inner).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| format!("{label} header is not valid Base64"))
}
