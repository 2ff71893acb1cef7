//! Why a request would be forwarded or refused, and where it would go: `mcp-guard explain`. Nothing is sent and nothing is counted.
//!
//! The decision is the policy's own, on the snapshot and the split that serve requests. Must not know how it is shown.

mod body;
mod limits;
mod report;
mod slot;
mod surroundings;
mod verdict;
mod way;
mod words;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::body::SavedBody;
pub(crate) use self::report::{
    CheckReport, CheckResult, ExplainedOutcome, Explanation, LimitResult, Question, SlotChoice, Source,
    VerdictReport,
};
use self::surroundings::Surroundings;
use self::words::Why;
use crate::config::Config;
use crate::http1::{Arriving, FieldSpans, FramingError, RequestHead, head_end, request};
use crate::policy::explain::{self, Addressed, Caller, Circumstances, Named};
use crate::policy::routes::{self, Auth, Match, RouteRule};
use crate::policy::{Denial, OrderCheck, ReplyTo, Subject, Trace};
use crate::proxy::drain::Phase;
use crate::proxy::route::{self, Judged};
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::traffic_split::{TrafficSplit, VersionCap};
use crate::wire::ProtocolVersion;

/// What an explanation goes by where no guard is asked.
pub(crate) struct Configured {
    pub(crate) config: Config,
    /// Its cap is the one that may hold: whether it does depends on what the backends speak.
    pub(crate) traffic: TrafficSplit,
    /// The routes that are switched off, which the configuration has no more.
    pub(crate) routes_off: Vec<RouteRule>,
    /// Seconds since the epoch.
    pub(crate) now: u64,
}

/// Explains a request to a running guard, where these routes are switched off.
pub(crate) fn running(
    state: &ProxyState,
    routes_off: &[RouteRule],
    question: &Question,
) -> Result<Explanation, String> {
    let (snapshot, traffic) = (state.snapshot.load(), state.traffic.load());
    let is_named = question.client.is_some();
    let around = Surroundings { snapshot: &snapshot, traffic: &traffic, live: Some(state), is_named };
    Asked { around, routes_off, now: state.clock.now(), trace: Trace::default() }.explain(question)
}

/// Explains a request to a guard of this configuration, which is not asked.
pub(crate) fn configured(configured: Configured, question: &Question) -> Result<Explanation, String> {
    let Configured { config, traffic, routes_off, now } = configured;
    let snapshot = Snapshot::new(config, None);
    let may_be_fenced = snapshot.is_capped_by_rollout(traffic.version_cap);
    let traffic = TrafficSplit { version_cap: VersionCap::None, ..traffic };
    let is_named = question.client.is_some();
    let around = Surroundings { snapshot: &snapshot, traffic: &traffic, live: None, is_named };
    let asked = Asked { around, routes_off: &routes_off, now, trace: Trace::default() };
    let mut explanation = asked.explain(question)?;
    if may_be_fenced {
        let last = ProtocolVersion::LEGACY_LAST.as_str();
        explanation.notes.push(format!(
            "the era fence is not known: whether versions after {last} are refused depends on what the backends speak"
        ));
    }
    Ok(explanation)
}

/// One explanation while it is made.
struct Asked<'s> {
    around: Surroundings<'s>,
    routes_off: &'s [RouteRule],
    now: u64,
    trace: Trace,
}

