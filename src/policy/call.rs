//! A call that may be admitted, or the refusal of one, with what a survivable reply needs to know.
//!
//! Checks 12 to 14 are here, in order. Must not know slots, limits or responses.

use std::borrow::Cow;

use super::order::{Observer, OrderCheck};
use super::tools::{ListView, ReadOnlyTools, ToolPolicy};
use super::{ClientId, Denial, Identity, Permit, Policy, SessionRequest, Subject, SwitchedOff};
use crate::http1::{Fields, KnownField, Occurs, RequestHead};
use crate::wire::era::{self, MaxVersion, McpFields};
use crate::wire::reply_id::{self, PartialRequest};
use crate::wire::{Era, Kind, Message, Method, scan};

/// To whom and how a response of the guard's own is addressed (contract, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo<'b> {
    /// Raw JSON of the request's id; `None` for notifications, responses and unparsable bodies.
    pub id: Option<&'b [u8]>,
    /// Which kind of client waits for the response.
    pub era: Era,
    /// The method of the request.
    pub method: Method,
}

/// A call that passed checks 1 to 14. Only the policy makes one.
#[derive(Debug)]
pub struct Call<'b> {
    identity: Identity,
    kind: Kind,
    to: ReplyTo<'b>,
    tool: Option<Cow<'b, str>>,
    session: Option<SessionRequest>,
}

impl<'b> Call<'b> {
    /// Who calls.
    pub fn client(&self) -> ClientId {
        self.identity.client()
    }

    /// Which of those that the client stands for.
    pub fn subject(&self) -> Option<&Subject> {
        self.identity.subject().map(AsRef::as_ref)
    }

    /// Request, notification or response.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The method, of the closed set.
    pub fn method(&self) -> Method {
        self.to.method
    }

    /// The era the client speaks.
    pub fn era(&self) -> Era {
        self.to.era
    }

    /// How the guard's own responses to this call are addressed.
    pub fn reply_to(&self) -> ReplyTo<'b> {
        self.to
    }

    /// The tool of a `tools/call`, as the body names it.
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// What it does to a session, if it is no call: it has no body and no id, like a notification.
    pub fn session(&self) -> Option<SessionRequest> {
        self.session
    }
}

/// A refused body or call.
#[derive(Debug)]
pub struct Refusal<'b> {
    /// Why it is refused.
    pub denial: Denial,
    /// How the response is addressed.
    pub to: ReplyTo<'b>,
}

impl<'b> ReplyTo<'b> {
    /// Where the refusal of a body goes that was not kept.
    pub fn unkept(head: &RequestHead<'_>, addressee: &'b PartialRequest) -> ReplyTo<'b> {
        ReplyTo::unjudged(head, addressee.id.as_deref(), addressee.method)
    }

    /// Without a method that can be read it is not known what the client waits for, and it gets the real status: a body with
    /// two methods, say, is none that an SDK or a model writes.
    fn unjudged(head: &RequestHead<'_>, id: Option<&'b [u8]>, method: Option<Method>) -> ReplyTo<'b> {
        let era = method.map_or(Era::Modern, |_| era::presume(mcp_fields(&head.fields).protocol_version));
        ReplyTo { id, era, method: method.unwrap_or(Method::Other) }
    }
}

