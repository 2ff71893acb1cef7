//! One HTTP/1.1 exchange on a connection of its own, over TCP or TLS, bounded in size.
//!
//! The caller sets the time limit. Redirects are not followed: they could lead away from the declared service. Must not
//! know what the response means.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::service::Base;
use crate::handler::context::Context;

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
    #[error("the answer is too large")]
    TooLarge,
}

/// Sends a request and reads the whole response.
pub(crate) async fn exchange(request: Request<'_>, context: &Context) -> Result<Response, ExchangeError> {
    let base = request.base;
    let stream = TcpStream::connect((base.host.as_str(), base.port)).await.map_err(connect)?;
    if !base.tls {
        return talk(stream, request).await;
    }
    let config = context.tls().map_err(connect)?;
    let name = ServerName::try_from(base.host.clone()).map_err(connect)?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(connect)?;
    talk(stream, request).await
}

async fn talk<S>(stream: S, request: Request<'_>) -> Result<Response, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let answered = send(&mut sender, request).await;
    driver.abort();
    answered
}

async fn send(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<'_>,
) -> Result<Response, ExchangeError> {
    let (content_type, body) = request.body.unzip();
    let mut message = hyper::Request::builder()
        .method(request.method)
        .uri(request.target)
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(connect)?;
    let headers = message.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/plain;q=0.5"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("mcp-tools/", env!("CARGO_PKG_VERSION"))));
    headers.extend(request.headers);
    headers.insert(HOST, HeaderValue::from_str(&request.base.authority).map_err(connect)?);
    headers.extend(content_type.map(|kind| (CONTENT_TYPE, kind)));
    let response = sender.send_request(message).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok(Response { status: head.status, headers: head.headers, body: body.to_bytes() }),
        Err(error) if error.is::<LengthLimitError>() => Err(ExchangeError::TooLarge),
        Err(error) => Err(ExchangeError::Broken(error.to_string())),
    }
}

fn connect(error: impl Error) -> ExchangeError {
    ExchangeError::Connect(error.to_string())
}

fn broken(error: impl Error) -> ExchangeError {
    ExchangeError::Broken(error.to_string())
}
