//! The seam to pingora-proxy: one request handed over as a stream that replays it, one answer received through a pipe.
//!
//! Pingora dials, sends, and frames what comes back. It is given exactly one request, which we wrote ourselves, and sees
//! nothing else of the client until a backend has agreed to a WebSocket. It answers nobody by itself: when it fails it
//! says nothing, and why is written down in the [`Exchange`]. Must not know clients, policy or time.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora::apps::HttpServerApp;
use pingora::http::RequestHeader;
use pingora::modules::http::HttpModules;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;

use crate::http1::FramingError;
use crate::proxy::downstream::stream::Interrupt;
use crate::proxy::route::pingora::upstream::Dialer;
use crate::upstream::Address;

/// What may lie in the pipe in either direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The backend could not be reached.
    Unreachable(io::ErrorKind),
    /// The connection ended before a complete head.
    Closed,
    /// What came is not an answer.
    Invalid(FramingError),
    /// The client's side ended the waiting.
    Interrupted(Interrupt),
}

/// One request on its way through pingora-proxy, as both sides of it see it.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) address: Address,
    pub(crate) connect: Duration,
    /// Whether the request asks for a WebSocket.
    pub(crate) upgrade: bool,
    /// Whether the answer has a head only.
    pub(crate) head_only: bool,
    answered: AtomicBool,
    failure: Mutex<Option<NoAnswer>>,
}

impl Exchange {
    pub(crate) fn new(address: Address, connect: Duration, upgrade: bool, head_only: bool) -> Exchange {
        let (answered, failure) = (AtomicBool::new(false), Mutex::new(None));
        Exchange { address, connect, upgrade, head_only, answered, failure }
    }

    /// Writes down why there will be no answer, or no end of it. The first reason is the cause of the others.
    pub(crate) fn fail(&self, why: NoAnswer) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// The backend's answer has a good head: what the pipe carries from now on is the backend's.
    pub(crate) fn answer(&self) {
        self.answered.store(true, Ordering::Release);
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> NoAnswer {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(NoAnswer::Closed)
    }
}

/// The one pingora-proxy that all routes share.
pub(crate) struct Gateway {
    proxy: Arc<HttpProxy<Way>>,
    /// How a process ends is for the front to say: it owns every connection.
    never: ShutdownWatch,
}

/// The near end of a handed-over request. Dropping it ends the exchange.
pub(crate) struct Handed {
    pub(crate) pipe: DuplexStream,
    pub(crate) exchange: Arc<Exchange>,
    task: JoinHandle<()>,
}

impl Gateway {
    pub(crate) fn new() -> Gateway {
        // One attempt: whether a request may be sent again is not for a route to guess.
        let conf = ServerConf { max_retries: 1, upstream_keepalive_pool_size: 1, ..ServerConf::default() };
        let mut proxy = HttpProxy::new(Way { exchanges: AtomicU64::new(0) }, Arc::new(conf));
        proxy.handle_init_modules();
        Gateway { proxy: Arc::new(proxy), never: tokio::sync::watch::channel(false).1 }
    }

    /// Hands one whole request over.
    pub(crate) fn hand_over(&self, exchange: Exchange, request: Bytes) -> Handed {
        let (pipe, far_end) = duplex(PIPE_BYTES);
        let exchange = Arc::new(exchange);
        let replay = Replay { request, pipe: far_end, exchange: exchange.clone() };
        let (proxy, never) = (self.proxy.clone(), self.never.clone());
        let task = tokio::spawn(async move {
            let session = ServerSession::new_http1(Box::new(replay));
            // The stream comes back if Pingora would take another request from it. It carries one only.
            drop(proxy.process_new_http(session, &never).await);
        });
        Handed { pipe, exchange, task }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How Pingora is made to do as described above.
struct Way {
    exchanges: AtomicU64,
}

#[async_trait]
impl ProxyHttp for Way {
    type CTX = ();

    fn new_ctx(&self) {}

    /// Answers pass as they are: no module may compress or change them.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<()> {
        // Whoever waits for the answer has the deadline; a WebSocket may be silent for as long as its route says.
        let session = session.as_downstream_mut();
        session.set_read_timeout(None);
        session.set_write_timeout(None);
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let Some(exchange) = exchange_of(session) else {
            return Err(pingora::Error::explain(
                pingora::ErrorType::InternalError,
                "not a handed-over request",
            ));
        };
        // The address is not used: the dialer knows where to go.
        let mut peer = HttpPeer::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), false, String::new());
        peer.options.http_upstream_request_policy = if exchange.upgrade {
            HttpUpstreamRequestPolicy::standard()
        } else {
            HttpUpstreamRequestPolicy::deny_upgrades()
        };
        peer.options.custom_l4 = Some(Arc::new(Dialer::new(exchange)));
        // No connection is found again by another request, even if one were kept.
        peer.group_key = self.exchanges.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora::Result<()> {
        if !exchange_of(session).is_some_and(|exchange| exchange.upgrade) {
            request.insert_header("Connection", "close")?;
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, _: &mut Session, _: &pingora::Error, (): &mut ()) -> FailToProxy {
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, (): &(), _: &pingora::Error) -> bool {
        true
    }
}

fn exchange_of(session: &Session) -> Option<Arc<Exchange>> {
    let stream = session.as_downstream().stream()?;
    (**stream).as_any().downcast_ref::<Replay>().map(|replay| replay.exchange.clone())
}

/// The stream that Pingora takes for a client.
struct Replay {
    request: Bytes,
    pipe: DuplexStream,
    exchange: Arc<Exchange>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.request.is_empty() {
            return Pin::new(&mut self.pipe).poll_read(cx, buffer);
        }
        let length = buffer.remaining().min(self.request.len());
        buffer.put_slice(&self.request[..length]);
        self.request.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Replay {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Replay {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Replay {}

impl GetTimingDigest for Replay {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Replay {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Replay {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Replay {}