impl Policy {
    /// Checks 12 to 14: scan, era, and what this client may call. Consumes the proof that the head passed.
    pub fn decide_call<'b>(
        &self,
        permit: Permit,
        head: &RequestHead<'b>,
        body: &'b [u8],
        max_version: MaxVersion,
    ) -> Result<Call<'b>, Refusal<'b>> {
        self.judge_call(permit, head, body, (max_version, ()))
    }

    /// The checks in order.
    pub(super) fn judge_call<'b>(
        &self,
        permit: Permit,
        head: &RequestHead<'b>,
        body: &'b [u8],
        (max_version, seen): (MaxVersion, impl Observer),
    ) -> Result<Call<'b>, Refusal<'b>> {
        seen.at(OrderCheck::Json);
        let message = scan(body).map_err(|error| {
            let (id, method) = reply_id::read(body);
            Refusal { denial: Denial::Scan(error), to: ReplyTo::unjudged(head, id, method) }
        })?;
        seen.at(OrderCheck::Version);
        // Until the era is known, a modern client is assumed: it copes with the real status.
        let to = ReplyTo { id: id_to_answer(&message), era: Era::Modern, method: message.method };
        let era = era::check(&mcp_fields(&head.fields), &message, max_version)
            .map_err(|error| Refusal { denial: Denial::Era(error), to })?;
        let to = ReplyTo { era, ..to };
        seen.at(OrderCheck::Permission);
        check_policy(self.clients.tools(permit.client()), &message, &self.read_only)
            .and_then(|()| {
                seen.at(OrderCheck::ToolOff);
                check_switched_off(&self.off, &message)
            })
            .map_err(|denial| Refusal { denial, to })?;
        let tool = if message.method == Method::ToolsCall { message.name } else { None };
        Ok(Call { identity: permit.into_identity(), kind: message.kind, to, tool, session: None })
    }

    /// Check 13 for a request of a session. It calls no method and no tool: check 14 has nothing to judge. Consumes the proof
    /// that the head passed.
    pub fn decide_session(
        &self,
        (asked, permit): (SessionRequest, Permit),
        head: &RequestHead<'_>,
        max_version: MaxVersion,
    ) -> Result<Call<'static>, Denial> {
        let version = mcp_fields(&head.fields).protocol_version;
        // A stream that is resumed repeats responses to calls, and a list of tools would not be edited.
        let resumes = head.fields.occurs(KnownField::LastEventId) != Occurs::Never;
        if resumes && self.edits_lists(permit.client()) {
            return Err(Denial::MethodNotAllowed);
        }
        match era::check_bodiless(version, max_version).map_err(Denial::Era)? {
            // 2026-07-28, Streamable HTTP: "MUST return HTTP 405 Method Not Allowed".
            Era::Modern => Err(Denial::MethodNotAllowed),
            Era::Legacy => Ok(Call {
                identity: permit.into_identity(),
                kind: Kind::Notification,
                to: ReplyTo { id: None, era: Era::Legacy, method: Method::Other },
                tool: None,
                session: Some(asked),
            }),
        }
    }

    /// What may be shown of the response to this call; `None` if all of it.
    pub fn view(&self, call: &Call<'_>) -> Option<VisibleTools<'_>> {
        let is_edited = call.method() == Method::ToolsList && self.edits_lists(call.client());
        is_edited.then(|| VisibleTools {
            policy: self.filtered(call.client()),
            read_only: &self.read_only,
            off: &self.off,
        })
    }

    /// Whether a list of tools may differ from the backend's for this client.
    fn edits_lists(&self, client: ClientId) -> bool {
        self.off.hides_tools() || self.filtered(client).is_some()
    }

    /// The tools of a client that is not shown those of others.
    fn filtered(&self, client: ClientId) -> Option<&ToolPolicy> {
        let policy = self.clients.tools(client)?;
        (policy.list == ListView::Filtered && !policy.is_unbounded()).then_some(policy)
    }
}

/// The tools that one client is shown: those it may call.
#[derive(Debug, Clone, Copy)]
pub struct VisibleTools<'p> {
    /// `None` where the client is shown all that is not off.
    policy: Option<&'p ToolPolicy>,
    read_only: &'p ReadOnlyTools,
    off: &'p SwitchedOff,
}

impl VisibleTools<'_> {
    /// Whether a tool of this name is shown.
    pub fn contains(&self, tool: &str) -> bool {
        let allowed = self.policy.is_none_or(|policy| policy.allows(Some(tool), self.read_only));
        allowed && !self.off.has_tool(Some(tool))
    }
}

/// Check 14: may this client call this method, or this tool?
fn check_policy(
    policy: Option<&ToolPolicy>,
    message: &Message<'_>,
    read_only: &ReadOnlyTools,
) -> Result<(), Denial> {
    if message.method == Method::ToolsCall {
        let allowed = policy.is_some_and(|policy| policy.allows(message.name.as_deref(), read_only));
        return if allowed { Ok(()) } else { Err(Denial::UnknownTool) };
    }
    let allowed = policy.is_some_and(|policy| policy.allows_method(message.method, &message.method_name));
    if allowed { Ok(()) } else { Err(Denial::UnknownMethod) }
}

/// A tool that is off looks like one that does not exist.
fn check_switched_off(off: &SwitchedOff, message: &Message<'_>) -> Result<(), Denial> {
    let is_off = message.method == Method::ToolsCall && off.has_tool(message.name.as_deref());
    if is_off { Err(Denial::UnknownTool) } else { Ok(()) }
}

