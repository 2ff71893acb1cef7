//! Copies of read-only calls for the candidate, in a shadow stage: taken as the response passes, queued without waiting.
//!
//! A client waits for nothing here. A few comparisons decide whether a call is copied; its response is copied as it passes,
//! within a bound; the copy is queued after the last byte has been sent, and dropped where the queue is full or clients wait
//! for permits. Without a shadow stage the first comparison is the last. Must not know how a copy is sent or compared.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::shadow::{QUEUE_MAX, Shadow};
use crate::parity::shadow::mismatch_log::Copied;
use crate::policy::Call;
use crate::proxy::call::context::CallContext;
use crate::telemetry::metrics::ShadowMetrics;
use crate::upstream::{Slot, Split};
use crate::wire::response_scan::Format;
use crate::wire::{Kind, Method};

/// A million calls, of which some are taken.
const MILLION: u64 = 1_000_000;

/// A call that a client has made, and stable's response to it.
#[derive(Debug)]
pub(crate) struct CallCopy {
    pub(crate) method: Method,
    pub(crate) stable: Slot,
    pub(crate) request_id: String,
    pub(crate) client: String,
    /// The request's `Mcp-*` fields.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) response: Bytes,
    pub(crate) streamed: bool,
}

/// The queue of copies.
pub(crate) struct Copies {
    sender: mpsc::Sender<CallCopy>,
    receiver: Mutex<Option<mpsc::Receiver<CallCopy>>>,
    seen: AtomicU64,
    /// Since the start.
    dropped: AtomicU64,
    skipped: AtomicU64,
}

impl Copies {
    pub(crate) fn new() -> Copies {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let [seen, dropped, skipped] = [const { AtomicU64::new(0) }; 3];
        Copies { sender, receiver: Mutex::new(Some(receiver)), seen, dropped, skipped }
    }

    /// The receiving end; it can be taken once.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<CallCopy>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Calls that were not copied since the start: dropped, and skipped.
    pub(crate) fn left_out(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.skipped.load(Ordering::Relaxed))
    }

    fn drop_one(&self, method: Method, metrics: &ShadowMetrics) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        metrics.copied(method, Copied::Dropped);
    }

    fn skip_one(&self, method: Method, metrics: &ShadowMetrics) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        metrics.copied(method, Copied::Skipped);
    }

    /// Whether this call is one of the sample.
    fn is_sampled(&self, per_million: u32) -> bool {
        let (number, part) = (self.seen.fetch_add(1, Ordering::Relaxed) % MILLION, u64::from(per_million));
        (number + 1) * part / MILLION > number * part / MILLION
    }
}

/// A call that is being copied.
pub(crate) struct ShadowCapture<'c> {
    ctx: CallContext<'c>,
    stable: Slot,
    response: Vec<u8>,
    /// The bytes that the response may still have; none once it is too large.
    remaining: Option<usize>,
}

/// Begins to copy a call, if it is one of the sample.
pub(crate) fn begin<'c>(ctx: &CallContext<'c>, split: &Split) -> Option<ShadowCapture<'c>> {
    split.shadow()?;
    let CallContext { request, call, body, .. } = *ctx;
    let rules = &request.snapshot.shadow;
    if !is_read_only(rules, call) || !request.state.copies.is_sampled(rules.per_million) {
        return None;
    }
    let (copies, metrics) = (&request.state.copies, &request.state.shadow);
    let stable = split.stable();
    // Where clients wait for a permit, a comparison must not cost stable more.
    let busy = request.snapshot.slot(stable).is_some_and(|slot| slot.places.waiting() > 0);
    if busy || copies.waiting() >= rules.queue {
        copies.drop_one(call.method(), metrics);
        return None;
    }
    if body.len() > rules.body_bytes {
        copies.skip_one(call.method(), metrics);
        return None;
    }
    Some(ShadowCapture { ctx: *ctx, stable, response: Vec::new(), remaining: Some(rules.body_bytes) })
}

/// Whether this call is known to change nothing: by its method, or because the configuration says so of its tool.
fn is_read_only(rules: &Shadow, call: &Call<'_>) -> bool {
    let method = call.method();
    let reads = if method == Method::ToolsCall {
        call.tool().is_some_and(|tool| rules.tools.contains(tool))
    } else {
        method == Method::Ping || method.repeatable()
    };
    call.kind() == Kind::Request && reads
}

impl ShadowCapture<'_> {
    /// A part of stable's response passes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.remaining = self.remaining.and_then(|remaining| remaining.checked_sub(bytes.len()));
        match self.remaining {
            Some(_) => self.response.extend_from_slice(bytes),
            None => self.response = Vec::new(),
        }
    }

    /// The whole response has been sent: queues the copy, or drops it.
    pub(crate) fn finish(self, slot: Slot, format: Format) {
        let CallContext { request, call, body, .. } = self.ctx;
        let (copies, metrics) = (&request.state.copies, &request.state.shadow);
        let method = call.method();
        if slot != self.stable || self.remaining.is_none() || format == Format::Opaque {
            return copies.skip_one(method, metrics);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mcp = |name: &[u8]| name.len() > 4 && name[..4].eq_ignore_ascii_case(b"mcp-");
        let fields = request.head.fields.iter().filter(|field| mcp(field.name));
        let copy = CallCopy {
            method,
            stable: self.stable,
            request_id: request.id.to_owned(),
            client: request.snapshot.policy.clients().name(call.client()).to_owned(),
            fields: fields.filter_map(|field| Some((text(field.name)?, text(field.value)?))).collect(),
            body: Bytes::copy_from_slice(body),
            response: Bytes::from(self.response),
            streamed: format == Format::EventStream,
        };
        if copies.sender.try_send(copy).is_err() {
            copies.drop_one(method, metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even() {
        for (per_million, taken) in [(1_000_000, 1_000), (100_000, 100), (1_000, 1), (25_000, 25)] {
            let copies = Copies::new();
            assert_eq!((0..1_000).filter(|_| copies.is_sampled(per_million)).count(), taken, "{per_million}");
        }
    }
}
