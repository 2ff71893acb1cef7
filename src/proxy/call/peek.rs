//! From the head of a response to the point where sending it makes sense: what can still be refused whole is checked here.

use tokio::time::Instant;

use super::classify::{Fault, Stage, explain, fault, verdict_of_status};
use super::context::CallContext;
use super::dispatch::Dispatched;
use super::error::CallError;
use super::tools_list_filter::filter_tools_list;
use crate::http1::{KnownField, Occurs, Version};
use crate::policy::Denial;
use crate::policy::reply::ErrorMode;
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::backend::response_body::ResponseBody;
use crate::proxy::backend::response_head::{ResponseHead, show_location};
use crate::proxy::backend::slot::SlotState;
use crate::proxy::downstream::response::RelayError;
use crate::proxy::downstream::stream::Downstream;
use crate::proxy::fairness::semaphore::SemaphorePermit;
use crate::rollout::sample::{CallResult, Failure};
use crate::wire::response_scan::{Beginning, Format, ResponseKind, ResponseScan};
use crate::wire::sse::Boundary;
use crate::wire::{Kind, Method};

/// Bytes of an error response that are read to find out whether it is JSON-RPC.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a candidate's response to a read that are buffered before the first one is sent.
const ALL_BYTES_MAX: usize = 1 << 20;

/// A response that is not JSON-RPC but may pass: what tests of plain HTTP send.
const EMPTY_OBJECT: &[u8] = b"{}";

const NOT_A_RESPONSE: &str = "with something else than a JSON-RPC response to the call";

/// A response that is about to be relayed.
pub(crate) struct PendingResponse<'c> {
    pub(crate) slot: &'c SlotState,
    /// None once the response is counted among the streams.
    pub(crate) permit: Option<SemaphorePermit<'c>>,
    pub(crate) body: ResponseBody,
    pub(crate) head: ResponseHead,
    pub(crate) scan: LookaheadScan<'c>,
    /// When the first byte was sent.
    pub(crate) since: Instant,
}

/// The scan of a response. Bytes that were scanned ahead are not scanned again when they pass.
pub(crate) struct LookaheadScan<'c> {
    scan: ResponseScan<'c>,
    /// Bytes that were scanned and have not passed.
    ahead: usize,
}

impl<'c> LookaheadScan<'c> {
    fn new(ctx: &CallContext<'c>, head: &ResponseHead) -> LookaheadScan<'c> {
        // An error status is a response whatever its id: servers refuse what they could not read with an id of their own.
        let id = if head.status < 300 { ctx.call.reply_to().id } else { None };
        LookaheadScan { scan: ResponseScan::of_call(head.format, id), ahead: 0 }
    }

    /// Scans all that has arrived.
    fn look_ahead(&mut self, data: &[u8]) {
        self.scan.feed(data.get(self.ahead..).unwrap_or_default());
        self.ahead = data.len();
    }

    /// The next bytes pass.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let known = bytes.len().min(self.ahead);
        self.ahead -= known;
        self.scan.feed(&bytes[known..]);
    }

    /// What the response says, given that the body is complete.
    pub(crate) fn kind(&self) -> ResponseKind {
        self.scan.kind()
    }

    /// Whether an event stream has sent the response to the call, and where it stands.
    pub(crate) fn events(&self) -> Option<(bool, Boundary)> {
        self.scan.events()
    }

    /// Whether an event stream without the response stands inside an event: ended there, it must look cut.
    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.events(), Some((false, Boundary::Inside)))
    }
}

/// How much of a response is buffered before it is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peek {
    /// Its beginning: as little as possible.
    Start,
    /// All of it, within a bound.
    All,
}

/// Buffers as much of the response as must be known before the first byte is sent to the client, and checks it.
pub(crate) async fn peek<'c>(
    ctx: &CallContext<'c>,
    dispatched: Dispatched<'c>,
    extent: Peek,
    client: &mut Downstream,
) -> Result<Box<PendingResponse<'c>>, CallError> {
    let Dispatched { slot, permit, received, since } = dispatched;
    let refused = |refused: Refused| refused.report(ctx, slot, since);
    let (body, head) = ResponseBody::of(received).map_err(|error| refused(error.into()))?;
    let scan = LookaheadScan::new(ctx, &head);
    // Boxed, because it is moved often.
    let mut pending = Box::new(PendingResponse { slot, permit: Some(permit), body, head, scan, since });
    match pending.prepare(ctx, extent, client).await {
        Ok(()) => Ok(pending),
        Err(reason) => Err(refused(reason)),
    }
}

