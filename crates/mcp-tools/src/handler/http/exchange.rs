//! One HTTP/1.1 exchange on a connection of its own, over TCP or TLS, bounded in size.
//!
//! The caller sets the time limit. Redirects are not followed: they could lead away from the declared service. Must not
//! know what the response means.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{self, ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};

use super::service::Base;
use crate::handler::context::Context;
use crate::http_client::{ConnectError, USER_AGENT};

/// The largest response body.
pub(super) const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request ready to be sent.
pub(crate) struct Request<'a> {
    pub(crate) base: &'a Base,
    pub(crate) method: Method,
    pub(crate) target: String,
    /// Beside those of the exchange itself; one of them may replace `Accept` or `User-Agent`.
    pub(crate) headers: HeaderMap,
    /// A body and its media type.
    pub(crate) body: Option<(HeaderValue, String)>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As it was sent, compressed or not.
    pub(crate) body: Bytes,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the exchange broke: {0}")]
    Broken(String),
    #[error("the response is too large")]
    TooLarge,
}

/// Sends a request and reads the whole response.
pub(crate) async fn exchange(request: Request<'_>, context: &Context) -> Result<Response, ExchangeError> {
    let mut connection = request.base.origin.connect(&context.tls).await.map_err(|error| match error {
        ConnectError::Unreachable(reason) => ExchangeError::Connect(reason),
        ConnectError::Broken(reason) => ExchangeError::Broken(reason),
    })?;
    let (head, body) = connection.send(message(request)?).await.map_err(broken)?.into_parts();
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok(Response { status: head.status, headers: head.headers, body: body.to_bytes() }),
        Err(error) if error.is::<LengthLimitError>() => Err(ExchangeError::TooLarge),
        Err(error) => Err(ExchangeError::Broken(error.to_string())),
    }
}

fn message(request: Request<'_>) -> Result<hyper::Request<Full<Bytes>>, ExchangeError> {
    let (content_type, body) = request.body.unzip();
    let mut message = hyper::Request::builder()
        .method(request.method)
        .uri(request.target)
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(connect)?;
    let headers = message.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/plain;q=0.5"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.extend(request.headers);
    headers.insert(HOST, HeaderValue::from_str(&request.base.origin.authority).map_err(connect)?);
    headers.extend(content_type.map(|kind| (CONTENT_TYPE, kind)));
    Ok(message)
}

fn connect(error: impl Error) -> ExchangeError {
    ExchangeError::Connect(error.to_string())
}

fn broken(error: impl Error) -> ExchangeError {
    ExchangeError::Broken(error.to_string())
}
