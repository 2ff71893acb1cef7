//! What would become of a request, and by which check: the same decision that serves requests, with nothing served.
//!
//! Gives no permit and no call: nothing can be forwarded with an explanation. Must not know how it is shown.

use std::sync::Arc;

use super::identity::{Credential, Identity};
use super::order::{Observer, OrderCheck, Trace};
use super::reply::{ErrorContext, ErrorMode, Executed, call_reply, head_reply};
use super::routes::RouteRule;
use super::tools::{Objection, Pattern};
use super::{ClientId, Denial, Local, Permit, Policy, Presented, ReplyTo, SessionRequest, Subject, Verdict};
use crate::http1::{Fields, RequestHead};
use crate::wire::era::MaxVersion;
use crate::wire::{Kind, Method, scan};

/// Who is said to call.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The client of the credential in the request.
    ByCredential,
    /// This client, whatever the request carries.
    Named(ClientId, Option<Arc<Subject>>),
}

/// What an explanation goes by, besides the request.
#[derive(Debug)]
pub struct Circumstances<'t> {
    /// Who calls.
    pub caller: Caller,
    /// Seconds since the epoch.
    pub now: u64,
    /// The newest version that passes.
    pub max_version: MaxVersion,
    /// Where the checks are noted.
    pub trace: &'t Trace,
}

/// What would become of the request.
#[derive(Debug)]
pub enum Explained<'b> {
    /// A local reply that refuses nothing.
    Answer(Local),
    /// It is refused.
    Refuse(Denial, Addressed<'b>),
    /// It passes checks 1 to 14.
    Pass(JudgedCall<'b>),
}

/// How the reply to a refusal is addressed.
#[derive(Debug, Clone, Copy)]
pub enum Addressed<'b> {
    /// To the request: its call is not known.
    Head,
    /// To the call.
    Call(ReplyTo<'b>),
}

/// A call that passes, as plain data.
#[derive(Debug)]
pub struct JudgedCall<'b> {
    /// The client.
    pub client: ClientId,
    /// Which of those that it stands for.
    pub subject: Option<Arc<Subject>>,
    /// How replies are addressed: id, era and method.
    pub to: ReplyTo<'b>,
    /// Request, notification or response.
    pub kind: Kind,
    /// The tool of a `tools/call`.
    pub tool: Option<String>,
    /// What it does to a session, if it is no call.
    pub session: Option<SessionRequest>,
}

/// What a body says, as far as it can be read.
#[derive(Debug)]
pub struct Named {
    /// The method as the body has it.
    pub method: String,
    /// The method, of the closed set.
    pub known: Method,
    /// The tool of a `tools/call`.
    pub tool: Option<String>,
}

impl Named {
    /// What this body names; none where it is no message.
    pub fn of(body: &[u8]) -> Option<Named> {
        let message = scan(body).ok()?;
        let tool = message.name.filter(|_| message.method == Method::ToolsCall);
        Some(Named {
            method: message.method_name.into_owned(),
            known: message.method,
            tool: tool.map(|tool| tool.into_owned()),
        })
    }
}

impl JudgedCall<'_> {
    /// Whether it asks what the server is: then it is not refused for a limit.
    pub fn is_discover(&self) -> bool {
        self.to.method == Method::Discover && self.kind == Kind::Request
    }
}

impl Addressed<'_> {
    /// The status that the client would get.
    pub fn status(self, denial: Denial, mode: ErrorMode) -> u16 {
        match self {
            Addressed::Head => head_reply(denial).status,
            Addressed::Call(to) => {
                let context =
                    ErrorContext { request_id: "-", executed: Executed::No, retry_after_ms: None, mode };
                call_reply(denial, &to, &context).status
            }
        }
    }
}

