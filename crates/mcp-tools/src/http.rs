//! HTTP around the protocol: asks the entrance about the head, reads the body within bounds, and refuses in JSON.
//!
//! Must not know who may connect: `entrance` does on a loopback address, the guard on a socket. Must not know methods of MCP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use rmcp::model::ErrorData;
use serde_json::Value;

use crate::entrance::{Entrance, Refusal};
use crate::protocol::headers::remove_caller;
use crate::protocol::message::{self, id_for_error};
use crate::protocol::reply::{Reply, refusal};
use crate::service::{self, View};

/// The largest request body.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time for a complete body.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Responds to one HTTP request.
pub(crate) async fn respond(view: View, entrance: &Entrance, request: Request<Incoming>) -> Reply {
    if request.method() != Method::POST {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut refusal = refusal(status, &Value::Null, &invalid_request("only POST is served here"));
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return refusal;
    }
    let (mut head, body) = request.into_parts();
    if let Entrance::Loopback(_, _) = entrance {
        // Before the body is read: without the token a client takes no memory.
        if let Err((status, reason)) = entrance.check(&head.uri, &head.headers) {
            let mut refusal = refusal(status, &Value::Null, &invalid_request(reason));
            if status == StatusCode::UNAUTHORIZED {
                refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            return refusal;
        }
        remove_caller(&mut head.headers);
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err((status, error)) => return refusal(status, &Value::Null, &error),
    };
    let entered = match entrance {
        Entrance::Socket => entrance.check(&head.uri, &head.headers),
        // It was asked above.
        Entrance::Loopback(_, _) => Ok(()),
    };
    if let Err((status, reason)) = entered.and_then(|()| check_types(&head.headers)) {
        return refusal(status, &id_for_error(&body), &invalid_request(reason));
    }
    match message::read(&body) {
        Ok(message) => service::respond(&view, &head.headers, message).await,
        Err(invalid) => refusal(StatusCode::BAD_REQUEST, &invalid.id, &invalid.error),
    }
}

fn invalid_request(reason: impl Into<std::borrow::Cow<'static, str>>) -> ErrorData {
    ErrorData::invalid_request(reason, None)
}

async fn read(body: Incoming) -> Result<Bytes, (StatusCode, ErrorData)> {
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIME_MAX, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let reason = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            Err((StatusCode::PAYLOAD_TOO_LARGE, invalid_request(reason)))
        }
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, invalid_request("the body could not be read"))),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, invalid_request("the body did not arrive in time"))),
    }
}

fn check_types(headers: &HeaderMap) -> Result<(), Refusal> {
    if !takes_json(headers) {
        let reason = "Not Acceptable: only application/json is served here";
        return Err((StatusCode::NOT_ACCEPTABLE, reason.to_owned()));
    }
    if !is_json(headers.get(CONTENT_TYPE)) {
        let reason = "Unsupported Media Type: Content-Type must be application/json";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, reason.to_owned()));
    }
    Ok(())
}

/// Accepts a missing `Accept` and any that includes JSON, regardless of order and weight: there is no other form.
fn takes_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    values.peek().is_none()
        || values.any(|value| {
            value.to_str().is_ok_and(|text| {
                let text = text.to_ascii_lowercase();
                ["application/json", "application/*", "*/*"].iter().any(|range| text.contains(range))
            })
        })
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type.and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case("application/json")
    })
}