/// The denial in a candidate's name where the slot is the candidate: a failing candidate must not end a client's session.
///
/// So it is with every slot that is not stable when the response arrives, also after a rollback.
pub(crate) fn denial_for_slot(ctx: &CallContext<'_>, slot: &SlotState, denial: Denial) -> Denial {
    let is_garbage = matches!(denial, Denial::BackendInvalid | Denial::BackendNoAnswer);
    if is_garbage && is_candidate(ctx, slot) { Denial::CandidateInvalid } else { denial }
}

/// A candidate's responses are checked more strictly than stable's, because no client has relied on it so far.
fn is_candidate(ctx: &CallContext<'_>, slot: &SlotState) -> bool {
    slot.slot != ctx.request.state.traffic.stable()
}

/// Why a response is not relayed.
struct Refused {
    /// None if the client is gone.
    denial: Option<Denial>,
    verdict: Option<CallResult>,
    /// For the log.
    what: Option<String>,
}

impl Refused {
    fn garbage(status: u16, what: &str) -> Refused {
        let verdict = CallResult::Failed(Failure::Garbage);
        Refused::new(Denial::BackendNoAnswer, verdict, format!("the backend answered {status} {what}"))
    }

    fn status(status: u16, what: String) -> Refused {
        Refused::new(Denial::BackendStatus, verdict_of_status(status), what)
    }

    fn new(denial: Denial, verdict: CallResult, what: String) -> Refused {
        Refused { denial: Some(denial), verdict: Some(verdict), what: Some(what) }
    }

    /// Logs it and reports what it says about the slot: the call may have been executed.
    fn report(self, ctx: &CallContext<'_>, slot: &SlotState, since: Instant) -> CallError {
        if let Some(what) = self.what {
            log::warn!("slot {}: {what}", slot.slot.as_str());
        }
        if let Some(verdict) = self.verdict {
            ctx.request.state.record_sample(slot.slot, verdict, since.elapsed(), Instant::now());
        }
        CallError::new(self.denial).on(slot.slot, Some(since))
    }
}

impl<E: Into<RelayError>> From<E> for Refused {
    /// The body broke off before anything was sent: the client gets a whole refusal instead.
    fn from(error: E) -> Refused {
        let error = error.into();
        let Fault { denial, failure } = fault(error, Stage::Peek);
        let what = match error {
            RelayError::Backend(error) => explain(error),
            RelayError::Interrupted(_) | RelayError::Unwritten(_) => None,
        };
        Refused { denial, verdict: failure.map(CallResult::Failed), what }
    }
}

impl<'c> PendingResponse<'c> {
    async fn prepare(
        &mut self,
        ctx: &CallContext<'c>,
        extent: Peek,
        client: &mut Downstream,
    ) -> Result<(), Refused> {
        client.race(self.fill(ctx, extent)).await??;
        self.scan.look_ahead(&self.body.data);
        self.check(ctx)?;
        let status = self.head.status;
        if ctx.call.kind() != Kind::Request
            && ctx.call.session().is_none()
            && matches!(status, 200 | 204)
            && self.body.is_empty()
        {
            // 2025-11-25, Sending Messages to the Server: "the server MUST return HTTP status code 202 Accepted with no
            // body".
            self.head.accept();
        }
        if let Some(view) = ctx.request.snapshot.policy.view(ctx.call) {
            client.race(filter_tools_list(view, &mut self.body, &self.head)).await??;
            self.scan = LookaheadScan::new(ctx, &self.head);
        }
        Ok(())
    }

    async fn fill(&mut self, ctx: &CallContext<'_>, extent: Peek) -> Result<(), ExchangeError> {
        let PendingResponse { body, head, scan, .. } = self;
        // What is longer is not read further: the check finds that it is incomplete.
        let at_most = |result| match result {
            Err(ExchangeError::TooLong) => Ok(()),
            result => result,
        };
        let request = &ctx.request.head;
        // HTTP/1.0 has no chunks, and a response that ends with its connection cannot be told from a cut one.
        let whole = request.version == Version::Http10 && head.format != Format::EventStream;
        let limits = ctx.request.snapshot.policy.limits();
        let bytes_max = usize::try_from(limits.body_bytes_max).unwrap_or(usize::MAX);
        if head.status >= 300 {
            at_most(body.buffer(ERROR_BYTES_MAX).await)?;
            let passes = whole && (400..500).contains(&head.status);
            return if passes { body.buffer(bytes_max).await } else { Ok(()) };
        }
        if extent == Peek::All {
            return at_most(body.buffer(ALL_BYTES_MAX).await);
        }
        if whole {
            return body.buffer(bytes_max).await;
        }
        let is_checked = ctx.call.kind() == Kind::Request && head.format == Format::Json;
        let checked = |data: &[u8]| {
            !is_checked || {
                scan.look_ahead(data);
                scan.scan.beginning() != Beginning::Unknown
            }
        };
        body.fill_if_small(head.format, checked).await
    }

