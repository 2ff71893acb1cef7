//! The span of a request to a service: method, server and status. Never a path with its arguments, nor a body.

use std::time::Instant;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use mcp_traces::{SpanId, Status};
use tokio::time::error::Elapsed;

use super::exchange::{ExchangeError, Request, Response};
use crate::traces::CallTrace;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What is declared of a request.
pub(super) struct Declared<'a> {
    pub(super) service: &'a str,
    /// Its path, with the names of its values.
    pub(super) path: String,
}

/// A request that is under way.
pub(super) struct ServiceSpan<'a> {
    trace: &'a CallTrace,
    id: SpanId,
    begun: Instant,
    method: Method,
    server: (String, u16),
    declared: Declared<'a>,
}

impl<'a> ServiceSpan<'a> {
    /// The request is sent now; the service gets the trace context, unless its own headers are declared to have one.
    pub(super) fn begin(
        trace: &'a CallTrace,
        declared: Declared<'a>,
        request: &mut Request<'_>,
    ) -> ServiceSpan<'a> {
        let id = trace.next_span();
        let (parent, state) = trace.sent(id);
        if !request.headers.contains_key(&TRACEPARENT) {
            let parent = HeaderValue::from_bytes(&parent).ok();
            let state = state.and_then(|state| HeaderValue::from_str(state).ok());
            request.headers.extend(parent.map(|value| (TRACEPARENT, value)));
            request.headers.extend(state.map(|value| (TRACESTATE, value)));
        }
        let origin = &request.base.origin;
        let server = (origin.host.clone(), origin.port);
        ServiceSpan { trace, id, begun: Instant::now(), method: request.method.clone(), server, declared }
    }

    /// The exchange is over.
    pub(super) fn end(self, ended: &Result<Result<Response, ExchangeError>, Elapsed>) {
        if !self.trace.is_recorded() {
            return;
        }
        let method = self.method.as_str();
        let name = format!("{method} {}", self.declared.path);
        let mut span = self.trace.child(self.id, name, self.begun, self.begun.elapsed());
        span.text("http.request.method", method.to_owned());
        span.text("url.template", self.declared.path);
        span.text("server.address", self.server.0);
        span.number("server.port", self.server.1);
        span.text("mcp_tools.service", self.declared.service.to_owned());
        let error = match ended {
            Ok(Ok(response)) => {
                let status = response.status;
                span.number("http.response.status_code", status.as_u16());
                (status.is_client_error() || status.is_server_error()).then(|| status.as_u16().to_string())
            }
            Ok(Err(ExchangeError::Connect(_))) => Some("unreachable".to_owned()),
            Ok(Err(ExchangeError::Broken(_))) => Some("broken".to_owned()),
            Ok(Err(ExchangeError::TooLarge)) => Some("too_large".to_owned()),
            Err(_elapsed) => Some("timeout".to_owned()),
        };
        if let Some(error) = error {
            span.text("error.type", error);
            span.status = Status::Error;
        }
        self.trace.add(span);
    }
}