impl Asked<'_> {
    fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let mut bytes =
            STANDARD.decode(&question.request).map_err(|_| "the request is not in base64".to_owned())?;
        if question.is_made {
            bytes = with_target(&bytes, self.around.snapshot.policy.first_path());
        }
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err("there is no request: a connection that sends nothing is closed".to_owned());
        }
        let caller = self.caller(question)?;
        self.trace.came_to(OrderCheck::Framing);
        let mut spans = FieldSpans::default();
        Ok(match self.parse(&bytes, &mut spans) {
            Ok((head, arrived)) => self.judge(caller, &head, arrived),
            Err(late @ Denial::HeaderTimeout) => {
                self.refused(late, Addressed::Head, Why::of("the head has no end"))
            }
            Err(denial) => self.refused(denial, Addressed::Head, Why::default()),
        })
    }

    /// The head, and what arrived behind it.
    fn parse<'b>(
        &self,
        bytes: &'b [u8],
        spans: &'b mut FieldSpans,
    ) -> Result<(RequestHead<'b>, &'b [u8]), Denial> {
        let policy = &self.around.snapshot.policy;
        let limits = &policy.limits().head;
        let Some(length) = head_end(bytes, 0, limits).map_err(Denial::Framing)? else {
            Arriving::default().judge(bytes, limits).map_err(Denial::Framing)?;
            return Err(Denial::HeaderTimeout);
        };
        let (block, arrived) = bytes.split_at(length);
        let head = request::parse(block, spans, limits).map_err(Denial::Framing)?;
        if head.host.is_empty() && !policy.is_probe(&head) {
            return Err(Denial::Framing(FramingError::Host));
        }
        Ok((head, arrived))
    }

    fn caller(&self, question: &Question) -> Result<Caller, String> {
        let Some(name) = &question.client else { return Ok(Caller::ByCredential) };
        let policy = &self.around.snapshot.policy;
        let shown = policy.shown(name.as_bytes());
        let client = policy.clients().named(name);
        let client =
            client.ok_or_else(|| format!("no client is named {shown} (hint: `mcp-guard token list`)"))?;
        let subject = match &question.subject {
            Some(_) if !policy.clients().is_grant(client) => {
                return Err(format!(
                    "{shown} stands for itself (hint: --subject goes with a client of `[auth.oauth]`)"
                ));
            }
            Some(text) if policy.shows_token(text.as_bytes()) => {
                return Err("--subject is a name, and not a token".to_owned());
            }
            // The user of a name is not known: only the split is by the name.
            Some(text) => Some(Arc::new(Subject::new(text, [0; 16]))),
            None => None,
        };
        Ok(Caller::Named(client, subject))
    }

    fn judge(&self, caller: Caller, head: &RequestHead<'_>, arrived: &[u8]) -> Explanation {
        let Surroundings { snapshot, traffic, .. } = self.around;
        let circumstances = Circumstances {
            caller,
            now: self.now,
            max_version: snapshot.max_version(traffic.version_cap),
            trace: &self.trace,
        };
        let mut explanation = match snapshot.open_routes.find(head) {
            Match::None => self.endpoint(&circumstances, head, arrived),
            found @ (Match::Route(_) | Match::OtherMethods) => self.route(&circumstances, found, head),
        };
        if explanation.route.is_none()
            && let Match::Route(index) = routes::find(self.routes_off.iter(), head)
            && let Some(off) = self.routes_off.get(index)
        {
            let note = format!("the route {} takes such requests, and is switched off", off.name);
            explanation.notes.push(note);
            explanation.route = Some(off.name.clone());
        }
        explanation
    }

    /// A request that belongs to no route.
    fn endpoint(
        &self,
        circumstances: &Circumstances<'_>,
        head: &RequestHead<'_>,
        arrived: &[u8],
    ) -> Explanation {
        let snapshot = self.around.snapshot;
        let saved = SavedBody::read(head, arrived, snapshot.policy.limits().body_bytes_max);
        let addressed = |addressee| Addressed::Call(ReplyTo::unkept(head, addressee));
        let addressed = saved.addressee.as_ref().map_or(Addressed::Head, addressed);
        let body = saved.refused.map_or(Ok(&*saved.bytes), |denial| Err((denial, addressed)));
        let named = Named::of(&saved.bytes);
        let mut explanation = match snapshot.policy.explain(head, body, circumstances) {
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
    fn route(&self, circumstances: &Circumstances<'_>, found: Match, head: &RequestHead<'_>) -> Explanation {
        let snapshot = self.around.snapshot;
        let decide = |rule: &RouteRule| snapshot.policy.explain_route(rule, head, circumstances);
        let (mut explanation, route) = match route::judge_by(snapshot, found, head, decide) {
            Judged::OtherMethods => {
                (self.refused(Denial::RouteMethod, Addressed::Head, Why::default()), None)
            }
            Judged::Preflight => (self.answered("a preflight of an allowed page".to_owned()), None),
            Judged::Refused(route, denial) => {
                let why = Why::of(&format!("the route {} refuses it", route.name()));
                (self.refused(denial, Addressed::Head, why), Some(route))
            }
            Judged::Permitted(route, ()) => {
                let why = format!("the route {} takes it; its own limits were not looked at", route.name());
                (self.explanation(VerdictReport::of(ExplainedOutcome::Route, why)), Some(route))
            }
        };
        explanation.checks.retain(|row| row.check == OrderCheck::Framing.as_str());
        explanation.checks.iter_mut().for_each(CheckReport::pass);
        explanation.notes.push("a request of a route does not meet the checks of the endpoint".to_owned());
        if let Some(route) = route {
            explanation.notes.extend(self.about_client(&route.config.rule.auth));
            explanation.route = Some(route.name().to_owned());
        }
        explanation
    }

    /// What a client that the operator names has to do with a route.
    fn about_client(&self, auth: &Auth) -> Option<String> {
        let takes = match auth {
            Auth::Bearer => return None,
            Auth::ApiKey { .. } => "keys of its own: the one in the request was looked at",
            Auth::None => "requests without a credential",
        };
        self.around.is_named.then(|| format!("--client says nothing to the route, which takes {takes}"))
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
            route: None,
            rollout: None,
            off: Vec::new(),
            notes: if draining { vec![note.to_owned()] } else { Vec::new() },
        }
    }
}

/// The request with another target; one without a target is left as it is.
fn with_target(request: &[u8], target: &str) -> Vec<u8> {
    let mut words = request.splitn(3, |byte| *byte == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(_), Some(rest)) => [method, target.as_bytes(), rest].join(&b' '),
        _ => request.to_vec(),
    }
}
