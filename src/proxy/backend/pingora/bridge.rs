//! Sends a route's request through pingora-proxy: Pingora connects, sends, and reads and frames the response.
//!
//! The request is one that the guard has judged and written itself. Pingora writes no response of its own: an error is
//! recorded in the [`BridgeExchange`]. Must not know policy or time.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::HttpServerApp;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::common::is_upgrade_resp;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http1::FramingError;
use crate::proxy::backend::pingora::connector::Dialing;
use crate::proxy::backend::pingora::exchange::{BridgeExchange, UpstreamError};
use crate::proxy::backend::pingora::session::BridgeSession;
use crate::proxy::backend::response_head::INFORMATIONAL_MAX;
use crate::upstream::Address;

/// Most bytes in the pipe in either direction.
const PIPE_BYTES: usize = 64 * 1024;

/// The one pingora-proxy of all routes.
pub(crate) struct PingoraBridge {
    proxy: Arc<HttpProxy<BridgeProxy>>,
    /// Pingora never sees a shutdown: the client's side owns the connections and drains them.
    shutdown: ShutdownWatch,
}

impl PingoraBridge {
    pub(crate) fn new() -> PingoraBridge {
        // One attempt: the request may have been executed when its exchange fails.
        let conf = ServerConf { max_retries: 1, upstream_keepalive_pool_size: 1, ..ServerConf::default() };
        let proxy = Arc::new(http_proxy(&Arc::new(conf), BridgeProxy));
        PingoraBridge { proxy, shutdown: tokio::sync::watch::channel(false).1 }
    }

    /// Sends one request with its whole body.
    pub(crate) fn send(
        &self,
        exchange: BridgeExchange,
        mut request: RequestHeader,
        body: Bytes,
    ) -> BridgedRequest {
        let exchange = Arc::new(exchange);
        let (sender, head) = oneshot::channel();
        let (pipe, far_end) = duplex(PIPE_BYTES);
        request.extensions_mut().insert(exchange.clone());
        let session = BridgeSession {
            exchange: exchange.clone(),
            request,
            body,
            head: Some(sender),
            pipe: far_end,
            upgraded: false,
            tunnel_ended: false,
        };
        let (proxy, shutdown) = (self.proxy.clone(), self.shutdown.clone());
        let task = tokio::spawn(async move {
            proxy.process_new_http(ServerSession::new_custom(Box::new(session)), &shutdown).await;
        });
        BridgedRequest { head, pipe, exchange, task }
    }
}

/// The client's side of a request that pingora-proxy serves. Dropping it ends the exchange.
pub(crate) struct BridgedRequest {
    head: oneshot::Receiver<Box<ResponseHeader>>,
    pub(crate) pipe: DuplexStream,
    exchange: Arc<BridgeExchange>,
    task: JoinHandle<()>,
}

impl BridgedRequest {
    /// Waits for the head of the response.
    pub(crate) async fn response_head(&mut self) -> Result<Box<ResponseHeader>, UpstreamError> {
        (&mut self.head).await.map_err(|_dropped| self.exchange.error())
    }

    /// What says why the exchange failed.
    pub(crate) fn exchange(&self) -> Arc<BridgeExchange> {
        self.exchange.clone()
    }
}

impl Drop for BridgedRequest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The response body without its framing. It ends only where the response is complete.
impl AsyncRead for BridgedRequest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buffer))?;
        if buffer.filled().len() == filled && !self.exchange.is_complete() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }
}

/// The callbacks of pingora-proxy.
struct BridgeProxy;

