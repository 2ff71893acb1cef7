//! One HTTP exchange: connect, send, read the response, each within its bound. A fresh connection each time, so that a
//! response never depends on an earlier request and its time never includes connecting; only a load and copies of calls keep
//! their connections.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
pub(crate) use hyper::Method;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::connect;
use super::error::{Error, RequestLabel, excerpt};
use super::target::{ACCEPT_JSON, Target, Transport};
use crate::tls::ClientTls;
use crate::upstream::Secrets;
use crate::wire::bounded::{self, Unread};
use crate::wire::envelope;
use crate::wire::sse::Events;

/// The bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    /// From the first byte sent to the last byte read.
    pub(crate) total: Duration,
    pub(crate) body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connect: Duration::from_secs(2), total: Duration::from_secs(10), body_bytes: 4 << 20 }
    }
}

/// An HTTP request to the target, for callers that read the raw response.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Another path than the target's own.
    pub(crate) path: Option<String>,
    /// Sent besides the target's own fields, replacing those of the same name.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// Whether the target's token goes along.
    pub(crate) authorized: bool,
}

impl Request {
    /// A request without body and without token.
    pub(crate) fn bare(method: Method, path: Option<&str>) -> Request {
        let path = path.map(str::to_owned);
        Request { method, path, headers: Vec::new(), body: Bytes::new(), authorized: false }
    }

    /// A POST of JSON to the target's path, with its token.
    pub(crate) fn post(body: Bytes) -> Request {
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Request { method: Method::POST, path: None, headers: vec![json], body, authorized: true }
    }
}

/// Media types that an error names; another one may be any text of the server's.
const MEDIA_TYPES: [&str; 8] = [
    "application/json",
    "text/event-stream",
    "text/html",
    "text/plain",
    "application/xml",
    "text/xml",
    "application/problem+json",
    "application/octet-stream",
];

/// An HTTP response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The whole body; of an event stream the message that was waited for, or nothing.
    pub(crate) body: Bytes,
    pub(crate) elapsed: Duration,
}

impl Response {
    /// A header field as text, if it is there and readable.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The beginning of the body, for an error. What refuses a token may repeat it, so that is not quoted at all.
    pub(super) fn excerpt(&self) -> String {
        if matches!(self.status, 401 | 403 | 407) { String::new() } else { excerpt(&self.body) }
    }

    /// The media type for an error.
    pub(super) fn content_type(&self) -> &'static str {
        let found = media_type(&self.headers);
        match MEDIA_TYPES.into_iter().find(|known| *known == found) {
            Some(known) => known,
            None if found.is_empty() => "no content type",
            None => "another content type",
        }
    }
}

/// What of an event stream to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReadUntil<'a> {
    /// Only the head: an event stream may never end.
    Head,
    /// The message with this id.
    Response(&'a Value),
}

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    limits: Limits,
    /// Taken out of every response before anything of it is looked at.
    secrets: Secrets,
    authorities: OnceLock<Result<ClientTls, String>>,
    /// Set once the server has refused to be offered an event stream.
    json_only: AtomicBool,
}

impl Client {
    pub(crate) fn new(target: Target, limits: Limits) -> Client {
        let secrets = target.secrets();
        Client { target, limits, secrets, authorities: OnceLock::new(), json_only: AtomicBool::new(false) }
    }

    /// The same, which also removes these from whatever the server sends.
    pub(crate) fn with_secrets(mut self, secrets: &Secrets) -> Client {
        self.secrets = self.secrets.and(secrets);
        self
    }

    /// A response's bytes without any secret.
    pub(crate) fn clean(&self, body: Bytes) -> Bytes {
        match self.secrets.clean(&body) {
            Cow::Borrowed(_) => body,
            Cow::Owned(clean) => clean.into(),
        }
    }

