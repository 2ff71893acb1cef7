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
    let busy = request.snapshot.slot(stable).is_some_and(|slot| slot.calls.permits.waiting() > 0);
    if busy || queue.calls.waiting() >= rules.queue {
        queue.drop_one(call.method(), metrics);
        return None;
    }
    if body.len() > rules.body_bytes {
        queue.skip_one(call.method(), metrics);
        return None;
    }
    Some(ShadowCapture { ctx: *ctx, stable })
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
    /// Bytes that a response may have to be compared.
    pub(crate) fn bytes_max(&self) -> usize {
        self.ctx.request.snapshot.shadow.body_bytes
    }

    /// The whole response has been sent: queues the copy, or drops it. `response` is none where it was too long.
    pub(crate) fn finish(self, slot: Slot, format: Format, response: Option<Vec<u8>>) {
        let CallContext { request, call, body, .. } = self.ctx;
        let (queue, metrics) = (&request.state.shadow_queue, &request.state.shadow);
        let method = call.method();
        let comparable = response.filter(|_| slot == self.stable && format != Format::Opaque);
        let Some(response) = comparable else { return queue.skip_one(method, metrics) };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mcp = |name: &[u8]| name.len() > 4 && name[..4].eq_ignore_ascii_case(b"mcp-");
        let fields = request.head.fields.iter().filter(|field| mcp(field.name));
        let copy = ShadowedCall {
            method,
            stable: self.stable,
            request_id: request.id.to_owned(),
            client: request.snapshot.policy.clients().name(call.client()).to_owned(),
            subject: call.subject().map(|subject| subject.text().to_owned()),
            fields: fields.filter_map(|field| Some((text(field.name)?, text(field.value)?))).collect(),
            body: Bytes::copy_from_slice(body),
            response: response.into(),
            streamed: format == Format::EventStream,
        };
        if queue.calls.send(copy).is_err() {
            queue.drop_one(method, metrics);
        }
    }
}
