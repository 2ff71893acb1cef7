//! The response of a route's backend on its way to the client: the same fields and the same framing as for calls, each
//! piece as it arrives. An event stream has no end of its own; when the guard stops, it ends behind a whole event.

use pingora::http::ResponseHeader;
use tokio::time::Instant;

use super::super::io::Parts;
use super::request::{RouteError, RouteRequest};
use crate::http1::{BodyLength, FieldSpans};
use crate::proxy::backend::pingora::bridge::BridgedRequest;
use crate::proxy::backend::pingora::exchange::UpstreamError;
use crate::proxy::backend::response_body::ResponseBody;
use crate::proxy::backend::response_head::{
    Challenge, FieldRules, ParsedHead, ResponseHead, SessionHeader, parse_response,
};
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::response::{DownstreamFraming, End, Piece, RelayError};
use crate::proxy::downstream::stream::Downstream;
use crate::proxy::head_writer::append_length;
use crate::telemetry::{Outcome, Record};
use crate::wire::response_scan::Format;
use crate::wire::sse::{Boundary, Parser};

/// Passes one response on to the client.
pub(super) struct RouteRelay<'r, 's> {
    pub(super) routed: &'r RouteRequest<'r>,
    pub(super) downstream: &'r mut Downstream,
    pub(super) record: &'r mut Record<'s>,
    /// Reads along where the response is an event stream: it may end between two events only.
    events: Option<Parser>,
}

/// How a body ended.
enum RelayEnd {
    Complete,
    /// The guard stops, and the stream stands behind a whole event.
    Drained,
}

impl<'r, 's> RouteRelay<'r, 's> {
    pub(super) fn new(
        routed: &'r RouteRequest<'r>,
        downstream: &'r mut Downstream,
        record: &'r mut Record<'s>,
    ) -> RouteRelay<'r, 's> {
        RouteRelay { routed, downstream, record, events: None }
    }

    /// Waits for the response and passes it on.
    pub(super) async fn serve(&mut self, mut bridged: BridgedRequest) -> KeepAlive {
        match self.response_head(&mut bridged).await {
            Ok(block) => self.pass_on(&block, &mut bridged).await,
            Err(error) => self.deny(error).await,
        }
    }

    pub(super) async fn deny(&mut self, error: RouteError) -> KeepAlive {
        self.routed.upstream_denial(self.downstream, error, self.record).await
    }

    /// Waits for the response's head until the client's side ends the waiting. Returns it as a block of bytes.
    pub(super) async fn response_head(
        &mut self,
        bridged: &mut BridgedRequest,
    ) -> Result<Vec<u8>, RouteError> {
        let head = self.downstream.race(bridged.response_head()).await??;
        Ok(head_block(&head))
    }

    /// Passes on a response whose head has arrived.
    pub(super) async fn pass_on(&mut self, block: &[u8], bridged: &mut BridgedRequest) -> KeepAlive {
        let (head, mut body) = match self.open(block, bridged).await {
            Ok(opened) => opened,
            Err(error) => return self.deny(error).await,
        };
        let RouteRequest { request, route, guard, .. } = self.routed;
        route.mark_reachable();
        let is_events = head.format == Format::EventStream;
        self.record.status = Some(head.status);
        self.record.outcome = if head.status >= 500 { Outcome::Upstream } else { Outcome::Ok };
        self.record.streamed = is_events;
        let _stream = is_events.then(|| guard.stream());
        let framing = DownstreamFraming::of(body.length(), request.head.version);
        let framed = (!self.is_head_only() && !matches!(head.status, 204 | 304)).then_some(framing);
        let (head, keep_alive) = request.relay_head(self.downstream, head.rendered, framed);
        self.events = is_events.then(Parser::default);
        match self.relay(&head, &mut body, framing).await {
            Ok(RelayEnd::Complete) => keep_alive,
            Ok(RelayEnd::Drained) => KeepAlive::Close,
            Err(error) => {
                self.downstream.cut();
                self.record.outcome = error.outcome();
                KeepAlive::Close
            }
        }
    }

    fn is_head_only(&self) -> bool {
        self.routed.request.head.method == b"HEAD"
    }