    /// A header field's value without any secret.
    pub(crate) fn clean_text(&self, text: &str) -> String {
        self.secrets.clean_text(text)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Accepts JSON only from now on, which some servers insist on; false if that was so already.
    pub(super) fn accept_json_only(&self) -> bool {
        !self.json_only.swap(true, Ordering::Relaxed)
    }

    /// Sends a request and returns whatever comes back; of an event stream only the head.
    pub(crate) async fn raw(&self, request: Request) -> Result<Response, Error> {
        let path = request.path.as_deref().unwrap_or(self.target.path());
        let what = format!("{} {path}", request.method);
        self.exchange(&what, request, ReadUntil::Head).await
    }

    /// Where and what, for an error.
    pub(super) fn question(&self, what: &str) -> RequestLabel {
        RequestLabel { at: self.target.to_string(), what: what.to_owned() }
    }

    /// An error once a response has more bytes than one may have.
    pub(super) fn bound(&self, what: &str, bytes: usize) -> Result<(), Error> {
        let max = self.limits.body_bytes;
        if bytes > max { Err(Error::TooLarge { question: self.question(what), max }) } else { Ok(()) }
    }

    /// The body as JSON; nothing if it is none, an error if it is too heavy to be read.
    pub(super) fn tree(&self, what: &str, body: &[u8]) -> Result<Option<Value>, Error> {
        match bounded::parse(body) {
            Ok(tree) => Ok(Some(tree)),
            Err(Unread::Malformed) => Ok(None),
            Err(Unread::TooHeavy(max)) => Err(Error::TooHeavy { question: self.question(what), max }),
        }
    }

    /// Sends a request named `what` over a connection of its own and reads its response.
    pub(super) async fn exchange(
        &self,
        what: &str,
        request: Request,
        awaited: ReadUntil<'_>,
    ) -> Result<Response, Error> {
        let request = self.build(what, request)?;
        let mut connection = self.connect_in_time(what).await?;
        self.exchange_over(&mut connection, what, request, awaited).await
    }

    /// The same over a kept connection. Its time includes connecting, where the kept one no longer serves.
    pub(super) async fn exchange_kept(
        &self,
        kept: &mut KeptConnection,
        what: &str,
        request: Request,
        awaited: ReadUntil<'_>,
    ) -> Result<Response, Error> {
        let request = self.build(what, request)?;
        let started = Instant::now();
        kept.was_closed = false;
        let taken = kept.take_ready(self.limits.connect).await;
        let is_reused = taken.is_some();
        let mut connection = match taken {
            Some(connection) => connection,
            None => {
                kept.opened += 1;
                self.connect_in_time(what).await?
            }
        };
        let result = self.exchange_over(&mut connection, what, request, awaited).await;
        kept.was_closed =
            is_reused && !connection.has_responded && matches!(result, Err(Error::Broken { .. }));
        let mut response = result?;
        response.elapsed = started.elapsed();
        kept.connection = Some(connection);
        Ok(response)
    }

    async fn exchange_over(
        &self,
        connection: &mut Connection,
        what: &str,
        request: hyper::Request<Full<Bytes>>,
        awaited: ReadUntil<'_>,
    ) -> Result<Response, Error> {
        let started = Instant::now();
        connection.has_responded = false;
        let answering = async {
            let broken = |source| Error::Broken { question: self.question(what), source };
            let response = connection.sender.send_request(request).await.map_err(broken)?;
            connection.has_responded = true;
            let (head, body) = response.into_parts();
            let body = self.clean(self.read(what, &head.headers, body, awaited).await?);
            let (status, elapsed) = (head.status.as_u16(), started.elapsed());
            Ok(Response { status, headers: head.headers, body, elapsed })
        };
        tokio::time::timeout(self.limits.total, answering).await.map_err(|_| Error::Timeout {
            question: self.question(what),
            millis: self.limits.total.as_millis(),
        })?
    }

    async fn connect_in_time(&self, what: &str) -> Result<Connection, Error> {
        let connecting = tokio::time::timeout(self.limits.connect, self.connect(what));
        connecting.await.map_err(|_| Error::ConnectTimeout {
            question: self.question(what),
            millis: self.limits.connect.as_millis(),
        })?
    }

    fn build(&self, what: &str, request: Request) -> Result<hyper::Request<Full<Bytes>>, Error> {
        let target = &self.target;
        let json_only = self.json_only.load(Ordering::Relaxed);
        let malformed = |reason: String| Error::Request { question: self.question(what), reason };
        let mut built = hyper::Request::builder()
            .method(request.method)
            .uri(request.path.as_deref().unwrap_or(&target.path))
            .header(header::HOST, &target.host)
            .header(header::ACCEPT, if json_only { ACCEPT_JSON } else { target.accept })
            .header(header::USER_AGENT, concat!("mcp-guard/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(request.body))
            .map_err(|error| malformed(error.to_string()))?;
        let headers = built.headers_mut();
        headers.extend(target.set_headers.iter().cloned());
        if let Some(token) = target.bearer.as_deref().filter(|_| request.authorized) {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| malformed("the token holds characters that no header may carry".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in request.headers {
            headers.insert(name, value);
        }
        Ok(built)
    }

    fn no_authorities(&self, what: &str, reason: &str) -> Error {
        Error::Authorities { question: self.question(what), reason: reason.to_owned() }
    }

    async fn connect(&self, what: &str) -> Result<Connection, Error> {
        let refused = |source| Error::Connect { question: self.question(what), source };
        match &self.target.transport {
            Transport::Tcp { host, port } => {
                let stream = connect::open(host, *port, None, self.limits.connect).await.map_err(refused)?;
                self.handshake(what, stream).await
            }
            Transport::Tls { host, port, settings } => {
                let settings = match settings {
                    Some(settings) => settings,
                    None => self
                        .authorities
                        .get_or_init(|| ClientTls::new(host, None, None))
                        .as_ref()
                        .map_err(|reason| self.no_authorities(what, reason))?,
                };
                let opened = connect::open(host, *port, Some(settings), self.limits.connect).await;
                let stream = opened.map_err(refused)?;
                self.handshake(what, stream).await
            }
            Transport::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(refused)?;
                self.handshake(what, stream).await
            }
        }
    }

    async fn handshake<S>(&self, what: &str, stream: S) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |source| Error::Broken { question: self.question(what), source };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(broken)?;
        // What breaks the connection also ends the wait for the response.
        let task = tokio::spawn(async move {
            let _also_ends_the_exchange = connection.await;
        });
        Ok(Connection { sender, has_responded: false, _driver: Driver(task) })
    }

    async fn read(
        &self,
        what: &str,
        headers: &HeaderMap,
        mut body: Incoming,
        awaited: ReadUntil<'_>,
    ) -> Result<Bytes, Error> {
        let streamed = media_type(headers) == "text/event-stream";
        let wanted = match awaited {
            ReadUntil::Head if streamed => return Ok(Bytes::new()),
            ReadUntil::Response(id) if streamed => Some(id),
            ReadUntil::Head | ReadUntil::Response(_) => None,
        };
        let (mut whole, mut seen, mut events) = (BytesMut::new(), 0_usize, Events::default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| Error::Broken { question: self.question(what), source })?;
            let Ok(data) = frame.into_data() else { continue };
            seen = seen.saturating_add(data.len());
            self.bound(what, seen)?;
            let Some(id) = wanted else {
                whole.extend_from_slice(&data);
                continue;
            };
            if let Some(response) = response_in(&mut events, &data, id) {
                return Ok(response);
            }
        }
        Ok(whole.freeze())
    }
}

/// The first event that these bytes complete and that is the response with this id.
pub(super) fn response_in(events: &mut Events, bytes: &[u8], id: &Value) -> Option<Bytes> {
    let mut found = None;
    events.feed(bytes, |event| {
        if found.is_none() && envelope::responds_to(event, id) {
            found = Some(Bytes::copy_from_slice(event));
        }
    });
    found
}

/// One connection to the server.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The head of a response to the latest request has arrived.
    has_responded: bool,
    _driver: Driver,
}

/// A connection that is kept from one request to the next, as SDKs do.
#[derive(Default)]
pub(crate) struct KeptConnection {
    connection: Option<Connection>,
    /// How many have been opened, with those that failed.
    pub(super) opened: u64,
    /// A connection that had carried an exchange before broke in the latest one, before any response: as one does that the
    /// server closes because it is idle.
    pub(super) was_closed: bool,
}

impl KeptConnection {
    /// Whether it has carried an exchange and can carry another, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Closes it, so that the next request opens another.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// The connection, unless the server has closed it or the last response is still on its way.
    async fn take_ready(&mut self, within: Duration) -> Option<Connection> {
        let mut connection = self.connection.take()?;
        tokio::time::timeout(within, connection.sender.ready()).await.ok()?.ok()?;
        Some(connection)
    }
}

/// Ends the connection's task with the exchange, whatever the server still has to say.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
