//! A copy of a response that passes, for what is done with it once it has been sent: the names of tools, the cache of
//! `server/discover`, the comparison of a shadow stage. Most calls need none.

use super::context::CallContext;
use super::discover::{self, DiscoverCapture};
use super::peek::PendingResponse;
use super::shadow::ShadowCapture;
use super::tool_names;
use crate::proxy::backend::slot::SlotState;
use crate::wire::Method;
use crate::wire::response_scan::{Format, ResponseKind};

/// A bounded copy, and what it is for.
pub(crate) struct ResponseCopy<'c> {
    /// None once it is longer than any use allows.
    bytes: Option<Vec<u8>>,
    bytes_max: usize,
    format: Format,
    tool_names: bool,
    discover: Option<DiscoverCapture>,
    shadow: Option<ShadowCapture<'c>>,
}

impl<'c> ResponseCopy<'c> {
    /// A copy of this response, if there is a use for it.
    pub(crate) fn of(
        ctx: &CallContext<'c>,
        pending: &PendingResponse<'c>,
        shadow: Option<ShadowCapture<'c>>,
    ) -> Option<Box<ResponseCopy<'c>>> {
        let tool_names = ctx.call.method() == Method::ToolsList && pending.slot.needs_tool_names();
        let discover = DiscoverCapture::of(ctx, pending.slot, &pending.head);
        let bounds = [
            tool_names.then_some(tool_names::LIST_BYTES_MAX),
            discover.as_ref().map(|_| discover::BODY_BYTES_MAX),
            shadow.as_ref().map(ShadowCapture::bytes_max),
        ];
        let bytes_max = bounds.into_iter().flatten().max()?;
        let format = pending.head.format;
        let bytes = Some(Vec::new());
        Some(Box::new(ResponseCopy { bytes, bytes_max, format, tool_names, discover, shadow }))
    }

    /// A part of the response passes.
    pub(crate) fn feed(&mut self, passing: &[u8]) {
        self.bytes = self.bytes.take().filter(|bytes| bytes.len() + passing.len() <= self.bytes_max);
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(passing);
        }
    }

    /// The whole response has been sent.
    pub(crate) fn finish(self, slot: &SlotState, kind: ResponseKind) {
        let ResponseCopy { bytes, format, tool_names, discover, shadow, .. } = self;
        let at_most = |bytes_max| bytes.as_deref().filter(|bytes| bytes.len() <= bytes_max);
        if let (true, Some(list)) = (tool_names, at_most(tool_names::LIST_BYTES_MAX)) {
            tool_names::add(slot, format, list);
        }
        if let (Some(discover), Some(body)) = (discover, at_most(discover::BODY_BYTES_MAX)) {
            discover.finish(slot, kind, body);
        }
        if let Some(shadow) = shadow {
            let response = bytes.filter(|bytes| bytes.len() <= shadow.bytes_max());
            shadow.finish(slot.slot, format, response);
        }
    }
}