#[async_trait]
impl ProxyHttp for BridgeProxy {
    /// Informational responses so far.
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    /// No module may compress or change a response.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut usize) -> pingora::Result<Box<HttpPeer>> {
        let exchange = exchange_of(session)?;
        let mut peer = match exchange.backend.address() {
            _ if exchange.backend.is_elaborate() => dialed(&exchange),
            // A name is elaborate.
            Address::Name { .. } => return Err(Error::new_in(ErrorType::InternalError)),
            Address::Tcp(address) => HttpPeer::new(address, false, String::new()),
            Address::Unix(path) => HttpPeer::new_uds(&path.to_string_lossy(), false, String::new())
                .inspect_err(|_| exchange.fail(UpstreamError::Unreachable("not a path".into())))?,
        };
        peer.options.connection_timeout = Some(exchange.connect_timeout);
        peer.options.http_upstream_request_policy = if exchange.is_upgrade {
            HttpUpstreamRequestPolicy::standard()
        } else {
            HttpUpstreamRequestPolicy::deny_upgrades()
        };
        Ok(Box::new(peer))
    }

    /// One connection serves one request: bytes behind a response must not become the response to another request.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut usize,
    ) -> pingora::Result<()> {
        if exchange_of(session)?.is_upgrade {
            return Ok(());
        }
        request.insert_header("Connection", "close")
    }

    /// Refuses a `101` that does not switch to the requested WebSocket, and too many informational responses.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        informational: &mut usize,
    ) -> pingora::Result<()> {
        let exchange = exchange_of(session)?;
        let error = match response.status.as_u16() {
            101 if exchange.is_upgrade && switches_to_websocket(response) => return Ok(()),
            101 => FramingError::Forbidden,
            100..=199 if *informational == INFORMATIONAL_MAX => FramingError::StatusLine,
            100..=199 => {
                *informational += 1;
                return Ok(());
            }
            _ => return Ok(()),
        };
        exchange.fail(UpstreamError::Invalid(error));
        Err(Error::new_up(ErrorType::InvalidHTTPHeader))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        _: &mut usize,
        error: Box<Error>,
    ) -> Box<Error> {
        if let Ok(exchange) = exchange_of(session) {
            exchange.fail(UpstreamError::Unreachable(io_kind(&error).to_string().into()));
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, _: &mut usize) -> FailToProxy {
        if let Ok(exchange) = exchange_of(session) {
            let etype = error.etype();
            let malformed = matches!(etype, ErrorType::InvalidHTTPHeader | ErrorType::Custom(_));
            exchange.fail(if malformed {
                UpstreamError::Unparsable(etype.as_str())
            } else {
                UpstreamError::Closed
            });
        }
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    /// The guard logs each failure once, without the bytes that Pingora quotes.
    fn suppress_error_log(&self, _: &Session, _: &usize, _: &Error) -> bool {
        true
    }
}

/// A peer to which the guard opens the connection itself: Pingora resolves no name again, and its TLS is not compiled in.
fn dialed(exchange: &Arc<BridgeExchange>) -> HttpPeer {
    // Pingora wants an address; the connector does not use it.
    let mut peer = HttpPeer::new((Ipv4Addr::UNSPECIFIED, 1), false, String::new());
    // That address is every backend's: the key tells their connections apart.
    peer.group_key = exchange.backend.key();
    peer.options.custom_l4 = Some(Arc::new(Dialing(exchange.clone())));
    peer
}

fn exchange_of(session: &Session) -> pingora::Result<Arc<BridgeExchange>> {
    let exchange = session.req_header().extensions.get::<Arc<BridgeExchange>>();
    exchange.cloned().ok_or_else(|| Error::new_in(ErrorType::InternalError))
}

/// RFC 6455, 4.2.2.
fn switches_to_websocket(response: &ResponseHeader) -> bool {
    let mut upgrade = response.headers.get_all("Upgrade").iter();
    let is_websocket =
        upgrade.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    is_upgrade_resp(response) && is_websocket && upgrade.next().is_none()
}

/// Pingora wraps the error of the system call.
fn io_kind(error: &Error) -> io::ErrorKind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.root_cause());
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<io::Error>() {
            return error.kind();
        }
        cause = current.source();
    }
    let timed_out = matches!(error.etype(), ErrorType::ConnectTimedout);
    if timed_out { io::ErrorKind::TimedOut } else { io::ErrorKind::Other }
}
