//! HTTP around rmcp: the body is read here, within bounds, and every answer is JSON.
//!
//! rmcp refuses with plain text what it cannot read, and insists that a client accepts event streams that this server
//! never sends. Must not hold policy: who may call, and from where, is the guard's business.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use serde_json::{Value, json};

use super::protocol::Service;

/// The largest request body.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A body that is not complete by then is given up.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest refusal of rmcp that is read to be rewritten.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

/// rmcp's HTTP service over our registry.
pub(super) type Mcp = StreamableHttpService<Service, NeverSessionManager>;
/// The body of every answer.
pub(super) type AnswerBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// Answers one HTTP request.
pub(super) async fn answer(mcp: Mcp, request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible> {
    if request.method() != Method::POST {
        let mut refusal =
            refuse(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, "only POST is served here", &[]);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(refusal);
    }
    let (mut head, body) = request.into_parts();
    accept_both(&mut head.headers);
    let body = match tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Ok(unread(error.as_ref())),
        Err(_) => {
            return Ok(refuse(
                StatusCode::REQUEST_TIMEOUT,
                INVALID_REQUEST,
                "the body did not arrive in time",
                &[],
            ));
        }
    };
    let answer = mcp.handle(Request::from_parts(head, Full::new(body.clone()))).await;
    Ok(if is_plain_refusal(&answer) { reshape(answer, &body).await } else { answer })
}

/// This server answers JSON only, so a client that takes JSON is served; rmcp would demand event streams as well.
fn accept_both(headers: &mut HeaderMap) {
    let takes_json = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| {
            let text = text.to_ascii_lowercase();
            ["application/json", "application/*", "*/*"].iter().any(|range| text.contains(range))
        })
    };
    if !headers.contains_key(ACCEPT) || headers.get_all(ACCEPT).iter().any(takes_json) {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    }
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Response<AnswerBody> {
    if error.is::<http_body_util::LengthLimitError>() {
        let told = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, &told, &[]);
    }
    refuse(StatusCode::BAD_REQUEST, INVALID_REQUEST, "the body could not be read", &[])
}

fn is_plain_refusal(answer: &Response<AnswerBody>) -> bool {
    let is_json = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.trim_start().starts_with("application/json"))
    };
    answer.status().as_u16() >= 400 && !answer.headers().get(CONTENT_TYPE).is_some_and(is_json)
}

/// Gives rmcp's plain-text refusal the form of a JSON-RPC error, with the caller's id where there is one.
async fn reshape(answer: Response<AnswerBody>, sent: &[u8]) -> Response<AnswerBody> {
    let (head, body) = answer.into_parts();
    let text = match Limited::new(body, REFUSAL_BYTES_MAX).collect().await {
        Ok(text) => String::from_utf8_lossy(&text.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    if head.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && text.starts_with("fail to deserialize") {
        return match serde_json::from_slice::<Value>(sent) {
            Ok(_) => {
                refuse(StatusCode::BAD_REQUEST, INVALID_REQUEST, "not a JSON-RPC 2.0 message of MCP", sent)
            }
            Err(error) => {
                refuse(StatusCode::BAD_REQUEST, PARSE_ERROR, &format!("the body is not JSON: {error}"), sent)
            }
        };
    }
    let told =
        if text.is_empty() { head.status.canonical_reason().unwrap_or("refused") } else { text.as_str() };
    refuse(head.status, INVALID_REQUEST, told, sent)
}

fn refuse(status: StatusCode, code: i32, message: &str, sent: &[u8]) -> Response<AnswerBody> {
    let body = json!({ "jsonrpc": "2.0", "id": id_of(sent), "error": { "code": code, "message": message } });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The id of the refused request, where the body has one of a legal kind.
fn id_of(sent: &[u8]) -> Value {
    let id = match serde_json::from_slice::<Value>(sent) {
        Ok(Value::Object(mut message)) => message.remove("id"),
        Ok(_) | Err(_) => None,
    };
    id.filter(|id| id.is_string() || id.is_i64() || id.is_u64()).unwrap_or(Value::Null)
}
