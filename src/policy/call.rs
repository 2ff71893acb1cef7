//! A call that may be admitted, or the refusal of one, with what a survivable answer needs to know.

use std::borrow::Cow;

use super::{ClientId, Denial};
use crate::wire::{Era, Kind, Method};

/// To whom and how an answer of the guard's own is addressed (contract, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo<'b> {
    /// Raw JSON of the request's id; `None` for notifications and unparsable bodies.
    pub id: Option<&'b [u8]>,
    pub era: Era,
    pub method: Method,
}

/// A call that passed checks 1 to 14. Only the policy makes one.
#[derive(Debug)]
pub struct Call<'b> {
    pub(super) client: ClientId,
    pub(super) kind: Kind,
    pub(super) to: ReplyTo<'b>,
    pub(super) tool: Option<Cow<'b, str>>,
}

impl<'b> Call<'b> {
    pub fn client(&self) -> ClientId {
        self.client
    }
    pub fn kind(&self) -> Kind {
        self.kind
    }
    pub fn method(&self) -> Method {
        self.to.method
    }
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
    pub denial: Denial,
    pub to: ReplyTo<'b>,
}
