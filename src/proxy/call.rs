//! One MCP call, from permit to recorded outcome: body, scan, admit, ask, relay, classify. Read it from top to bottom.
//!
//! What a client's leaving means: in the modern era disconnection is cancellation, so the backend's connection is dropped
//! at once. A legacy call "SHOULD NOT" be taken as cancelled: a method that changes nothing ends when the connection is
//! broken, any other runs to its end, and its outcome is recorded even though nobody reads it.

use tokio::time::Instant;

use super::ask::{Asked, NotAsked, Question, Why, ask};
use super::backend::{Origin, Trust};
use super::body::{self, NoBody};
use super::client::{Client, Interrupt, Leaving};
use super::front::{Ending, Request};
use super::learn::Listing;
use super::local::Persist;
use super::relay::{Cut, Sending, Sent, Source, send, source_of};
use super::report::Report;
use super::slot::SlotState;
use crate::http1::{BodyLength, Version};
use crate::policy::reply::{self, Circumstances, Executed};
use crate::policy::{Call, Denial, Permit};
use crate::telemetry::Outcome;
use crate::wire::outcome::{Answer, Format, OutcomeScan};
use crate::wire::{Era, Kind, Method};

/// Bytes of a failing backend's answer that are looked at to learn whether it speaks JSON-RPC.
const FAILURE_BYTES_MAX: usize = 64 * 1024;

/// Serves the call behind `permit`.
pub(super) async fn serve(
    request: &Request<'_>,
    client: &mut Client,
    permit: Permit,
    report: &mut Report,
) -> Ending {
    let runtime = request.runtime;
    report.client = Some(permit.client());
    client.set_deadline(request.started + runtime.timeouts.body);
    let limit = runtime.policy.limits().body_bytes_max;
    let body = match body::read(client, &request.head, request.arrived, limit).await {
        Ok(body) => body,
        Err(NoBody::Gone) => return report.client_gone(),
        Err(NoBody::Refused(denial)) => {
            return request.answer_and_close(client, &reply::to_head(denial), Some(denial), report).await;
        }
    };
    report.bytes_in = body.bytes.len() as u64;
    let decided = runtime.policy.decide_call(permit, &request.head, &body.bytes, runtime.max_version);
    let persist = match decided {
        Ok(call) => conduct(request, client, &call, &body.bytes, report).await,
        Err(refusal) => {
            report.method = Some(refusal.to.method);
            let circumstances = circumstances(request, Executed::No);
            let reply = reply::to_call(refusal.denial, &refusal.to, &circumstances);
            request.answer(client, &reply, Some(refusal.denial), report).await
        }
    };
    match persist {
        Persist::Keep | Persist::KeepAloud => Ending::Keep { consumed: body.consumed },
        Persist::Close => Ending::Close,
    }
}

async fn conduct(
    request: &Request<'_>,
    client: &mut Client,
    call: &Call<'_>,
    body: &[u8],
    report: &mut Report,
) -> Persist {
    let runtime = request.runtime;
    let name = runtime.policy.clients().name(call.client());
    let slot = runtime.pick(call.client(), request.id.as_str());
    report.method = Some(call.method());
    report.tool = call.tool().map(|tool| runtime.slot(slot).map_or_else(String::new, |s| s.tool_label(tool)));

    let timeouts = &runtime.timeouts;
    let is_stream = call.method() == Method::SubscriptionsListen;
    let patience = if is_stream { timeouts.stream_idle } else { timeouts.total };
    client.set_deadline(request.started + patience);
    client.set_leaving(match (call.era(), call.method().repeatable()) {
        (Era::Modern, _) => Leaving::Ends,
        (Era::Legacy, true) => Leaving::EndsWhenBroken,
        (Era::Legacy, false) => Leaving::Ignored,
    });
    let trust = if request.trusted { Trust::Proxy } else { Trust::Stranger };
    let origin = Origin { peer: client.peer(), trust, request_id: request.id.as_str(), client: name };
    let question =
        Question { shared: request.shared, runtime, request: &request.head, call, body, origin, slot };
    let persist = match ask(&question, client).await {
        Ok(asked) => {
            report.slot = Some(asked.slot.slot);
            Delivery { request, call, is_stream }.deliver(asked, client, report).await
        }
        Err(NotAsked { why, executed, slot, since }) => {
            report.slot = slot;
            report.upstream = since.map(|since| since.elapsed());
            match why {
                Why::Refused(denial) => refuse(request, client, call, denial, executed, report).await,
                Why::ClientGone => {
                    report.client_gone();
                    Persist::Close
                }
            }
        }
    };
    client.set_leaving(Leaving::Ignored);
    persist
}

/// The guard's own answer to a call it could not have answered.
async fn refuse(
    request: &Request<'_>,
    client: &mut Client,
    call: &Call<'_>,
    denial: Denial,
    executed: Executed,
    report: &mut Report,
) -> Persist {
    let reply = reply::to_call(denial, &call.reply_to(), &circumstances(request, executed));
    request.answer(client, &reply, Some(denial), report).await
}

fn circumstances<'r>(request: &'r Request<'_>, executed: Executed) -> Circumstances<'r> {
    Circumstances {
        request_id: request.id.as_str(),
        executed,
        retry_after_ms: None,
        mode: request.runtime.error_mode,
    }
}

