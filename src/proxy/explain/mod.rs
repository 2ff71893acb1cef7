//! Why a request would be forwarded or refused, and where it would go: `mcp-guard explain`. Nothing is sent and nothing is counted.
//!
//! The decision is the policy's own, on the snapshot and the split that serve requests. Must not know how it is shown.

mod body;
mod limits;
mod report;
mod slot;
mod surroundings;
mod words;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::body::SavedBody;
pub(crate) use self::report::{
    CheckReport, CheckResult, ExplainedOutcome, Explanation, LimitReport, LimitResult, Question, SlotChoice,
    Source, VerdictReport,
};
use self::surroundings::Surroundings;
use self::words::Why;
use crate::config::Config;
use crate::http1::{FieldSpans, FramingError, RequestHead, head_end, request};
use crate::policy::explain::{self, Addressed, Caller, Circumstances, JudgedCall, Named};
use crate::policy::routes::Match;
use crate::policy::{Denial, OrderCheck, Presented, ReplyTo, Subject, Trace};
use crate::proxy::drain::Phase;
use crate::proxy::route::{self, Judged};
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::traffic_split::TrafficSplit;
use crate::upstream::Slot;
use crate::wire::reply_id::IdReader;
use crate::wire::{Era, Method};

/// Explains a request to a running guard.
pub(crate) fn running(state: &ProxyState, question: &Question) -> Result<Explanation, String> {
    let (snapshot, traffic) = (state.snapshot.load(), state.traffic.load());
    let is_named = question.client.is_some();
    let around = Surroundings { snapshot: &snapshot, traffic: &traffic, live: Some(state), is_named };
    Asked { around, now: state.clock.now(), trace: Trace::default() }.explain(question)
}

/// Explains a request to a guard of this configuration, which does not run.
pub(crate) fn configured(
    config: Config,
    traffic: &TrafficSplit,
    question: &Question,
    now: u64,
) -> Result<Explanation, String> {
    let snapshot = Snapshot::new(config, None);
    let is_named = question.client.is_some();
    let around = Surroundings { snapshot: &snapshot, traffic, live: None, is_named };
    Asked { around, now, trace: Trace::default() }.explain(question)
}

/// One explanation while it is made.
struct Asked<'s> {
    around: Surroundings<'s>,
    now: u64,
    trace: Trace,
}

