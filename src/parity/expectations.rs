//! What the operator expects of a candidate, besides that both servers agree.

use std::time::Duration;

use super::accept::Acceptance;
use super::results::IgnoreRule;

/// The tool that lists all tools, where a deployment names no other.
pub const SELF_DESCRIPTION: &str = "swf_list_available_tools";

/// A client that sees only tools with some prefixes, and how many it must see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedCount {
    /// The client's name.
    pub client: String,
    /// It keeps the tools whose names start with one of these.
    pub prefixes: Vec<String>,
    /// How many those must be.
    pub count: usize,
}

/// One recorded call, known to be read-only.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedCall {
    /// The tool called.
    pub tool: String,
    /// What it is given.
    pub arguments: serde_json::Value,
    /// Paths of its response that say nothing.
    pub ignore: Vec<IgnoreRule>,
}

/// What the operator expects, besides that both servers agree.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// `serverInfo.name`; without it the live server's own.
    pub server_name: Option<String>,
    /// The instructions, byte for byte; without them the live server's own.
    pub instructions: Option<String>,
    /// The tool that returns the instructions.
    pub instructions_tool: String,
    /// The tool that lists the tools.
    pub self_description: String,
    /// How many tools each client must see.
    pub counts: Vec<ExpectedCount>,
    /// The calls to replay.
    pub calls: Vec<RecordedCall>,
    /// The status that a wrong token must get.
    pub wrong_token_status: u16,
    /// A candidate whose median is more than this many times the live one's is a break.
    pub slowdown_max: f64,
    /// Below this difference of medians nothing is slow.
    pub slowdown_floor: Duration,
    /// Reviewed differences.
    pub accepted: Vec<Acceptance>,
    /// When it is, in seconds since the epoch: what was accepted until then no longer is.
    pub now: u64,
}

impl Default for Expectations {
    fn default() -> Expectations {
        Expectations {
            server_name: None,
            instructions: None,
            instructions_tool: "get_server_instructions".to_owned(),
            self_description: SELF_DESCRIPTION.to_owned(),
            counts: Vec::new(),
            calls: Vec::new(),
            wrong_token_status: 403,
            slowdown_max: 5.0,
            slowdown_floor: Duration::from_millis(25),
            accepted: Vec::new(),
            now: 0,
        }
    }
}