/// An answer on its way from the backend to the client.
struct Delivery<'d> {
    request: &'d Request<'d>,
    call: &'d Call<'d>,
    is_stream: bool,
}

impl Delivery<'_> {
    async fn deliver(&self, asked: Asked<'_>, client: &mut Client, report: &mut Report) -> Persist {
        let Asked { slot, place, received, since } = asked;
        let (status, format) = (received.head.status, received.head.format);
        if !received.head.keep_alive {
            // A backend that says goodbye closes its idle connections next: one of them could break under a call.
            slot.pool.retire();
        }
        let (mut source, head) = match source_of(received) {
            Ok(both) => both,
            Err(cut) => return self.cut_before(cut, slot, since, client, report).await,
        };
        if let Err(cut) = self.prepare(&mut source, status, format, client).await {
            return self.cut_before(cut, slot, since, client, report).await;
        }
        if is_failure(status) && !(format == Format::Json && speaks_rpc(&source.data)) {
            log::warn!("slot {}: the backend answered status {status} without JSON-RPC", slot.slot.as_str());
            report.upstream = Some(since.elapsed());
            drop(place);
            return refuse(self.request, client, self.call, Denial::BackendStatus, Executed::Unknown, report)
                .await;
        }
        let streams = self.is_stream || format == Format::EventStream;
        let sending = Sending {
            rendered: head.rendered,
            request_id: self.request.id.as_str(),
            persist: self.request.persist(client),
            version: self.request.head.version,
            idle: streams.then_some(self.request.runtime.timeouts.stream_idle),
            bodiless: head.body == BodyLength::None,
        };
        let mut scan = OutcomeScan::new(format);
        let mut listing = Listing::of(self.call.method(), slot);
        let sent = send(sending, &mut source, client, |bytes| {
            scan.feed(bytes);
            listing.feed(bytes);
        })
        .await;
        drop(place);
        report.upstream = Some(since.elapsed());
        report.status = Some(status);
        report.bytes_out = sent.bytes;
        report.outcome = self.classify(&sent, scan.finish(), status);
        if sent.result.is_err() {
            // The client must see that this is not all: no end marker, no further answer on this connection.
            return Persist::Close;
        }
        listing.learn(slot, format);
        if let Some(connection) = source.into_reusable() {
            slot.pool.put(connection);
        }
        sent.persist
    }

    /// Waits for as much of the body as must be known before the first byte goes out.
    async fn prepare(
        &self,
        source: &mut Source,
        status: u16,
        format: Format,
        client: &mut Client,
    ) -> Result<(), Cut> {
        if is_failure(status) {
            return match source.collect(client, FAILURE_BYTES_MAX).await {
                // A longer page is no JSON-RPC answer either; the caller sees that it is incomplete.
                Err(Cut::TooLong) => Ok(()),
                result => result,
            };
        }
        if self.request.head.version == Version::Http10 && format != Format::EventStream {
            // HTTP/1.0 knows no chunks, and an answer that ends with its connection cannot be told from a cut one.
            let limit = self.request.runtime.policy.limits().body_bytes_max;
            return source.collect(client, usize::try_from(limit).unwrap_or(usize::MAX)).await;
        }
        source.gather(client, format).await
    }

    /// The body broke off before anything was sent: the client gets a whole refusal instead.
    async fn cut_before(
        &self,
        cut: Cut,
        slot: &SlotState,
        since: Instant,
        client: &mut Client,
        report: &mut Report,
    ) -> Persist {
        report.upstream = Some(since.elapsed());
        let denial = match cut {
            Cut::Closed => Denial::BackendReset,
            Cut::Malformed(error) => {
                log::warn!("slot {}: the backend's answer is malformed: {error}", slot.slot.as_str());
                Denial::BackendInvalid
            }
            Cut::TooLong => Denial::BackendInvalid,
            Cut::Interrupted(Interrupt::Deadline) => Denial::Deadline,
            Cut::Interrupted(Interrupt::Draining) => Denial::Draining,
            Cut::Interrupted(Interrupt::ClientGone) => {
                report.client_gone();
                return Persist::Close;
            }
        };
        refuse(self.request, client, self.call, denial, Executed::Unknown, report).await
    }

    fn classify(&self, sent: &Sent, answer: Answer, status: u16) -> Outcome {
        match &sent.result {
            Err(Cut::Interrupted(Interrupt::ClientGone)) => return Outcome::ClientGone,
            Err(Cut::Interrupted(Interrupt::Deadline)) => return Outcome::Timeout,
            Err(Cut::Interrupted(Interrupt::Draining)) => return Outcome::Denied,
            Err(Cut::Closed | Cut::Malformed(_) | Cut::TooLong) => return Outcome::Upstream,
            Ok(()) => {}
        }
        let success = (200..300).contains(&status);
        match answer {
            // Notifications and posted responses are acknowledged, not answered.
            _ if self.call.kind() != Kind::Request && success => Outcome::Ok,
            Answer::Ok => Outcome::Ok,
            Answer::ToolError => Outcome::ToolError,
            Answer::RpcError(_) => Outcome::RpcError,
            Answer::Empty | Answer::NotRpc => Outcome::Upstream,
        }
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
