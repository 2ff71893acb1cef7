//! Copies of read-only calls for the candidate, in a shadow stage: taken as the response passes, queued without waiting.
//!
//! A client waits for nothing here. A few comparisons decide whether a call is copied; its response is copied as it passes,
//! within a bound; the copy is queued after the last byte has been sent, and dropped where the queue is full or clients wait
//! for permits. Without a shadow stage the first comparison is the last. Must not know how a copy is sent or compared.

use bytes::Bytes;

use crate::config::shadow::Shadow;
use crate::policy::Call;
use crate::proxy::call::context::CallContext;
use crate::proxy::state::shadow_queue::ShadowedCall;
use crate::upstream::{Slot, Split};
use crate::wire::response_scan::Format;
use crate::wire::{Kind, Method};

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
    if !is_read_only(rules, call) || !request.state.shadow_queue.is_sampled(rules.per_million) {
        return None;
    }
    let (queue, metrics) = (&request.state.shadow_queue, &request.state.shadow);
    let stable = split.stable();
    // Where clients wait for a permit, a comparison must not cost stable more.
    let busy = request.snapshot.slot(stable).is_some_and(|slot| slot.places.waiting() > 0);
    if busy || queue.waiting() >= rules.queue {
        queue.drop_one(call.method(), metrics);
        return None;
    }
    if body.len() > rules.body_bytes {
        queue.skip_one(call.method(), metrics);
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
        let (queue, metrics) = (&request.state.shadow_queue, &request.state.shadow);
        let method = call.method();
        if slot != self.stable || self.remaining.is_none() || format == Format::Opaque {
            return queue.skip_one(method, metrics);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mcp = |name: &[u8]| name.len() > 4 && name[..4].eq_ignore_ascii_case(b"mcp-");
        let fields = request.head.fields.iter().filter(|field| mcp(field.name));
        let copy = ShadowedCall {
            method,
            stable: self.stable,
            request_id: request.id.to_owned(),
            client: request.snapshot.policy.clients().name(call.client()).to_owned(),
            fields: fields.filter_map(|field| Some((text(field.name)?, text(field.value)?))).collect(),
            body: Bytes::copy_from_slice(body),
            response: Bytes::from(self.response),
            streamed: format == Format::EventStream,
        };
        if !queue.send(copy) {
            queue.drop_one(method, metrics);
        }
    }
}
