//! The connections: bounded in number, bytes and time; HTTP/1.1 by hyper.
//!
//! Without a valid token a connection has one response, and makes room where all places are taken.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::api;
use super::body::Body;
use super::encryption::{Encryption, accept};
use super::feed::Feed;
use super::places::{Full, Places, Visitor};
use super::problem::Problem;
use super::write_deadline::WriteDeadline;

/// For a head to arrive, also on a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// On every response, whatever it is.
const FIELDS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Serves until the future is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    encryption: Arc<Encryption>,
    feed: Arc<Feed>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut places = Places::default();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: try again, but not in a tight loop.
                log::warn!("console: cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // One connection too many is closed at once: the others are those of people who are looking.
        if let Err(Full) = places.make_room() {
            continue;
        }
        let peer = Arc::new(Visitor::new(address));
        let (stream, tls, feed) = (WriteDeadline::new(stream), encryption.current(), feed.clone());
        let of_connection = peer.clone();
        let task = tokio::spawn(async move {
            match tls {
                None => serve_connection(stream, of_connection, feed).await,
                Some(tls) => {
                    if let Some(stream) = accept(stream, &tls).await {
                        serve_connection(stream, of_connection, feed).await;
                    }
                }
            }
        });
        places.take(peer, task.abort_handle());
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, peer: Arc<Visitor>, feed: Arc<Feed>) {
    let service = service_fn(move |request| respond(request, peer.clone(), feed.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        log::debug!("console: a connection ended: {error}");
    }
}

async fn respond(
    request: Request<Incoming>,
    peer: Arc<Visitor>,
    feed: Arc<Feed>,
) -> Result<Response<Body>, Infallible> {
    let person = feed.people.of(request.headers());
    let (is_authenticated, is_over) = (person.is_ok(), feed.is_over());
    peer.set_authenticated(is_authenticated);
    let responded = if is_over {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "another process serves now: connect again"))
    } else {
        api::respond(request, person, peer.address.ip(), &feed).await
    };
    let mut response = responded.unwrap_or_else(Problem::into_response);
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if !is_authenticated || is_over {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
