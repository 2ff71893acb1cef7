//! `GET /metrics` on its own listener and its own thread: a scrape never waits for traffic, nor traffic for a scrape.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::local::{append_field, append_length, append_status_line};
use super::runtime::Shared;
use crate::http1::{FieldSpans, HeadLimits, RequestHead, head_end, request};

/// A scraper has this long for its request, and as long to take the answer.
const TIME_MAX: Duration = Duration::from_secs(10);
const HEAD_LIMITS: HeadLimits = HeadLimits { bytes_max: 16 * 1024, fields_max: 100 };
/// Scrapers at the same time.
const SCRAPES_MAX: usize = 16;

/// The application behind the metrics listener.
pub(super) struct MetricsService {
    shared: Arc<Shared>,
    places: tokio::sync::Semaphore,
}

impl MetricsService {
    pub(super) fn new(shared: Arc<Shared>) -> MetricsService {
        MetricsService { shared, places: tokio::sync::Semaphore::new(SCRAPES_MAX) }
    }

    /// One request a connection: a scrape every few seconds is not worth keeping one open for.
    async fn scrape(&self, stream: &mut Stream) -> std::io::Result<()> {
        let mut buffer = Vec::with_capacity(1024);
        let (status, body) = loop {
            match head_end(&buffer, 0, &HEAD_LIMITS) {
                Err(_malformed) => break (400, Vec::new()),
                Ok(None) => {
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Ok(());
                    }
                }
                Ok(Some(end)) => {
                    let mut spans = FieldSpans::default();
                    let head = request::parse(&buffer[..end], &mut spans, &HEAD_LIMITS);
                    break head.map_or((400, Vec::new()), |head| self.answer(&head));
                }
            }
        };
        let mut out = Vec::with_capacity(body.len() + 256);
        append_status_line(&mut out, status);
        append_field(&mut out, b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8");
        append_length(&mut out, body.len() as u64);
        self.shared.clock.append_date(&mut out);
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        out.extend_from_slice(&body);
        stream.write_all(&out).await?;
        stream.flush().await
    }

    fn answer(&self, head: &RequestHead<'_>) -> (u16, Vec<u8>) {
        match (head.method, head.path) {
            (b"GET", b"/metrics") => {
                self.shared.measure();
                match self.shared.metrics.encode() {
                    Ok(text) => (200, text),
                    Err(error) => {
                        log::error!("encode the metrics: {error}");
                        (500, Vec::new())
                    }
                }
            }
            (_, b"/metrics") => (405, Vec::new()),
            _ => (404, Vec::new()),
        }
    }
}

#[async_trait]
impl ServerApp for MetricsService {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _shutdown: &ShutdownWatch) -> Option<Stream> {
        if let Ok(_place) = self.places.try_acquire() {
            let _ = tokio::time::timeout(TIME_MAX, self.scrape(&mut stream)).await;
        }
        None
    }
}
