//! From the head of an answer to the point where sending it makes sense: what can still be refused whole is judged here.

use tokio::time::Instant;

use super::admission::Place;
use super::answer::AnswerHead;
use super::ask::{Asked, NotAsked, Question, Why};
use super::client::{Client, Interrupt};
use super::filter::show_only;
use super::relay::{Cut, Source, source_of};
use super::slot::SlotState;
use crate::http1::Version;
use crate::policy::Denial;
use crate::policy::reply::Executed;
use crate::rollout::sample::{Failure, Verdict};
use crate::upstream::Slot;
use crate::wire::Kind;
use crate::wire::outcome::{Answer, Format, OutcomeScan};

/// Bytes of a failing backend's answer that are looked at to learn whether it speaks JSON-RPC.
const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer on trial that are looked at before the first one is passed on.
const TRIAL_BYTES_MAX: usize = 1 << 20;

/// An answer that is about to be passed on.
pub(super) struct Opened<'q> {
    pub(super) slot: &'q SlotState,
    pub(super) place: Place<'q>,
    pub(super) source: Source,
    pub(super) head: AnswerHead,
    /// When the first byte was sent.
    pub(super) since: Instant,
}

/// How much is waited for before an answer is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Its beginning: as little as possible.
    Beginning,
    /// All of it, within bounds.
    Whole,
}

/// Waits for as much of the answer as must be known before the first byte goes out.
pub(super) async fn open<'q>(
    question: &Question<'_>,
    asked: Asked<'q>,
    look: Look,
    client: &mut Client,
) -> Result<Opened<'q>, NotAsked> {
    let Asked { slot, place, received, since } = asked;
    let (mut source, head) = source_of(received).map_err(|cut| refuse(question, slot, since, &cut))?;
    prepare(question, &mut source, &head, look, client)
        .await
        .map_err(|cut| refuse(question, slot, since, &cut))?;
    let status = head.status;
    if is_failure(status) && !(head.format == Format::Json && speaks_rpc(&source.data)) {
        log::warn!("slot {}: the backend answered status {status} without JSON-RPC", slot.slot.as_str());
        question.shared.ended(slot.slot, Verdict::Failed(Failure::Status), since.elapsed());
        return Err(not_asked(slot, since, Why::Refused(Denial::BackendStatus)));
    }
    if is_candidate(question, slot.slot) && is_garbage(question, &source, &head) {
        log::warn!(
            "slot {}: the backend answered {status} with something else than JSON-RPC",
            slot.slot.as_str()
        );
        question.shared.ended(slot.slot, Verdict::Failed(Failure::Garbage), since.elapsed());
        return Err(not_asked(slot, since, Why::Refused(Denial::BackendInvalid)));
    }
    if let Some(view) = question.runtime.policy.view(question.call) {
        show_only(view, &mut source, &head, client)
            .await
            .map_err(|cut| refuse(question, slot, since, &cut))?;
    }
    Ok(Opened { slot, place, source, head, since })
}

/// A candidate's answers are looked at more closely than stable's, also those that come after a rollback: nobody has relied
/// on it so far.
fn is_candidate(question: &Question<'_>, slot: Slot) -> bool {
    slot != question.shared.routes.load().split.stable()
}

/// The same denial, in a candidate's name where it is a candidate's: no session may die of a rollout that is taken back, so
/// its garbage is told in a way that every client survives.
pub(super) fn blame(question: &Question<'_>, slot: Option<Slot>, denial: Denial) -> Denial {
    let candidate = slot.is_some_and(|slot| is_candidate(question, slot));
    if candidate && denial == Denial::BackendInvalid { Denial::CandidateInvalid } else { denial }
}

/// Whether what claims to be an answer, and lies here whole, is none.
fn is_garbage(question: &Question<'_>, source: &Source, head: &AnswerHead) -> bool {
    let claims = question.call.kind() == Kind::Request && head.status < 300 && source.is_complete();
    let mut scan = OutcomeScan::new(head.format);
    claims && {
        scan.feed(&source.data);
        matches!(scan.finish(), Answer::NotRpc | Answer::Empty)
    }
}

async fn prepare(
    question: &Question<'_>,
    source: &mut Source,
    head: &AnswerHead,
    look: Look,
    client: &mut Client,
) -> Result<(), Cut> {
    let enough = |result| match result {
        // What is longer than we look at: the caller sees that it is incomplete.
        Err(Cut::TooLong) => Ok(()),
        result => result,
    };
    if is_failure(head.status) {
        return enough(source.collect(client, FAILURE_BYTES_MAX).await);
    }
    if look == Look::Whole {
        return enough(source.collect(client, TRIAL_BYTES_MAX).await);
    }
    if question.request.version == Version::Http10 && head.format != Format::EventStream {
        // HTTP/1.0 knows no chunks, and an answer that ends with its connection cannot be told from a cut one.
        let limit = question.runtime.policy.limits().body_bytes_max;
        return source.collect(client, usize::try_from(limit).unwrap_or(usize::MAX)).await;
    }
    source.gather(client, head.format).await
}

/// The body broke off before anything was sent: the client gets a whole refusal instead.
fn refuse(question: &Question<'_>, slot: &SlotState, since: Instant, cut: &Cut) -> NotAsked {
    if let Some(failure) = failure_of(cut) {
        question.shared.ended(slot.slot, Verdict::Failed(failure), since.elapsed());
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
            Why::Refused(Denial::BackendInvalid)
        }
        Cut::Interrupted(interrupt) => Why::from(*interrupt),
    };
    not_asked(slot, since, why)
}

fn not_asked(slot: &SlotState, since: Instant, why: Why) -> NotAsked {
    NotAsked { why, executed: Executed::Unknown, slot: Some(slot.slot), since: Some(since) }
}

/// What an answer that broke off says about the slot; nothing, if it was the client or the guard who ended it.
pub(super) fn failure_of(cut: &Cut) -> Option<Failure> {
    match cut {
        Cut::Closed => Some(Failure::NoConnection),
        Cut::Malformed(_) | Cut::TooLong | Cut::Unreadable => Some(Failure::Garbage),
        Cut::Interrupted(Interrupt::Deadline) => Some(Failure::Timeout),
        Cut::Interrupted(Interrupt::Draining | Interrupt::ClientGone) => None,
    }
}

/// Statuses that no JSON-RPC answer needs: the backend's own trouble, and redirects, which no client of ours should follow
/// behind the guard's back.
fn is_failure(status: u16) -> bool {
    status >= 500 || (300..400).contains(&status)
}

fn speaks_rpc(body: &[u8]) -> bool {
    let mut scan = OutcomeScan::new(Format::Json);
    scan.feed(body);
    match scan.finish() {
        Answer::Ok | Answer::ToolError | Answer::RpcError(_) => true,
        Answer::NotRpc | Answer::Empty => false,
    }
}
