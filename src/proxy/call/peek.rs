//! From the head of an answer to the point where sending it makes sense: what can still be refused whole is judged here.

use tokio::time::Instant;

use crate::http1::{KnownField, Occurs, Version};
use crate::policy::Denial;
use crate::policy::reply::{ErrorMode, Executed};
use crate::proxy::backend::response_body::{Cut, Source, source_of};
use crate::proxy::backend::response_head::{AnswerHead, show_location};
use crate::proxy::backend::slot::SlotState;
use crate::proxy::call::dispatch::{Asked, NotAsked, Question, Why};
use crate::proxy::call::tools_list_filter::show_only;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::fairness::semaphore::Place;
use crate::proxy::state::snapshot::ProxyState;
use crate::rollout::sample::{CallResult, Failure};
use crate::upstream::Slot;
use crate::wire::response_scan::{Beginning, Format, ResponseKind, ResponseScan};
use crate::wire::sse::Boundary;
use crate::wire::{Kind, Method};

/// Bytes of a failing backend's answer that are looked at to learn whether it speaks JSON-RPC.
const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer on trial that are looked at before the first one is passed on.
const TRIAL_BYTES_MAX: usize = 1 << 20;

/// Bytes of an answer that is no JSON but may be passed on: what tests of plain HTTP answer.
const EMPTY_OBJECT: &[u8] = b"{}";

/// An answer that is about to be passed on.
pub(crate) struct Opened<'q> {
    pub(crate) slot: &'q SlotState,
    pub(crate) place: Place<'q>,
    pub(crate) source: Source,
    pub(crate) head: AnswerHead,
    pub(crate) read: Read<'q>,
    /// When the first byte was sent.
    pub(crate) since: Instant,
}

/// What has been read of an answer so far. What was looked at ahead is not read twice.
pub(crate) struct Read<'q> {
    scan: ResponseScan<'q>,
    /// Bytes that were looked at ahead and will be shown again.
    ahead: usize,
}

impl<'q> Read<'q> {
    fn new(question: &Question<'q>, head: &AnswerHead) -> Read<'q> {
        // A refusal by status is an answer whatever its id: servers refuse what they could not read with one of their own.
        let id = if head.status < 300 { question.call.reply_to().id } else { None };
        Read { scan: ResponseScan::of_call(head.format, id), ahead: 0 }
    }

    /// Looks ahead at all that has arrived.
    fn look_at(&mut self, data: &[u8]) {
        self.scan.feed(data.get(self.ahead..).unwrap_or_default());
        self.ahead = data.len();
    }

    /// The next bytes pass.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        let known = bytes.len().min(self.ahead);
        self.ahead -= known;
        self.scan.feed(&bytes[known..]);
    }

    /// The verdict, given that the body is complete.
    pub(crate) fn kind(&self) -> ResponseKind {
        self.scan.kind()
    }

    /// Whether an event stream has given the answer, and where it stands.
    pub(crate) fn events(&self) -> Option<(bool, Boundary)> {
        self.scan.events()
    }

    /// Whether an event stream without the answer stands inside an event: ended there, it must look cut.
    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.events(), Some((false, Boundary::Inside)))
    }
}

/// How much is waited for before an answer is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Its beginning: as little as possible.
    Beginning,
    /// All of it, within bounds.
    Whole,
}

/// Waits for as much of the answer as must be known before the first byte goes out.
pub(crate) async fn open<'q>(
    question: &Question<'q>,
    asked: Asked<'q>,
    look: Look,
    client: &mut Downstream,
) -> Result<Opened<'q>, NotAsked> {
    let Asked { slot, place, received, since } = asked;
    let refused = |cut: Cut| refuse(question, slot, since, &cut);
    let (mut source, mut head) = source_of(received).map_err(refused)?;
    let mut read = Read::new(question, &head);
    prepare(question, &mut source, &head, &mut read, look, client).await.map_err(refused)?;
    read.look_at(&source.data);
    if let Err(fault) = judge(question, slot.slot, &source, &head, &read) {
        log::warn!("slot {}: {}", slot.slot.as_str(), fault.what);
        question.state.ended(slot.slot, fault.verdict, since.elapsed());
        return Err(not_asked(slot, since, Why::Refused(fault.denial)));
    }
    if question.call.kind() != Kind::Request
        && question.call.session().is_none()
        && matches!(head.status, 200 | 204)
        && source.is_complete()
        && source.data.is_empty()
    {
        // 2025-11-25, Sending Messages to the Server: "the server MUST return HTTP status code 202 Accepted with no body".
        head.accept();
    }
    if let Some(view) = question.snapshot.policy.view(question.call) {
        show_only(view, &mut source, &head, client).await.map_err(refused)?;
        read = Read::new(question, &head);
    }
    Ok(Opened { slot, place, source, head, read, since })
}

