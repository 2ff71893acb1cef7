//! The sentences of an explanation: what a check found, and what decided.
//!
//! Must not quote a client's words but through `Policy::shown` and `Policy::detail`, which leave out tokens.

use super::limits::STREAMS;
use super::report::{CheckReport, CheckResult, ExplainedOutcome, VerdictReport};
use super::surroundings::Surroundings;
use crate::http1::RequestHead;
use crate::policy::explain::Named;
use crate::policy::identity::Credential;
use crate::policy::{Denial, Local, OrderCheck, Trace};
use crate::telemetry::metrics::Limit;
use crate::wire::era::EraError;

/// What is known of a refusal beyond its row in the table.
#[derive(Debug, Default)]
pub(super) struct Why(Vec<String>);

impl Why {
    pub(super) fn of(reason: &str) -> Why {
        Why(vec![reason.to_owned()])
    }

    /// The message that the client gets, and what the operator should know.
    pub(super) fn sentence(self, denial: Denial) -> String {
        let message = denial.message().to_owned();
        std::iter::once(message).chain(self.0).collect::<Vec<_>>().join(": ")
    }
}

impl VerdictReport {
    pub(super) fn of(outcome: ExplainedOutcome, why: String) -> VerdictReport {
        VerdictReport { outcome, status: None, code: None, why, retry_after_ms: None }
    }
}

pub(super) fn of_local(local: Local) -> String {
    match local {
        Local::Health => "the guard answers health checks itself",
        Local::Ready => "the guard says whether it is ready",
        Local::Preflight => "a preflight of an allowed page",
        Local::ResourceMetadata => "the metadata of the protected resource",
        Local::MetadataPreflight => "a preflight for the metadata of the protected resource",
    }
    .to_owned()
}

/// Why the policy refuses a request.
pub(super) fn of_refusal(
    around: &Surroundings<'_>,
    (denial, head): (Denial, &RequestHead<'_>),
    (trace, named): (&Trace, Option<&Named>),
) -> Why {
    let policy = &around.snapshot.policy;
    let mut why: Vec<String> = policy.detail(denial, head).into_iter().collect();
    let caller = trace.caller().map(|(client, _)| client);
    match trace.checks().last() {
        Some(OrderCheck::ClientOff) => why.push("the client is switched off".to_owned()),
        Some(OrderCheck::Credential) if matches!(denial, Denial::TokenExpired(_)) => {
            why.push("its `not_after` has passed".to_owned());
        }
        Some(OrderCheck::Permission) => {
            let objection = caller.zip(named).and_then(|(client, named)| policy.objection(client, named));
            why.extend(objection.map(|objection| objection.as_str().to_owned()));
        }
        Some(OrderCheck::ToolOff) => why.push(switched_off(around, named)),
        Some(OrderCheck::Version) if matches!(denial, Denial::Era(EraError::Fenced { .. })) => {
            let max = around.snapshot.max_version(around.traffic.version_cap);
            let fence = around.snapshot.is_capped_by_rollout(around.traffic.version_cap);
            let reason = if fence { "the era fence" } else { "`protocol.max_version`" };
            why.extend(max.map(|max| format!("the newest that passes is {} ({reason})", max.as_str())));
        }
        Some(_) | None => {}
    }
    Why(why)
}

fn switched_off(around: &Surroundings<'_>, named: Option<&Named>) -> String {
    let tool = named.and_then(|named| named.tool.as_deref()).unwrap_or_default();
    let mut off = around.snapshot.policy.tools_off().iter();
    match off.find(|pattern| pattern.matches_in_any_case(tool)) {
        Some(pattern) => format!("switched off by tool:{}", pattern.as_str()),
        None => "a tool is switched off, and programs read this name in different ways".to_owned(),
    }
}

/// The denial behind a limit of this name.
pub(super) fn denial_of(limit: &str) -> Denial {
    let is = |one: Limit| one.as_str() == limit;
    if is(Limit::ClientRate) || is(Limit::ToolRate) {
        Denial::RateLimited
    } else if is(Limit::ClientConcurrency) || is(Limit::ToolConcurrency) {
        Denial::ConcurrencyLimited
    } else if limit == STREAMS {
        Denial::StreamsLimited
    } else {
        Denial::Overloaded
    }
}

/// What the caller is known by.
pub(super) fn known_by(around: &Surroundings<'_>, trace: &Trace) -> Option<String> {
    let credential = trace.credential()?;
    if around.is_named {
        return Some("its name".to_owned());
    }
    let tokens = || around.snapshot.policy.clients().tokens();
    match credential {
        Credential::Token(place) => {
            let (hash, _) = tokens().nth(place as usize)?;
            Some(format!("token {}", hash.fingerprint()))
        }
        Credential::Certificate => Some("certificate".to_owned()),
        Credential::SignedToken => Some("a token of an issuer".to_owned()),
    }
}

/// Every check: those that the request met, in that order, then the others.
pub(super) fn checks(trace: &Trace, verdict: &VerdictReport) -> Vec<CheckReport> {
    let met = trace.checks();
    let ends = match verdict.outcome {
        ExplainedOutcome::Answered | ExplainedOutcome::Refused | ExplainedOutcome::Route => {
            met.last().copied()
        }
        ExplainedOutcome::Forwarded | ExplainedOutcome::Waits => None,
    };
    let row = |check: OrderCheck, result| CheckReport {
        number: check.number().to_owned(),
        check: check.as_str().to_owned(),
        result,
        why: (result == CheckResult::Decides).then(|| verdict.why.clone()),
    };
    let result =
        |check: OrderCheck| if ends == Some(check) { CheckResult::Decides } else { CheckResult::Passed };
    let others = OrderCheck::ALL.into_iter().filter(|check| !met.contains(check));
    let others = others.map(|check| row(check, CheckResult::NotReached));
    met.iter().map(|check| row(*check, result(*check))).chain(others).collect()
}