/// Only a request has an id that replies carry; the id of a client's response is the server's own.
fn id_to_answer<'b>(message: &Message<'b>) -> Option<&'b [u8]> {
    match message.kind {
        Kind::Request => message.id,
        Kind::Notification | Kind::Response => None,
    }
}

/// Check 10 has refused repeated fields, so absence is the only other case.
fn mcp_fields<'b>(fields: &Fields<'b>) -> McpFields<'b> {
    let single = |known| match fields.occurs(known) {
        Occurs::Once(value) => Some(value),
        Occurs::Never | Occurs::Repeated => None,
    };
    McpFields {
        protocol_version: single(KnownField::McpProtocolVersion),
        method: single(KnownField::McpMethod),
        name: single(KnownField::McpName),
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::{AuthRules, ClientConfig, Clients, TokenHash, WrongToken};
    use super::super::tools::ToolPatterns;
    use super::super::{Limits, Presented, Verdict, origin, paths};
    use super::*;
    use crate::http1::{FieldSpans, request};
    use crate::wire::ProtocolVersion;
    use crate::wire::era::EraError;

    fn policy(allow: ToolPatterns) -> Policy {
        let tools = ToolPolicy { allow, ..ToolPolicy::default() };
        let clients = vec![ClientConfig { tools, ..ClientConfig::new("bot", vec![TokenHash::of(b"t")]) }];
        let prefixes = vec![paths::Prefix::parse("/mcp").unwrap()];
        let auth = AuthRules { wrong_token: WrongToken::Forbidden };
        Policy::new(
            &paths::PathRules { prefixes },
            origin::OriginRules::default(),
            auth,
            Limits::SMALL,
            Clients::new(clients).unwrap(),
        )
    }

    /// The tool and the method.
    type Passed<'a> = (Option<&'a str>, Method);
    /// The code, and the id that a response would carry.
    type Refused<'a> = (&'a str, Option<&'a str>);

    #[track_caller]
    fn check(tools: ToolPatterns, fields: &str, body: &str, expect: Result<Passed<'_>, Refused<'_>>) {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n{fields}\r\n"
        );
        let policy = policy(tools);
        let mut spans = FieldSpans::default();
        let head = request::parse(head.as_bytes(), &mut spans, &Limits::SMALL.head).unwrap();
        let Verdict::Forward(permit) = policy.decide(&head, Presented::default(), 0) else {
            panic!("the head is refused")
        };
        let max = ProtocolVersion::parse(b"2026-07-28");
        let verdict = policy.decide_call(permit, &head, body.as_bytes(), max);
        let found = match &verdict {
            Ok(call) => Ok((call.tool(), call.method())),
            Err(refusal) => {
                Err((refusal.denial.code(), refusal.to.id.map(|id| std::str::from_utf8(id).unwrap())))
            }
        };
        assert_eq!(found, expect, "{body}");
    }

    fn call_of(tool: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
    }

    #[test]
    fn a_call_passes_with_what_admission_needs_to_know() {
        check(ToolPatterns::default(), "", &call_of("echo"), Ok((Some("echo"), Method::ToolsCall)));
        let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"name":"echo"}}"#;
        check(ToolPatterns::only(["x"]), "", ping, Ok((None, Method::Ping)));
    }

    // "may this client call this method / tool?"
    #[test]
    fn a_client_calls_only_the_tools_it_is_allowed() {
        let swf = || ToolPatterns::only(["swf_*", "get_server_instructions"]);
        check(swf(), "", &call_of("swf_list"), Ok((Some("swf_list"), Method::ToolsCall)));
        check(swf(), "", &call_of("panda_kill"), Err(("unknown_tool", Some("7"))));
        check(swf(), "", &call_of(r"swf_\u0061"), Ok((Some("swf_a"), Method::ToolsCall)));
        check(
            swf(),
            "",
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#,
            Err(("unknown_tool", Some("7"))),
        );
    }

    // "A client with a tool policy calls only methods that the guard knows".
    #[test]
    fn a_bounded_client_calls_only_methods_that_are_known() {
        let named = |method: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{"name":"ok_a"}}}}"#)
        };
        let bounded = || ToolPatterns::only(["ok_*"]);
        let unknown = Err(("unknown_method", Some("7")));
        for method in ["workflow/start", "tools/call ", "Tools/Call", r"tools\u200b/call", "rpc.x", ""] {
            check(bounded(), "", &named(method), unknown);
        }
        for method in ["ping", "tools/list", "tasks/cancel"] {
            check(bounded(), "", &named(method), Ok((None, Method::from_name(method))));
        }
        check(ToolPatterns::default(), "", &named("workflow/start"), Ok((None, Method::Other)));
        check(ToolPatterns::default(), "", &named("Tools/Call"), unknown);
        let note = r#"{"jsonrpc":"2.0","method":"notifications/own"}"#;
        check(bounded(), "", note, Err(("unknown_method", None)));
        check(ToolPatterns::default(), "", note, Ok((None, Method::Other)));
        check(bounded(), "", r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, Ok((None, Method::Response)));
    }

    // "Policy is always decided on the body."
    #[test]
    fn a_header_cannot_name_another_tool_than_the_body() {
        let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: swf_list\r\n";
        let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"panda_kill","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        check(ToolPatterns::only(["swf_*"]), fields, body, Err(("era_header_mismatch", Some("7"))));
        let legacy = "Mcp-Name: swf_list\r\n";
        check(
            ToolPatterns::only(["swf_*"]),
            legacy,
            &call_of("panda_kill"),
            Err(("unknown_tool", Some("7"))),
        );
    }

    // "once the body has a readable `id` - also where something behind it is refused"
    #[test]
    fn a_refused_body_gets_an_error_with_its_id() {
        let call = |argument: &str| {
            format!(
                r#"{{"method":"tools/call","params":{{"name":"x","arguments":{{"a":{argument}}}}},"jsonrpc":"2.0","id":7}}"#
            )
        };
        check(ToolPatterns::default(), "", &call(&"[".repeat(70)), Err(("scan_depth", None)));
        let deep = "[".repeat(70) + &"]".repeat(70);
        check(ToolPatterns::default(), "", &call(&deep), Err(("scan_depth", Some("7"))));
        check(ToolPatterns::default(), "", &call("NaN"), Err(("scan_syntax", Some("7"))));
        check(ToolPatterns::default(), "", &call(r#"1},"Name":{"#), Err(("scan_folded_key", Some("7"))));
        let positional = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}"#;
        check(ToolPatterns::default(), "", positional, Err(("scan_envelope", Some("7"))));
        let twice = r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#;
        check(ToolPatterns::default(), "", twice, Err(("scan_duplicate_key", None)));
    }

    // The era is that of the header: the body was not judged.
    #[test]
    fn a_refused_body_without_one_method_meets_the_real_status() {
        let era = |fields: &str, method| {
            let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
            let mut spans = FieldSpans::default();
            let head = request::parse(head.as_bytes(), &mut spans, &Limits::SMALL.head).unwrap();
            ReplyTo::unjudged(&head, Some(b"7"), method).era
        };
        assert_eq!(era("", Some(Method::ToolsCall)), Era::Legacy);
        assert_eq!(era("MCP-Protocol-Version: 2025-06-18\r\n", Some(Method::Other)), Era::Legacy);
        assert_eq!(era("MCP-Protocol-Version: 2026-07-28\r\n", Some(Method::ToolsCall)), Era::Modern);
        assert_eq!(era("", None), Era::Modern);
    }

    #[test]
    fn an_unreadable_body_is_refused_without_an_id() {
        check(ToolPatterns::default(), "", "hello", Err(("scan_syntax", None)));
        check(ToolPatterns::default(), "", "[]", Err(("scan_batch", None)));
        check(ToolPatterns::default(), "", "", Err(("scan_empty", None)));
    }

    // The id of a response belongs to the server's request: an error with it would reach the wrong party.
    #[test]
    fn notifications_and_responses_have_no_id_to_reply_to() {
        let fields = "MCP-Protocol-Version: 20 25\r\n";
        let response = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
        check(ToolPatterns::default(), fields, response, Err(("era_malformed_version", None)));
        let without_id = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#;
        check(ToolPatterns::default(), "", without_id, Err(("scan_missing_id", None)));
    }

    #[test]
    fn the_fence_refuses_newer_versions_with_the_request_s_id() {
        let fields = "MCP-Protocol-Version: 2027-01-01\r\n";
        let ping = r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#;
        check(ToolPatterns::default(), fields, ping, Err(("era_fenced", Some("\"a\""))));
        assert_eq!(Denial::Era(EraError::MalformedVersion).status(), 400);
    }
}