/// A candidate's answers are looked at more closely than stable's, also those that come after a rollback: nobody has relied
/// on it so far.
fn is_candidate(state: &ProxyState, slot: Slot) -> bool {
    slot != state.routes.load().split.stable()
}

/// The same denial, in a candidate's name where it is a candidate's: no session may die of a rollout that is taken back, so
/// its garbage is told in a way that every client survives.
pub(crate) fn blame(state: &ProxyState, slot: Option<Slot>, denial: Denial) -> Denial {
    let is_garbage = matches!(denial, Denial::BackendInvalid | Denial::BackendNoAnswer);
    if is_garbage && slot.is_some_and(|slot| is_candidate(state, slot)) {
        Denial::CandidateInvalid
    } else {
        denial
    }
}

/// Why an answer does not pass.
struct Fault {
    denial: Denial,
    verdict: CallResult,
    /// For the log.
    what: String,
}

impl Fault {
    fn garbage(status: u16, what: &str) -> Fault {
        let what = format!("the backend answered {status} {what}");
        Fault { denial: Denial::BackendNoAnswer, verdict: CallResult::Failed(Failure::Garbage), what }
    }

    fn status(verdict: CallResult, what: String) -> Fault {
        Fault { denial: Denial::BackendStatus, verdict, what }
    }
}

/// Whether this is an answer, as far as its head and what has arrived of it say.
fn judge(
    question: &Question<'_>,
    slot: Slot,
    source: &Source,
    head: &AnswerHead,
    read: &Read<'_>,
) -> Result<(), Fault> {
    let status = head.status;
    let speaks_rpc = head.format == Format::Json
        && matches!(read.kind(), ResponseKind::Ok | ResponseKind::ToolError | ResponseKind::RpcError(_));
    match status {
        ..300 => judge_success(question, slot, source, head, read),
        300..400 => {
            let secrets = &question.snapshot.secrets;
            let to = head.location.as_ref().map(|location| show_location(location, secrets));
            let to = to.as_deref().unwrap_or("nowhere");
            let what = format!(
                "the backend redirects ({status}) to `{to}`, which is not followed; correct the slot's address or path"
            );
            Err(Fault::status(CallResult::Failed(Failure::Status), what))
        }
        401 | 403 => {
            let what = format!(
                "the backend refuses the guard's own credentials ({status}); see `slots.{}.authorization`",
                slot.as_str()
            );
            Err(Fault::status(CallResult::Completed, what))
        }
        _ if speaks_rpc => Ok(()),
        400..500 if !is_translated(question, status) => Ok(()),
        _ => {
            let verdict =
                if status >= 500 { CallResult::Failed(Failure::Status) } else { CallResult::Completed };
            Err(Fault::status(verdict, format!("the backend answered status {status} without JSON-RPC")))
        }
    }
}

/// Whether a client error without JSON-RPC becomes an error for the call. Not where clients read the status itself: 404 ends
/// a session, and any to `server/discover` says that the backend is of an older era.
fn is_translated(question: &Question<'_>, status: u16) -> bool {
    let (call, request) = (question.call, question.request);
    let ends_session = status == 404 && request.fields.occurs(KnownField::McpSessionId) != Occurs::Never;
    call.kind() == Kind::Request
        && question.snapshot.error_mode == ErrorMode::Survivable
        && call.method() != Method::Discover
        && !ends_session
}

