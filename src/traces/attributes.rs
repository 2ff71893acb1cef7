//! The attributes of a request's span.

use std::borrow::Cow;

use mcp_traces::{Span, Status};

use crate::telemetry::trace::TraceFacts;
use crate::telemetry::{Outcome, Record};
use crate::wire::Method;

/// Describes the request as the guard's own side saw it.
pub(super) fn describe<'a>(span: &mut Span<'a>, record: &'a Record<'_>, facts: &'a TraceFacts) {
    of_mcp(span, record, facts);
    span.word("network.transport", transport(record.peer.is_none()));
    if let Some(method) = facts.http_method.filter(|_| record.method.is_none()) {
        span.word("http.request.method", method);
    }
    if let Some(status) = record.status {
        span.number("http.response.status_code", status);
    }
    span.text("mcp_guard.request_id", record.request_id);
    span.word("mcp_guard.outcome", record.outcome.as_str());
    if let Some(client) = record.client {
        span.text("mcp_guard.client", client);
    }
    if let Some(slot) = record.slot {
        span.word("mcp_guard.slot", slot.as_str());
    }
    if let Some(stage) = facts.stage {
        span.word("mcp_guard.stage", stage);
    }
    if let Some(route) = record.route {
        span.text("mcp_guard.route", route);
    }
    if let Some(denial) = record.denial {
        span.word("mcp_guard.denial", denial.code());
    }
    if let Some(error) = error_type(record, facts) {
        span.text("error.type", error);
        if is_failure(record) {
            span.status = Status::Error;
        }
    }
    add_rpc_code(span, facts);
}

/// The code of the JSON-RPC error that the client gets.
pub(super) fn add_rpc_code(span: &mut Span<'_>, facts: &TraceFacts) {
    if let Some(code) = facts.rpc_code {
        span.text("rpc.response.status_code", code.to_string());
    }
}

/// Whether the guard's side failed. OpenTelemetry leaves the status of a server's span unset where the client is at fault: a 4xx
/// status, or a client that goes away.
fn is_failure(record: &Record<'_>) -> bool {
    let is_clients = record.status.is_some_and(|status| (400..500).contains(&status));
    !is_clients && record.outcome != Outcome::ClientGone
}

/// What OpenTelemetry's conventions for MCP have for clients and servers alike.
pub(super) fn of_mcp<'a>(span: &mut Span<'a>, record: &'a Record<'_>, facts: &'a TraceFacts) {
    span.word("network.protocol.name", "http");
    let Some(method) = record.method else { return };
    span.word("mcp.method.name", method.as_str());
    if method == Method::ToolsCall {
        span.word("gen_ai.operation.name", "execute_tool");
    }
    if let Some(tool) = &record.tool {
        span.text("gen_ai.tool.name", tool);
    }
    if let Some(version) = &facts.version {
        span.text("mcp.protocol.version", version.as_str());
    }
    if let Some(id) = &facts.rpc_id {
        span.text("jsonrpc.request.id", id);
    }
}

/// How the request failed: the code of a JSON-RPC error, `tool_error`, or the guard's own word; none if it did not.
pub(super) fn error_type(record: &Record<'_>, facts: &TraceFacts) -> Option<Cow<'static, str>> {
    let denial = record.denial.map(|denial| denial.code());
    match record.outcome {
        Outcome::Ok => None,
        Outcome::RpcError => Some(facts.rpc_code.map_or("rpc_error".into(), |code| code.to_string().into())),
        Outcome::ToolError | Outcome::ClientGone => Some(record.outcome.as_str().into()),
        Outcome::Denied | Outcome::Timeout | Outcome::Upstream => {
            Some(denial.unwrap_or(record.outcome.as_str()).into())
        }
    }
}

pub(super) fn transport(is_unix: bool) -> &'static str {
    if is_unix { "unix" } else { "tcp" }
}
