//! The checks of the decision order as values, and how a decision shows which of them it came to.
//!
//! The order itself stands in `head`, `identify` and `call`, once. They name each check before they make it: to `()` where a
//! request is served, which compiles to nothing, and to a [`Trace`] where an operator asks why.

use std::cell::RefCell;
use std::sync::Arc;

use super::auth::TokenHash;
use super::identity::{Credential, Identity, TokenVerifier};
use super::{ClientId, Denial, Subject};

/// One check, in the order of the contract, section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`number` and `as_str` say what each is")]
pub enum OrderCheck {
    Framing,
    Health,
    Ready,
    OauthProbe,
    Preflight,
    Method,
    Origin,
    Credential,
    ClientOff,
    Path,
    Fields,
    Body,
    Json,
    Version,
    Permission,
    ToolOff,
    Limits,
}

impl OrderCheck {
    /// Every check, in order.
    pub const ALL: [OrderCheck; 17] = [
        OrderCheck::Framing,
        OrderCheck::Health,
        OrderCheck::Ready,
        OrderCheck::OauthProbe,
        OrderCheck::Preflight,
        OrderCheck::Method,
        OrderCheck::Origin,
        OrderCheck::Credential,
        OrderCheck::ClientOff,
        OrderCheck::Path,
        OrderCheck::Fields,
        OrderCheck::Body,
        OrderCheck::Json,
        OrderCheck::Version,
        OrderCheck::Permission,
        OrderCheck::ToolOff,
        OrderCheck::Limits,
    ];

    /// The number in the contract.
    pub fn number(self) -> &'static str {
        match self {
            OrderCheck::Framing => "0",
            OrderCheck::Health => "1",
            OrderCheck::Ready => "2",
            OrderCheck::OauthProbe => "3",
            OrderCheck::Preflight => "4a",
            OrderCheck::Method => "4",
            OrderCheck::Origin => "5",
            OrderCheck::Credential => "6-8",
            OrderCheck::ClientOff => "8",
            OrderCheck::Path => "9",
            OrderCheck::Fields => "10",
            OrderCheck::Body => "11",
            OrderCheck::Json => "12",
            OrderCheck::Version => "13",
            OrderCheck::Permission | OrderCheck::ToolOff => "14",
            OrderCheck::Limits => "15",
        }
    }

    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderCheck::Framing => "framing",
            OrderCheck::Health => "health",
            OrderCheck::Ready => "ready",
            OrderCheck::OauthProbe => "oauth probe",
            OrderCheck::Preflight => "preflight",
            OrderCheck::Method => "http method",
            OrderCheck::Origin => "origin and host",
            OrderCheck::Credential => "credential",
            OrderCheck::ClientOff => "client switched off",
            OrderCheck::Path => "path",
            OrderCheck::Fields => "header fields",
            OrderCheck::Body => "body",
            OrderCheck::Json => "json",
            OrderCheck::Version => "protocol version",
            OrderCheck::Permission => "method and tool",
            OrderCheck::ToolOff => "tool switched off",
            OrderCheck::Limits => "limits",
        }
    }
}

/// Sees how far a decision comes. Copied into every step, so that the one of served requests takes no place.
pub(super) trait Observer: Copy {
    /// The decision comes to this check.
    fn at(self, check: OrderCheck);

    /// The caller is known.
    fn identified(self, identity: &Identity);

    /// Who a token of an issuer is for.
    fn verify(
        self,
        verifier: &dyn TokenVerifier,
        token: &[u8],
        hash: &TokenHash,
        now: u64,
    ) -> Result<(ClientId, Arc<Subject>), Denial>;
}

/// A request that is served: nothing is seen.
impl Observer for () {
    fn at(self, _check: OrderCheck) {}

    fn identified(self, _identity: &Identity) {}

    fn verify(
        self,
        verifier: &dyn TokenVerifier,
        token: &[u8],
        hash: &TokenHash,
        now: u64,
    ) -> Result<(ClientId, Arc<Subject>), Denial> {
        verifier.verify(token, hash, now)
    }
}

/// Who was found to call.
#[derive(Debug)]
struct Found {
    client: ClientId,
    subject: Option<Arc<Subject>>,
    credential: Credential,
}

/// The checks that a decision came to, in order, and who was found to call.
#[derive(Debug, Default)]
pub struct Trace {
    checks: RefCell<Vec<OrderCheck>>,
    caller: RefCell<Option<Found>>,
}

impl Trace {
    /// The checks that it came to; the last one decided, unless the request passes.
    pub fn checks(&self) -> Vec<OrderCheck> {
        self.checks.borrow().clone()
    }

    /// The client, and which of those that it stands for.
    pub fn caller(&self) -> Option<(ClientId, Option<Arc<Subject>>)> {
        self.caller.borrow().as_ref().map(|found| (found.client, found.subject.clone()))
    }

    /// What the caller was known by.
    pub fn credential(&self) -> Option<Credential> {
        self.caller.borrow().as_ref().map(|found| found.credential)
    }

    /// The decision comes to a check that is not the policy's own.
    pub fn came_to(&self, check: OrderCheck) {
        self.at(check);
    }
}

impl Observer for &Trace {
    fn at(self, check: OrderCheck) {
        self.checks.borrow_mut().push(check);
    }

    fn identified(self, identity: &Identity) {
        *self.caller.borrow_mut() = Some(Found {
            client: identity.client(),
            subject: identity.subject().cloned(),
            credential: identity.credential(),
        });
    }

    /// An operator asks: nothing is remembered and nothing fetched.
    fn verify(
        self,
        verifier: &dyn TokenVerifier,
        token: &[u8],
        hash: &TokenHash,
        now: u64,
    ) -> Result<(ClientId, Arc<Subject>), Denial> {
        verifier.look(token, hash, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_listed_once_in_its_order() {
        assert!(OrderCheck::ALL.is_sorted_by(|one, next| one < next));
        let mut names: Vec<&str> = OrderCheck::ALL.map(OrderCheck::as_str).into();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OrderCheck::ALL.len());
    }
}
