//! The front-door order of the contract, section 2: one function on the head, one on the call.
//!
//! The set of checks is fixed and their order is a security property: straight lines, one check a file. Pure: no I/O,
//! no clock (callers pass `now`), and no allocation on the way to a verdict on the head.

pub mod auth;
pub mod call;
pub mod cors;
pub mod denial;
mod detail;
mod head;
mod headers;
pub mod limits;
pub mod origin;
pub mod paths;
pub mod permit;
pub mod quota;
pub mod rate;
pub mod reply;
pub mod routes;
pub mod session;
pub mod tools;

pub use auth::{ClientId, Clients};
pub use call::{Call, Refusal, ReplyTo};
pub use denial::Denial;
pub use limits::{Limits, Timeouts};
pub use permit::Permit;
pub use quota::{Quota, ToolRules};
pub use session::SessionRequest;

/// Everything the checks need, immutable: a reload builds a new one.
#[derive(Debug)]
pub struct Policy {
    paths: paths::Paths,
    origin: origin::Config,
    auth: auth::Config,
    limits: Limits,
    clients: Clients,
    read_only: tools::ReadOnlyTools,
    sessions: Sessions,
}

/// Whether any slot takes the requests of a session that are no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// The endpoint takes POST only.
    Refused,
    /// `GET` and `DELETE` of a session pass to the slots that ask for them.
    Passed,
}

/// What the guard answers itself without refusing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `200 {"status": "ok"}`
    Health,
    /// Readiness; the shell knows the state of the backends.
    Ready,
    /// A browser's question on behalf of a page of an allowed origin: [`cors`].
    Preflight,
}

impl Local {
    /// The whole body of the answer to a health check.
    pub const HEALTH_BODY: &'static str = r#"{"status": "ok"}"#;
}

/// The verdict on a request head.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guard answers itself.
    Answer(Local),
    /// The request is refused.
    Deny(Denial),
    /// The head passes; the body may be read.
    Forward(Permit),
    /// The head passes, and has no body: a request of a session.
    Session(SessionRequest, Permit),
}

impl Policy {
    /// Prepares the checks: what can be computed once is computed here.
    pub fn new(
        paths: &paths::Config,
        origin: origin::Config,
        auth: auth::Config,
        limits: Limits,
        clients: Clients,
    ) -> Policy {
        let read_only = tools::ReadOnlyTools::default();
        Policy {
            paths: paths::Paths::new(paths),
            origin,
            auth,
            limits,
            clients,
            read_only,
            sessions: Sessions::Refused,
        }
    }

    /// The same, with these tools known to change nothing.
    pub fn with_read_only_tools(self, read_only: tools::ReadOnlyTools) -> Policy {
        Policy { read_only, ..self }
    }

    /// The same, with requests of sessions passed or refused.
    pub fn with_sessions(self, sessions: Sessions) -> Policy {
        Policy { sessions, ..self }
    }

    /// The bounds this policy was built with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The clients this policy knows.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }
}
