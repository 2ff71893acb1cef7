//! A call that may be admitted, or the refusal of one, with what a survivable answer needs to know.
//!
//! Checks 12 to 14 are here, in order. Must not know slots, limits or answers.

use std::borrow::Cow;

use super::{ClientId, Denial, Permit, Policy, tools::ToolPatterns};
use crate::http1::{Fields, Known, Occurs, RequestHead};
use crate::wire::era::{self, MaxVersion, McpFields};
use crate::wire::{Era, Kind, Message, Method, scan};

/// To whom and how an answer of the guard's own is addressed (contract, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo<'b> {
    /// Raw JSON of the request's id; `None` for notifications, responses and unparsable bodies.
    pub id: Option<&'b [u8]>,
    /// Which kind of client waits for the answer.
    pub era: Era,
    /// What it asked for.
    pub method: Method,
}

/// A call that passed checks 1 to 14. Only the policy makes one.
#[derive(Debug)]
pub struct Call<'b> {
    client: ClientId,
    kind: Kind,
    to: ReplyTo<'b>,
    tool: Option<Cow<'b, str>>,
}

impl<'b> Call<'b> {
    /// Who calls.
    pub fn client(&self) -> ClientId {
        self.client
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

    /// How the guard's own answers to this call are addressed.
    pub fn reply_to(&self) -> ReplyTo<'b> {
        self.to
    }

    /// The tool of a `tools/call`, as the body names it.
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }
}

/// A refused body or call.
#[derive(Debug)]
pub struct Refusal<'b> {
    /// Why it is refused.
    pub denial: Denial,
    /// How the answer is addressed.
    pub to: ReplyTo<'b>,
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
        // Until the era is known, a modern client is assumed: it copes with the real status.
        let nobody = ReplyTo { id: None, era: Era::Modern, method: Method::Other };
        let message = scan(body).map_err(|error| Refusal { denial: Denial::Scan(error), to: nobody })?;
        let to = ReplyTo { id: reply_id(&message), method: message.method, ..nobody };
        let era = era::judge(&mcp_fields(&head.fields), &message, max_version)
            .map_err(|error| Refusal { denial: Denial::Era(error), to })?;
        let to = ReplyTo { era, ..to };
        let client = permit.client();
        check_tool(self.clients.tools(client), &message).map_err(|denial| Refusal { denial, to })?;
        let tool = if message.method == Method::ToolsCall { message.name } else { None };
        Ok(Call { client, kind: message.kind, to, tool })
    }
}

/// Check 14. Other methods than `tools/call` act on nothing that is governed by tool.
fn check_tool(patterns: Option<&ToolPatterns>, message: &Message<'_>) -> Result<(), Denial> {
    let allowed = message.method != Method::ToolsCall
        || patterns.is_some_and(|patterns| patterns.allows(message.name.as_deref()));
    if allowed { Ok(()) } else { Err(Denial::UnknownTool) }
}

/// Only a request has an id that answers carry; the id of a client's response is the server's own.
fn reply_id<'b>(message: &Message<'b>) -> Option<&'b [u8]> {
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
        protocol_version: single(Known::McpProtocolVersion),
        method: single(Known::McpMethod),
        name: single(Known::McpName),
    }
}
