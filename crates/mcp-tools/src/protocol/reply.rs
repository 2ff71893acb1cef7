//! HTTP responses: a status, and a JSON body that may share its larger part with other responses.
//!
//! Must not know MCP's methods or how a tool works.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use rmcp::model::ErrorData;
use serde_json::Value;

use super::message::{Id, json_of};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body in two pieces: the part with the caller's id, and the part that all callers share.
pub(crate) struct Pieces {
    own: Bytes,
    shared: Bytes,
}

impl Pieces {
    pub(crate) fn into_pieces(self) -> [Bytes; 2] {
        [self.own, self.shared]
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = if self.own.is_empty() { &mut self.shared } else { &mut self.own };
        let piece = std::mem::take(next);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.own.len() as u64 + self.shared.len() as u64)
    }
}

pub(crate) type Reply = Response<Pieces>;

/// A JSON-RPC result. `tail` comes from [`closed`]: the result and the brace that ends the message.
pub(crate) fn result(id: &Id<'_>, tail: Bytes) -> Reply {
    let own = ["{\"jsonrpc\":\"2.0\",\"id\":", id.json(), ",\"result\":"].concat();
    json(StatusCode::OK, own.into(), tail)
}

/// A result followed by the brace that ends the message.
pub(crate) fn closed(mut result: String) -> Bytes {
    result.push('}');
    result.into()
}

/// A JSON-RPC error, with the caller's id as JSON where there is one.
pub(crate) fn error(status: StatusCode, id: Option<&str>, error: &ErrorData) -> Reply {
    let error = json_of(error);
    let own = match id {
        Some(id) => ["{\"jsonrpc\":\"2.0\",\"id\":", id, ",\"error\":", &error, "}"].concat(),
        None => ["{\"jsonrpc\":\"2.0\",\"error\":", &error, "}"].concat(),
    };
    json(status, own.into(), Bytes::new())
}

/// A JSON-RPC error for a body that was not read as a message.
pub(crate) fn refusal(status: StatusCode, id: &Value, reason: &ErrorData) -> Reply {
    error(status, Some(&id.to_string()), reason)
}

/// 202 Accepted without a body, for notifications.
pub(crate) fn accepted() -> Reply {
    let mut reply = Response::new(Pieces { own: Bytes::new(), shared: Bytes::new() });
    *reply.status_mut() = StatusCode::ACCEPTED;
    reply
}

fn json(status: StatusCode, own: Bytes, shared: Bytes) -> Reply {
    let mut reply = Response::new(Pieces { own, shared });
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}