    /// Checks the head as strictly as a call's, and reads the body until it makes sense to send it.
    async fn open<'b>(
        &mut self,
        block: &[u8],
        bridged: &'b mut BridgedRequest,
    ) -> Result<(ResponseHead, ResponseBody<&'b mut BridgedRequest>), RouteError> {
        let clock = &self.routed.request.state.clock;
        let rules = FieldRules { session: SessionHeader::Pass, challenge: Challenge::Pass, clock };
        let mut head = match parse_response(block, &mut FieldSpans::default(), rules) {
            Ok(ParsedHead::Final(head)) => head,
            // The session passes on final responses only.
            Ok(ParsedHead::Informational) => return Err(UpstreamError::Closed.into()),
            Err(error) => return Err(UpstreamError::Invalid(error).into()),
        };
        let length = match head.body {
            _ if self.is_head_only() => BodyLength::None,
            // Pingora has removed the chunked framing.
            BodyLength::Chunked | BodyLength::UntilClose => BodyLength::UntilClose,
            BodyLength::None | BodyLength::Bytes(_) => head.body,
        };
        // The length that a body would have.
        if let (true, BodyLength::Bytes(length)) = (self.is_head_only(), head.body) {
            append_length(&mut head.rendered, length);
        }
        let error = bridged.exchange();
        let body = ResponseBody::new(bridged, length, Vec::new(), false);
        let mut body = body.map_err(|_| UpstreamError::Closed)?;
        let filled = self.downstream.race(body.fill_if_small(head.format, |_| true)).await;
        match filled? {
            Ok(()) => Ok((head, body)),
            Err(_) => Err(error.error().into()),
        }
    }

    /// Writes the head and the body.
    async fn relay(
        &mut self,
        mut head: &[u8],
        body: &mut ResponseBody<&mut BridgedRequest>,
        framing: DownstreamFraming,
    ) -> Result<RelayEnd, RelayError> {
        loop {
            self.set_deadline();
            if let Some(events) = &mut self.events {
                push(events, &body.data);
            }
            self.record.bytes_out += body.data.len() as u64;
            let piece = Piece { head, data: &body.data, end: End::of(body.is_complete()) };
            framing.write(self.downstream, piece).await?;
            if body.is_complete() {
                return Ok(RelayEnd::Complete);
            }
            head = &[];
            body.data.clear();
            let is_between =
                self.events.as_ref().is_some_and(|events| events.boundary() == Boundary::Between);
            if !is_between || matches!(framing, DownstreamFraming::Length(_)) {
                self.downstream.race(body.read()).await??;
                continue;
            }
            match self.downstream.race_drain(body.read()).await? {
                Some(read) => read?,
                None => {
                    if framing == DownstreamFraming::Chunked {
                        self.downstream.set_timeout(self.routed.route.config.idle);
                        let _ = self.downstream.write(Parts::new([b"0\r\n\r\n".as_slice()])).await;
                    }
                    return Ok(RelayEnd::Drained);
                }
            }
        }
    }

    /// `idle` bounds each silence. `total` bounds responses that end by themselves.
    fn set_deadline(&mut self) {
        let config = &self.routed.route.config;
        let idle = Instant::now() + config.idle;
        let total = self.routed.request.started + config.total;
        self.downstream.set_deadline(if self.events.is_some() { idle } else { idle.min(total) });
    }
}

/// The head as bytes, for the checks that calls use.
fn head_block(head: &ResponseHeader) -> Vec<u8> {
    let mut block = format!("{:?} {} \r\n", head.version, head.status.as_u16()).into_bytes();
    head.header_to_h1_wire(&mut block);
    block.extend_from_slice(b"\r\n");
    block
}

/// Shows `events` the bytes that are passed on.
fn push(events: &mut Parser, mut bytes: &[u8]) {
    while events.next(&mut bytes).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line_however_it_arrives() {
        for (text, expect) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r", true),
            ("data: 1\n\r\n", true),
            ("data: 1\n", false),
            ("data: 1\r\n", false),
            ("data: 1", false),
            ("data: 1\n\ndata", false),
        ] {
            for piece in [1, 3, 100] {
                let mut events = Parser::default();
                text.as_bytes().chunks(piece).for_each(|bytes| push(&mut events, bytes));
                assert_eq!(events.boundary() == Boundary::Between, expect, "{text:?} in pieces of {piece}");
            }
        }
    }
}