/// MCP 2025-11-25, Sending Messages to the Server: for a request the server "MUST either return Content-Type:
/// text/event-stream [..] or Content-Type: application/json".
fn judge_success(
    question: &Question<'_>,
    slot: Slot,
    source: &Source,
    head: &AnswerHead,
    read: &Read<'_>,
) -> Result<(), Fault> {
    let fault = |what: &str| Err(Fault::garbage(head.status, what));
    if let Some(field) = head.conflict {
        return fault(&format!("with two values of {field}"));
    }
    if question.call.kind() != Kind::Request {
        return Ok(());
    }
    if source.is_complete() && source.data.is_empty() {
        return fault("without a body");
    }
    if matches!(head.status, 202 | 204 | 205) {
        return fault("which says that there is no answer to wait for");
    }
    let candidate = is_candidate(question.state, slot);
    let is_plain_http = !candidate && source.is_complete() && source.data.trim_ascii() == EMPTY_OBJECT;
    match head.format {
        _ if is_plain_http => Ok(()),
        Format::Opaque => fault("with a body that is neither JSON nor an event stream"),
        Format::EventStream if candidate && source.is_complete() && read.kind() == ResponseKind::NotRpc => {
            fault("with an event stream without an answer")
        }
        Format::EventStream if source.is_complete() && read.is_torn() => {
            fault("with an event stream that ends inside an event")
        }
        Format::EventStream => Ok(()),
        Format::Json if source.is_complete() => match read.kind() {
            ResponseKind::Ok | ResponseKind::ToolError | ResponseKind::RpcError(_) => Ok(()),
            ResponseKind::NotRpc | ResponseKind::Empty => {
                fault("with something else than a JSON-RPC response to the call")
            }
        },
        Format::Json => match read.scan.beginning() {
            Beginning::Response | Beginning::Unknown => Ok(()),
            Beginning::Other => fault("with something else than a JSON-RPC response to the call"),
        },
    }
}

async fn prepare(
    question: &Question<'_>,
    source: &mut Source,
    head: &AnswerHead,
    read: &mut Read<'_>,
    look: Look,
    client: &mut Downstream,
) -> Result<(), Cut> {
    let enough = |result| match result {
        // What is longer than we look at: the caller sees that it is incomplete.
        Err(Cut::TooLong) => Ok(()),
        result => result,
    };
    // HTTP/1.0 knows no chunks, and an answer that ends with its connection cannot be told from a cut one.
    let whole = question.request.version == Version::Http10 && head.format != Format::EventStream;
    let limit = usize::try_from(question.snapshot.policy.limits().body_bytes_max).unwrap_or(usize::MAX);
    if head.status >= 300 {
        enough(source.collect(client, FAILURE_BYTES_MAX).await)?;
        let passes = whole && (400..500).contains(&head.status);
        return if passes { source.collect(client, limit).await } else { Ok(()) };
    }
    if look == Look::Whole {
        return enough(source.collect(client, TRIAL_BYTES_MAX).await);
    }
    if whole {
        return source.collect(client, limit).await;
    }
    let is_judged = question.call.kind() == Kind::Request && head.format == Format::Json;
    let judged = |data: &[u8]| {
        !is_judged || {
            read.look_at(data);
            read.scan.beginning() != Beginning::Unknown
        }
    };
    source.gather(client, head.format, judged).await
}

/// The body broke off before anything was sent: the client gets a whole refusal instead.
fn refuse(question: &Question<'_>, slot: &SlotState, since: Instant, cut: &Cut) -> NotAsked {
    if let Some(failure) = failure_of(cut) {
        question.state.ended(slot.slot, CallResult::Failed(failure), since.elapsed());
    }
    let why = match cut {
        // It had begun to answer, and half an answer is a malformed one.
        Cut::Closed => Why::Refused(Denial::BackendInvalid),
        Cut::Malformed(error) => {
            log::warn!("slot {}: the backend's answer is malformed: {error}", slot.slot.as_str());
            Why::Refused(Denial::BackendInvalid)
        }
        Cut::TooLong | Cut::Unreadable => {
            log::warn!("slot {}: the answer cannot be judged: {cut:?}", slot.slot.as_str());
            Why::Refused(Denial::BackendNoAnswer)
        }
        Cut::Interrupted(interrupt) | Cut::Unwritten(interrupt) => Why::from(*interrupt),
    };
    not_asked(slot, since, why)
}

fn not_asked(slot: &SlotState, since: Instant, why: Why) -> NotAsked {
    NotAsked { why, executed: Executed::Unknown, slot: Some(slot.slot), since: Some(since) }
}

/// What an answer that broke off says about the slot; nothing, if it was the client or the guard who ended it.
pub(crate) fn failure_of(cut: &Cut) -> Option<Failure> {
    match cut {
        Cut::Closed => Some(Failure::NoConnection),
        Cut::Malformed(_) | Cut::TooLong | Cut::Unreadable => Some(Failure::Garbage),
        Cut::Interrupted(Interrupt::Deadline) => Some(Failure::Timeout),
        Cut::Interrupted(Interrupt::Draining | Interrupt::ClientGone) | Cut::Unwritten(_) => None,
    }
}