impl Asked<'_> {
    fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let bytes =
            STANDARD.decode(&question.request).map_err(|_| "the request is not in base64".to_owned())?;
        let caller = self.caller(question)?;
        let limits = self.around.snapshot.policy.limits();
        self.trace.came_to(OrderCheck::Framing);
        let mut spans = FieldSpans::default();
        let parsed = match head_end(&bytes, 0, &limits.head) {
            Ok(Some(length)) => {
                let (block, arrived) = bytes.split_at(length);
                request::parse(block, &mut spans, &limits.head).map(|head| (head, arrived))
            }
            Ok(None) => {
                return Ok(self.refused(
                    Denial::HeaderTimeout,
                    Addressed::Head,
                    Why::of("the head has no end"),
                ));
            }
            Err(error) => Err(error),
        };
        let parsed = parsed.and_then(|(head, arrived)| {
            let lacks_host = head.host.is_empty() && !self.around.snapshot.policy.is_probe(&head);
            if lacks_host { Err(FramingError::Host) } else { Ok((head, arrived)) }
        });
        match parsed {
            Ok((head, arrived)) => Ok(self.judge(caller, &head, arrived)),
            Err(error) => Ok(self.refused(Denial::Framing(error), Addressed::Head, Why::default())),
        }
    }

    fn caller(&self, question: &Question) -> Result<Caller, String> {
        let Some(name) = &question.client else { return Ok(Caller::ByCredential) };
        let found = self.around.snapshot.policy.clients().named(name);
        let client =
            found.ok_or_else(|| format!("no client is named {name} (hint: `mcp-guard token list`)"))?;
        // The user of a name is not known: only the split is by the name.
        let subject = question.subject.as_ref().map(|text| Arc::new(Subject::new(text, [0; 16])));
        Ok(Caller::Named(client, subject))
    }

    fn judge(&self, caller: Caller, head: &RequestHead<'_>, arrived: &[u8]) -> Explanation {
        let Surroundings { snapshot, traffic, .. } = self.around;
        match snapshot.open_routes.find(head) {
            Match::None => {}
            found @ (Match::Route(_) | Match::OtherMethods) => return self.route(found, head),
        }
        let saved = SavedBody::read(head, arrived, snapshot.policy.limits().body_bytes_max);
        let mut reader = IdReader::default();
        reader.feed(&saved.bytes);
        let addressee = reader.finish();
        let unread = |denial: Denial| {
            let is_read_on = denial == Denial::BodyTooLarge;
            let to_call = || Addressed::Call(ReplyTo::unkept(head, &addressee));
            (denial, if is_read_on { to_call() } else { Addressed::Head })
        };
        let circumstances = Circumstances {
            caller,
            now: self.now,
            max_version: snapshot.max_version(traffic.version_cap),
            trace: &self.trace,
        };
        let body = saved.refused.map_or(Ok(&*saved.bytes), |denial| Err(unread(denial)));
        let named = Named::of(&saved.bytes);
        let mut explanation = match snapshot.policy.explain(head, body, &circumstances) {
            explain::Explained::Answer(local) => self.answered(words::of_local(local)),
            explain::Explained::Refuse(denial, addressed) => {
                let why = words::of_refusal(&self.around, (denial, head), (&self.trace, named.as_ref()));
                self.refused(denial, addressed, why)
            }
            explain::Explained::Pass(call) => self.passed(&call),
        };
        if let Some(named) = named {
            explanation.method = Some(snapshot.policy.shown(named.method.as_bytes()));
            explanation.tool = named.tool.map(|tool| snapshot.policy.shown(tool.as_bytes()));
        }
        explanation.notes.extend(saved.note);
        explanation
    }

    /// A request that belongs to a route, or to the paths of routes.
    fn route(&self, found: Match, head: &RequestHead<'_>) -> Explanation {
        let judged = route::judge(self.around.snapshot, found, head, Presented::default(), self.now);
        let mut explanation = match judged {
            Judged::OtherMethods => self.refused(Denial::RouteMethod, Addressed::Head, Why::default()),
            Judged::Preflight => self.answered("a preflight of an allowed page".to_owned()),
            Judged::Refused(route, denial) => self.refused(
                denial,
                Addressed::Head,
                Why::of(&format!("the route {} refuses it", route.name())),
            ),
            Judged::Permitted(route, _) => {
                let why = format!("the route {} takes it; its own limits were not looked at", route.name());
                self.explanation(VerdictReport::of(ExplainedOutcome::Route, why))
            }
        };
        explanation.checks.retain(|row| row.check == OrderCheck::Framing.as_str());
        explanation.checks.iter_mut().for_each(CheckReport::pass);
        explanation.notes.push("a request of a route does not meet the checks of the endpoint".to_owned());
        explanation
    }

    fn answered(&self, why: String) -> Explanation {
        self.explanation(VerdictReport::of(ExplainedOutcome::Answered, why))
    }

    fn refused(&self, denial: Denial, addressed: Addressed<'_>, why: Why) -> Explanation {
        let verdict = self.refusal(denial, addressed, why.sentence(denial));
        self.explanation(verdict)
    }

    fn refusal(&self, denial: Denial, addressed: Addressed<'_>, why: String) -> VerdictReport {
        VerdictReport {
            status: Some(addressed.status(denial, self.around.snapshot.error_mode)),
            code: Some(denial.code().to_owned()),
            ..VerdictReport::of(ExplainedOutcome::Refused, why)
        }
    }

    /// A call that passes what it is judged by: its limits and its slot.
    fn passed(&self, call: &JudgedCall<'_>) -> Explanation {
        self.trace.came_to(OrderCheck::Limits);
        let chosen = slot::of(&self.around, call);
        let limits = limits::of(&self.around, call, chosen.slot);
        let lacks_backend = slot::lacks_backend(&self.around, chosen.slot);
        let verdict = self.verdict(call, &chosen, &limits);
        let is_discover = call.to.method == Method::Discover;
        let mut explanation = self.explanation(verdict);
        if lacks_backend {
            explanation.checks.iter_mut().for_each(CheckReport::pass);
        }
        if is_discover && limits.iter().any(|limit| limit.result == LimitResult::Refuses) {
            let note =
                "a discover is not refused for a limit: it gets the backend's last response, if there is one";
            explanation.notes.push(note.to_owned());
        }
        if let Some(session) = call.session {
            explanation.method = Some(format!("{} of a session", session.as_str()));
        }
        explanation.era = Some(if call.to.era == Era::Modern { "modern" } else { "legacy" }.to_owned());
        (explanation.limits, explanation.slot) = (limits, Some(chosen));
        explanation
    }

    fn verdict(&self, call: &JudgedCall<'_>, slot: &SlotChoice, limits: &[LimitReport]) -> VerdictReport {
        let addressed = Addressed::Call(call.to);
        let is_discover = call.to.method == Method::Discover;
        let full = limits.iter().find(|limit| limit.result == LimitResult::Refuses && !is_discover);
        if let Some(full) = full {
            let why = format!("the limit {} of {} is used up ({})", full.limit, full.of, full.allows);
            let refusal = self.refusal(words::denial_of(&full.limit), addressed, why);
            return VerdictReport { retry_after_ms: full.retry_after_ms, ..refusal };
        }
        if slot::lacks_backend(&self.around, slot.slot) {
            let why = "no backend is configured in that slot, and none may stand in".to_owned();
            return self.refusal(Denial::NoBackend, addressed, why);
        }
        let place = slot.slot.map_or("a slot", Slot::as_str);
        if let Some(waits) = limits.iter().find(|limit| limit.result == LimitResult::Waits) {
            let time = self.around.snapshot.timeouts.waiting.as_secs_f64();
            let why =
                format!("it waits up to {time} s for {} of {}, then goes to {place}", waits.limit, waits.of);
            return VerdictReport::of(ExplainedOutcome::Waits, why);
        }
        if slot.reachable == Some(false) {
            let time = self.around.snapshot.timeouts.hold.as_secs_f64();
            let why = match slot.fallback {
                Some(other) => format!("{place} could not be reached last: {} is tried next", other.as_str()),
                None => format!("{place} could not be reached last: the call is held up to {time} s"),
            };
            return VerdictReport::of(ExplainedOutcome::Waits, why);
        }
        VerdictReport::of(ExplainedOutcome::Forwarded, format!("it goes to {place}"))
    }

    /// An explanation with this verdict, and the checks that led to it.
    fn explanation(&self, verdict: VerdictReport) -> Explanation {
        let Surroundings { snapshot, traffic, live, .. } = self.around;
        let clients = snapshot.policy.clients();
        let caller = self.trace.caller();
        let subject = caller.as_ref().and_then(|(_, subject)| subject.as_deref());
        let draining = live.is_some_and(|state| state.drain.phase() != Phase::Serving);
        let note = "the guard drains: it takes no new connection";
        Explanation {
            source: if live.is_some() { Source::Guard } else { Source::Configuration },
            client: caller.as_ref().map(|(client, _)| clients.name(*client).to_owned()),
            known_by: words::known_by(&self.around, &self.trace),
            subject: subject.map(|subject| subject.text().to_owned()),
            method: None,
            tool: None,
            era: None,
            checks: words::checks(&self.trace, &verdict),
            verdict,
            limits: Vec::new(),
            slot: None,
            newest_version: snapshot.max_version(traffic.version_cap).map(|max| max.as_str().to_owned()),
            fenced: snapshot.is_capped_by_rollout(traffic.version_cap),
            rollout: None,
            off: Vec::new(),
            notes: if draining { vec![note.to_owned()] } else { Vec::new() },
        }
    }
}