impl Policy {
    /// Judges a request. `body` is what was read of it, or why it cannot be read.
    pub fn explain<'b>(
        &self,
        head: &RequestHead<'b>,
        body: Result<&'b [u8], (Denial, Addressed<'b>)>,
        circumstances: &Circumstances<'_>,
    ) -> Explained<'b> {
        let Circumstances { max_version, trace, .. } = circumstances;
        let identify = |fields: &Fields<'_>| self.identify_said(fields, circumstances);
        let verdict = self.judge(head, identify, *trace).unwrap_or_else(Verdict::Deny);
        match verdict {
            Verdict::Answer(local) => Explained::Answer(local),
            Verdict::Deny(denial) => Explained::Refuse(denial, Addressed::Head),
            Verdict::Session(asked, permit) => {
                trace.at(OrderCheck::Version);
                let (client, subject) = caller_of(&permit);
                match self.decide_session((asked, permit), head, *max_version) {
                    Ok(call) => Explained::Pass(JudgedCall {
                        client,
                        subject,
                        to: call.reply_to(),
                        kind: call.kind(),
                        tool: None,
                        session: call.session(),
                    }),
                    Err(denial) => Explained::Refuse(denial, Addressed::Head),
                }
            }
            Verdict::Forward(permit) => match body {
                Ok(body) => self.explain_call(permit, head, body, circumstances),
                Err((denial, addressed)) => Explained::Refuse(denial, addressed),
            },
        }
    }

    /// Judges a request that belongs to the route of this rule.
    pub fn explain_route(
        &self,
        rule: &RouteRule,
        head: &RequestHead<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Result<(), Denial> {
        self.judge_route(rule, head, |fields| self.identify_said(fields, circumstances)).map(drop)
    }

    fn identify_said(
        &self,
        fields: &Fields<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Result<Identity, Denial> {
        let Circumstances { caller, now, trace, .. } = circumstances;
        match caller {
            Caller::ByCredential => self.identify(fields, Presented::default(), *now, *trace),
            Caller::Named(client, subject) => self.identify_named(*client, subject.clone(), *now, trace),
        }
    }

    fn explain_call<'b>(
        &self,
        permit: Permit,
        head: &RequestHead<'b>,
        body: &'b [u8],
        circumstances: &Circumstances<'_>,
    ) -> Explained<'b> {
        let (client, subject) = caller_of(&permit);
        match self.judge_call(permit, head, body, (circumstances.max_version, circumstances.trace)) {
            Ok(call) => Explained::Pass(JudgedCall {
                client,
                subject,
                to: call.reply_to(),
                kind: call.kind(),
                tool: call.tool().map(str::to_owned),
                session: None,
            }),
            Err(refusal) => Explained::Refuse(refusal.denial, Addressed::Call(refusal.to)),
        }
    }

    /// In place of checks 6 to 8: a client by its name, as if it had shown a valid credential of its own.
    fn identify_named(
        &self,
        client: ClientId,
        subject: Option<Arc<Subject>>,
        now: u64,
        trace: &Trace,
    ) -> Result<Identity, Denial> {
        trace.at(OrderCheck::Credential);
        // Of the kinds of credentials this is the one that has no place among the tokens; no request is served with it.
        let identity = Identity::new(client, Credential::Certificate, subject);
        trace.identified(&identity);
        self.clients.check_time(client, now, self.auth)?;
        trace.at(OrderCheck::ClientOff);
        self.check_client_off(client)?;
        Ok(identity)
    }

    /// What stands against this client's call, if its permission does.
    pub fn objection(&self, client: ClientId, named: &Named) -> Option<Objection> {
        let tools = self.clients.tools(client)?;
        if named.known == Method::ToolsCall {
            tools.objection_to_tool(named.tool.as_deref(), &self.read_only)
        } else {
            tools.objection_to_method(named.known, &named.method)
        }
    }

    /// The patterns of tools that are switched off.
    pub fn tools_off(&self) -> &[Pattern] {
        self.off.tools()
    }
}

fn caller_of(permit: &Permit) -> (ClientId, Option<Arc<Subject>>) {
    (permit.client(), permit.subject().cloned())
}
