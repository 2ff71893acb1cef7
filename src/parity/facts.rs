//! What was observed about one server, as plain data.

use std::time::Duration;

use serde_json::Value;

use crate::wire::Era;
use crate::wire::declaration::{Handshake, Tool};

/// One observation of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed<T> {
    /// The server does not offer it, which need not be wrong.
    Absent(String),
    /// It should have responded and did not, or not usably.
    Failed(String),
    /// What the server said.
    Known(T),
}

impl<T> Observed<T> {
    /// What is known, if it is.
    pub fn known(&self) -> Option<&T> {
        match self {
            Observed::Known(value) => Some(value),
            Observed::Absent(_) | Observed::Failed(_) => None,
        }
    }

    /// Why it is not known.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Observed::Known(_) => None,
            Observed::Absent(why) | Observed::Failed(why) => Some(why),
        }
    }
}

/// What a self-describing tool (`swf_list_available_tools`) says of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The parameters it names, if it names any.
    pub parameters: Option<Vec<String>>,
}

/// What was observed in one era.
#[derive(Debug, Clone, PartialEq)]
pub struct EraFacts {
    /// How the server introduced itself.
    pub handshake: Handshake,
    /// `tools/list`, over all pages.
    pub tools: Observed<Vec<Tool>>,
    /// `tools/list` once more: whether order and content are stable.
    pub relisted: Observed<Vec<Tool>>,
    /// What the tool that returns the instructions returned.
    pub instructions_tool: Observed<String>,
    /// What the self-describing tool returned.
    pub discoverer: Observed<Vec<Listed>>,
    /// The results of the recorded calls as JSON, in the order of the file, each called up to twice.
    pub calls: Vec<Observed<Vec<Box<str>>>>,
}

/// An HTTP response, as far as the auth matrix judges it.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpFacts {
    /// The HTTP status.
    pub status: u16,
    /// The `Allow` field.
    pub allow: Option<String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
}

/// The auth matrix: the responses to requests that must not pass, and to `/health`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthFacts {
    /// A POST without a token.
    pub no_token: Observed<HttpFacts>,
    /// A POST with a token that no client has.
    pub wrong_token: Observed<HttpFacts>,
    /// A GET of the endpoint.
    pub get: Observed<HttpFacts>,
    /// `/health`, without a token.
    pub health: Observed<HttpFacts>,
    /// A guard without any token, and a request with one.
    pub unconfigured: Observed<HttpFacts>,
}

/// How long the responses to one request took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// The request.
    pub question: String,
    /// One time a response, in the order of the requests.
    pub samples: Vec<Duration>,
}

impl Timings {
    /// The value below which this share (0 to 100) of the samples lies.
    pub fn percentile(&self, share: usize) -> Option<Duration> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last * share).div_ceil(100)).copied()
    }
}

/// Everything that was observed about one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Where it is, without credentials.
    pub at: String,
    /// With `initialize`.
    pub legacy: Observed<EraFacts>,
    /// With `server/discover`.
    pub modern: Observed<EraFacts>,
    /// The responses to requests without rights.
    pub auth: Observed<AuthFacts>,
    /// How fast it responded.
    pub timings: Vec<Timings>,
}

impl Facts {
    /// What was observed in this era.
    pub fn era(&self, era: Era) -> &Observed<EraFacts> {
        match era {
            Era::Legacy => &self.legacy,
            Era::Modern => &self.modern,
        }
    }

    /// Whether the server responded in any era.
    pub fn reached(&self) -> bool {
        self.legacy.known().is_some() || self.modern.known().is_some()
    }
}

/// Both servers in one era.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) era: Era,
    pub(super) live: &'a EraFacts,
    pub(super) candidate: &'a EraFacts,
}
