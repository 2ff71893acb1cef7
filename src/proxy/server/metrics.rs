//! `GET /metrics` on a listener and a thread of its own: a scrape does not wait for calls.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::http1::{Arriving, FieldSpans, HeadLimits, RequestHead, head_end, request};
use crate::proxy::downstream::local_reply::BodyMode;
use crate::proxy::head_writer::{append_field, append_length, append_status_line};
use crate::proxy::state::ProxyState;
use crate::proxy::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A scrape has this long in all, however slowly its bytes come and go.
const TIME_MAX: Duration = Duration::from_secs(10);
const HEAD_LIMITS: HeadLimits = HeadLimits { bytes_max: 16 * 1024, fields_max: 100 };
/// Scrapers at the same time.
const SCRAPES_MAX: usize = 16;

/// The application behind the metrics listener.
pub(crate) struct MetricsService {
    state: Arc<ProxyState>,
    scrapes: Mutex<Scrapes>,
}

/// The scrapes under way, the oldest first.
#[derive(Default)]
struct Scrapes {
    begun: u64,
    /// Dropping a sender ends its scrape.
    under_way: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl MetricsService {
    pub(crate) fn new(state: Arc<ProxyState>) -> MetricsService {
        MetricsService { state, scrapes: Mutex::default() }
    }

    /// Begins a scrape. With too many of them the oldest ends: a scrape that works is short, so the oldest only waits.
    fn begin(&self) -> (u64, oneshot::Receiver<()>) {
        let mut scrapes = self.lock();
        if scrapes.under_way.len() >= SCRAPES_MAX {
            scrapes.under_way.pop_front();
        }
        scrapes.begun += 1;
        let (stay, staying) = oneshot::channel();
        let number = scrapes.begun;
        scrapes.under_way.push_back((number, stay));
        (number, staying)
    }

    fn lock(&self) -> MutexGuard<'_, Scrapes> {
        self.scrapes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request per connection: a scrape every few seconds does not need keep-alive.
    async fn scrape(&self, stream: &mut Stream) -> std::io::Result<()> {
        let mut buffer = Vec::with_capacity(1024);
        let mut arriving = Arriving::default();
        let (status, body, body_mode) = loop {
            match head_end(&buffer, 0, &HEAD_LIMITS) {
                Err(_malformed) => break (400, Vec::new(), BodyMode::Full),
                Ok(None) if arriving.judge(&buffer, &HEAD_LIMITS).is_err() => {
                    break (400, Vec::new(), BodyMode::Full);
                }
                Ok(None) => {
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Ok(());
                    }
                }
                Ok(Some(end)) => {
                    let mut spans = FieldSpans::default();
                    let Ok(head) = request::parse(&buffer[..end], &mut spans, &HEAD_LIMITS) else {
                        break (400, Vec::new(), BodyMode::Full);
                    };
                    let (status, body) = self.respond(&head);
                    break (status, body, BodyMode::of(&head));
                }
            }
        };
        let mut out = Vec::with_capacity(body.len() + 256);
        append_status_line(&mut out, status);
        append_field(&mut out, b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8");
        append_length(&mut out, body.len() as u64);
        if status == 405 {
            append_field(&mut out, b"Allow", b"GET, HEAD");
        }
        self.state.clock.append_date(self.state.clock.now(), &mut out);
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        if body_mode == BodyMode::Full {
            out.extend_from_slice(&body);
        }
        stream.write_all(&out).await?;
        stream.flush().await
    }

    fn respond(&self, head: &RequestHead<'_>) -> (u16, Vec<u8>) {
        match (head.method, head.path) {
            (b"GET" | b"HEAD", b"/metrics") => {
                self.state.update_gauges();
                match self.state.metrics.encode() {
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
        let (number, ended) = self.begin();
        tokio::select! {
            _ = tokio::time::timeout(TIME_MAX, self.scrape(&mut stream)) => {}
            _ = ended => {}
        }
        self.lock().under_way.retain(|(other, _)| *other != number);
        None
    }
}