    /// Whether this is a response, as far as its head and what has arrived of it say.
    fn check(&self, ctx: &CallContext<'_>) -> Result<(), Refused> {
        let status = self.head.status;
        let is_jsonrpc = || {
            self.head.format == Format::Json
                && matches!(
                    self.scan.kind(),
                    ResponseKind::Ok | ResponseKind::ToolError | ResponseKind::RpcError(_)
                )
        };
        match status {
            ..300 => self.check_success(ctx),
            300..400 => {
                let secrets = &ctx.request.snapshot.secrets;
                let to = self.head.location.as_ref().map(|location| show_location(location, secrets));
                let to = to.as_deref().unwrap_or("nowhere");
                let what = format!(
                    "the backend redirects ({status}) to `{to}`, which is not followed; correct the slot's address or path"
                );
                Err(Refused::status(status, what))
            }
            401 | 403 => {
                let what = format!(
                    "the backend refuses the guard's own credentials ({status}); see `slots.{}.authorization`",
                    self.slot.slot.as_str()
                );
                Err(Refused::status(status, what))
            }
            _ if is_jsonrpc() => Ok(()),
            400..500 if !is_translated(ctx, status) => Ok(()),
            _ => {
                let what = format!("the backend answered status {status} without JSON-RPC");
                Err(Refused::status(status, what))
            }
        }
    }

    /// MCP 2025-11-25, Sending Messages to the Server: for a request the server "MUST either return Content-Type:
    /// text/event-stream [..] or Content-Type: application/json".
    fn check_success(&self, ctx: &CallContext<'_>) -> Result<(), Refused> {
        let PendingResponse { body, head, scan, .. } = self;
        let fault = |what: &str| Err(Refused::garbage(head.status, what));
        if let Some(field) = head.conflict {
            return fault(&format!("with two values of {field}"));
        }
        if ctx.call.kind() != Kind::Request {
            return Ok(());
        }
        if body.is_empty() {
            return fault("without a body");
        }
        if matches!(head.status, 202 | 204 | 205) {
            return fault("which says that there is no answer to wait for");
        }
        let is_candidate = || is_candidate(ctx, self.slot);
        let is_complete = body.is_complete();
        let is_plain_http = is_complete && body.data.trim_ascii() == EMPTY_OBJECT && !is_candidate();
        match head.format {
            _ if is_plain_http => Ok(()),
            Format::Opaque => fault("with a body that is neither JSON nor an event stream"),
            Format::EventStream if is_complete && scan.kind() == ResponseKind::NotRpc && is_candidate() => {
                fault("with an event stream without an answer")
            }
            Format::EventStream if is_complete && scan.is_torn() => {
                fault("with an event stream that ends inside an event")
            }
            Format::EventStream => Ok(()),
            Format::Json if is_complete => match scan.kind() {
                ResponseKind::Ok | ResponseKind::ToolError | ResponseKind::RpcError(_) => Ok(()),
                ResponseKind::NotRpc | ResponseKind::Empty => fault(NOT_A_RESPONSE),
            },
            Format::Json => match scan.scan.beginning() {
                Beginning::Response | Beginning::Unknown => Ok(()),
                Beginning::Other => fault(NOT_A_RESPONSE),
            },
        }
    }
}

/// Whether a client error without JSON-RPC becomes an error for the call. Not where clients read the status itself: 404 ends
/// a session, and any to `server/discover` says that the backend is of an older era.
fn is_translated(ctx: &CallContext<'_>, status: u16) -> bool {
    let fields = &ctx.request.head.fields;
    let ends_session = status == 404 && fields.occurs(KnownField::McpSessionId) != Occurs::Never;
    ctx.call.kind() == Kind::Request
        && ctx.request.snapshot.error_mode == ErrorMode::Survivable
        && ctx.call.method() != Method::Discover
        && !ends_session
}
