//! What was learnt about one server, as plain data.

use std::time::Duration;

use serde_json::Value;

use crate::wire::Era;

/// How a server introduced itself, in `initialize` or `server/discover`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Handshake {
    /// The version agreed on.
    pub protocol_version: String,
    /// All versions that it says it speaks: one in the legacy era.
    pub supported_versions: Vec<String>,
    /// `serverInfo.name`.
    pub server_name: Option<String>,
    /// `serverInfo.version`: often the library's, so never compared.
    pub server_version: Option<String>,
    /// `result.instructions`.
    pub instructions: Option<String>,
    /// What the server announces.
    pub capabilities: Value,
}

/// A tool as `tools/list` declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for, for a model.
    pub description: Option<String>,
    /// The schema of its arguments.
    pub input_schema: Option<Value>,
    /// The schema of its structured result.
    pub output_schema: Option<Value>,
    /// Hints such as `readOnlyHint`.
    pub annotations: Option<Value>,
}

impl Tool {
    /// Reads one element of `tools`; only a missing name makes it unreadable.
    pub fn from_json(value: &Value) -> Option<Tool> {
        let field = |key: &str| value.get(key).filter(|value| !value.is_null()).cloned();
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Tool {
            name: text("name")?,
            description: text("description"),
            input_schema: field("inputSchema"),
            output_schema: field("outputSchema"),
            annotations: field("annotations"),
        })
    }
}

/// Something asked of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Learnt<T> {
    /// The server does not offer it, which need not be wrong.
    Absent(String),
    /// It should have answered and did not, or not usably.
    Failed(String),
    /// What the server said.
    Known(T),
}

impl<T> Learnt<T> {
    /// What is known, if it is.
    pub fn known(&self) -> Option<&T> {
        match self {
            Learnt::Known(value) => Some(value),
            Learnt::Absent(_) | Learnt::Failed(_) => None,
        }
    }

    /// Why it is not known.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Learnt::Known(_) => None,
            Learnt::Absent(why) | Learnt::Failed(why) => Some(why),
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

/// What was learnt in one era.
#[derive(Debug, Clone, PartialEq)]
pub struct EraFacts {
    /// How the server introduced itself.
    pub handshake: Handshake,
    /// `tools/list`, over all pages.
    pub tools: Learnt<Vec<Tool>>,
    /// `tools/list` once more: whether order and content are stable.
    pub relisted: Learnt<Vec<Tool>>,
    /// What the tool that returns the instructions returned.
    pub instructions_tool: Learnt<String>,
    /// What the self-describing tool returned.
    pub discoverer: Learnt<Vec<Listed>>,
    /// The recorded calls, in the order of the file, each asked up to twice.
    pub calls: Vec<Learnt<Vec<Value>>>,
}

/// An HTTP answer, as far as the auth matrix judges it.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpFacts {
    /// The HTTP status.
    pub status: u16,
    /// The `Allow` field.
    pub allow: Option<String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
}

/// The auth matrix: what a server answered to those who must not pass, and to `/health`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthFacts {
    /// A POST without a token.
    pub no_token: Learnt<HttpFacts>,
    /// A POST with a token that nobody has.
    pub wrong_token: Learnt<HttpFacts>,
    /// A GET of the endpoint.
    pub get: Learnt<HttpFacts>,
    /// `/health`, without a token.
    pub health: Learnt<HttpFacts>,
    /// A guard without any token, asked with one.
    pub unconfigured: Learnt<HttpFacts>,
}

/// How long the answers to one question took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// What was asked.
    pub question: String,
    /// One time an answer, in the order of asking.
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

/// Everything that was learnt about one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Where it is, without credentials.
    pub at: String,
    /// With `initialize`.
    pub legacy: Learnt<EraFacts>,
    /// With `server/discover`.
    pub modern: Learnt<EraFacts>,
    /// The door.
    pub auth: Learnt<AuthFacts>,
    /// How fast it answered.
    pub timings: Vec<Timings>,
}

impl Facts {
    /// What was learnt in this era.
    pub fn era(&self, era: Era) -> &Learnt<EraFacts> {
        match era {
            Era::Legacy => &self.legacy,
            Era::Modern => &self.modern,
        }
    }

    /// Whether the server answered in any era.
    pub fn reached(&self) -> bool {
        self.legacy.known().is_some() || self.modern.known().is_some()
    }
}
