//! `GET /metrics` on a TCP address, on a thread of its own: a scrape does not wait for calls, nor a call for a scrape.
//!
//! Must not know the families.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// Connections beyond this wait in the listen queue of the kernel.
const CONNECTIONS_MAX: usize = 8;
/// Time for a request head, also on a connection that is kept alive: scrapers come every few seconds.
const HEADER_TIME_MAX: Duration = Duration::from_secs(75);
/// How long to wait when the process has no file descriptor left for the next connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the metrics until the process ends; returns the address, which has the port that the system chose for port 0.
pub(crate) fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || runtime.block_on(accept(listener, metrics)))?;
    Ok(bound)
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let limit = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let metrics = Arc::clone(&metrics);
        let service = hyper::service::service_fn(move |request: Request<_>| {
            let response = respond(request.method(), request.uri().path(), &metrics);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // An error here means that the scraper closed the connection or sent no HTTP.
            let _ = connection.await;
            drop(permit);
        });
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let (status, kind, body) = match (path, method) {
        ("/metrics", &Method::GET | &Method::HEAD) => match metrics.encode() {
            Ok(body) => (StatusCode::OK, HeaderValue::from_static(prometheus::TEXT_FORMAT), body),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, text, error.to_string().into_bytes()),
        },
        ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, text, b"only GET is served here\n".to_vec()),
        (_, _) => (StatusCode::NOT_FOUND, text, b"the metrics are at /metrics\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}
