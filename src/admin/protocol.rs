//! The frames: one line of JSON each way, with a version, within a size.
//!
//! `{"version":1,"command":"status"}` gets `{"version":1,"answer":{"status":{…}}}`. A command is added as a
//! variant; a field is added with a default; anything else is a new version. Must not know sockets.

use serde::{Deserialize, Serialize};

use crate::config::feature::{Feature, FeatureChange, FeatureState, FeatureStatus};
use crate::control::fleet_report::FleetReport;
use crate::control::{CommandResult, OperationEnd, RolloutCommand, RolloutReport};
use crate::proxy::explain::{Explanation, Question};
use crate::proxy::{GuardStatus, TokenUse};
use crate::rollout::Transition;
use crate::shadow::Diff;
#[cfg(feature = "console")]
use crate::telemetry::metrics::Totals;

/// The only version so far.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a request, its newline included.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;
/// The same of a question about a request, which carries that whole.
pub(crate) const QUESTION_BYTES_MAX: usize = 1 << 20;
/// How a question begins.
const QUESTION: &[u8] = br#"{"version":1,"command":{"explain":{"#;
/// Bytes of a response, its newline included.
pub(crate) const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// A command to a running guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdminCommand {
    Status,
    /// Where the rollout stands, and both slots side by side.
    Rollout,
    /// Its transitions, the oldest first.
    History,
    /// How the candidate's responses to copied calls differ.
    Shadow {
        show_arguments: bool,
    },
    #[serde(rename = "order")]
    Control(RolloutCommand),
    /// Hand the listeners to a newly started program and end.
    Upgrade,
    /// Read configuration and tokens again.
    Reload,
    /// Which tokens the guard knows, and when each was last used.
    Tokens,
    /// An operation of a release has ended: receivers are notified of it.
    OperationEnded(Box<OperationEnd>),
    /// The fleet as this guard sees it.
    Fleet,
    /// Leave the fleet until the next start.
    LeaveFleet,
    /// Which features are off.
    Features,
    /// Switch a feature.
    Feature {
        feature: Feature,
        to: FeatureState,
        #[serde(default)]
        reason: Option<String>,
    },
    /// What would become of a request.
    Explain(Box<Question>),
    /// Everything that `top` shows. Only the first of a row of looks is logged as an order is.
    #[cfg(feature = "console")]
    Overview {
        #[serde(default)]
        first: bool,
    },
}

impl AdminCommand {
    /// The name in frames and in the log.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            AdminCommand::Status => "status",
            AdminCommand::Rollout => "rollout status",
            AdminCommand::History => "rollout history",
            AdminCommand::Shadow { show_arguments: false } => "shadow diff",
            AdminCommand::Shadow { show_arguments: true } => "shadow diff --show-arguments",
            AdminCommand::Control(command) => command.as_str(),
            AdminCommand::Upgrade => "upgrade",
            AdminCommand::Reload => "reload",
            AdminCommand::Tokens => "token list",
            AdminCommand::OperationEnded(_) => "release ended",
            AdminCommand::Fleet => "fleet status",
            AdminCommand::LeaveFleet => "fleet leave",
            AdminCommand::Features => "feature list",
            AdminCommand::Feature { to: FeatureState::On, .. } => "feature on",
            AdminCommand::Feature { to: FeatureState::Off, .. } => "feature off",
            AdminCommand::Explain(_) => "explain",
            #[cfg(feature = "console")]
            AdminCommand::Overview { .. } => "top",
        }
    }
}

/// The response to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdminResponse {
    Status(Box<GuardStatus>),
    Rollout(Box<RolloutReport>),
    History(Vec<Transition>),
    Shadow(Box<Diff>),
    Done(Box<CommandResult>),
    /// Another process serves now.
    Upgraded(Upgraded),
    Reloaded(Reloaded),
    /// The problems of the new configuration; the running one stays.
    NotReloaded(Vec<String>),
    Tokens(Vec<TokenUse>),
    /// The receivers that are notified.
    Notified(Vec<String>),
    /// None where the guard is in no fleet.
    Fleet(Option<Box<FleetReport>>),
    LeftFleet,
    Features(Box<FeatureReport>),
    Explained(Box<Explanation>),
    #[cfg(feature = "console")]
    Overview(Box<Overview>),
    /// The command was refused, for this reason.
    #[serde(rename = "no")]
    Rejected(String),
    Refused(AdminRefusal),
}

/// What is off and what was switched, and what else may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeatureReport {
    pub(crate) status: FeatureStatus,
    /// The oldest first.
    pub(crate) history: Vec<FeatureChange>,
    pub(crate) routes: Vec<String>,
    /// What the operator should know of a switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// Everything that a view of a running guard shows, of one moment.
#[cfg(feature = "console")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overview {
    pub(crate) status: GuardStatus,
    pub(crate) rollout: RolloutReport,
    /// What was counted since the start.
    pub(crate) totals: Totals,
    /// The last ones, the oldest first.
    #[serde(default)]
    pub(crate) transitions: Vec<Transition>,
    /// None where the guard is in no fleet.
    #[serde(default)]
    pub(crate) fleet: Option<FleetReport>,
}

/// A configuration that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    pub(crate) clients: usize,
    /// Changed keys that only a new process can apply.
    pub(crate) at_next_start: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// The process that has taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upgraded {
    pub(crate) pid: u32,
    pub(crate) version: String,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdminRefusal {
    #[error("the guard speaks another version of this protocol (is it older or newer than this program?)")]
    Version,
    #[error("the guard does not know this command (is it older than this program?)")]
    Command,
    #[error("the request is malformed, too large, or came too slowly")]
    Malformed,
    #[error("only root and the guard's own user may ask")]
    User,
    #[error("too many requests at a time")]
    Busy,
}

/// Whether a request that begins like this may have [`QUESTION_BYTES_MAX`].
pub(crate) fn is_question(beginning: &[u8]) -> bool {
    beginning.starts_with(QUESTION)
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFrame {
    version: u32,
    command: AdminCommand,
}

#[derive(Serialize, Deserialize)]
struct ResponseFrame {
    version: u32,
    #[serde(rename = "answer")]
    response: AdminResponse,
}

/// The line of a request.
pub(crate) fn encode_request(command: &AdminCommand) -> Vec<u8> {
    line(&RequestFrame { version: VERSION, command: command.clone() })
}

/// The line of a response.
pub(crate) fn encode_response(response: AdminResponse) -> Vec<u8> {
    line(&ResponseFrame { version: VERSION, response })
}

/// Reads a request line. The version is checked before the command: a newer version may have commands unknown here.
pub(crate) fn decode_request(line: &[u8]) -> Result<AdminCommand, AdminRefusal> {
    let versioned: Versioned = serde_json::from_slice(line).map_err(|_| AdminRefusal::Malformed)?;
    if versioned.version != VERSION {
        return Err(AdminRefusal::Version);
    }
    let frame: RequestFrame = serde_json::from_slice(line).map_err(|_| AdminRefusal::Command)?;
    Ok(frame.command)
}

/// Reads a response line.
pub(crate) fn decode_response(line: &[u8]) -> Result<AdminResponse, serde_json::Error> {
    serde_json::from_slice::<ResponseFrame>(line).map(|frame| frame.response)
}

fn line(frame: &impl Serialize) -> Vec<u8> {
    // Plain data with text keys: serialising it cannot fail, and an empty line would be refused as malformed.
    let mut line = serde_json::to_vec(frame).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_one_line_of_json_with_a_version() {
        assert_eq!(encode_request(&AdminCommand::Status), b"{\"version\":1,\"command\":\"status\"}\n");
        assert_eq!(decode_request(b"{\"version\":1,\"command\":\"status\"}\n"), Ok(AdminCommand::Status));
        let refused = encode_response(AdminResponse::Refused(AdminRefusal::User));
        assert_eq!(refused, b"{\"version\":1,\"answer\":{\"refused\":\"user\"}}\n");
        assert_eq!(decode_response(&refused).unwrap(), AdminResponse::Refused(AdminRefusal::User));
    }

    // Programs of two versions talk during an upgrade: the words of the frames outlive the names of the types.
    #[test]
    fn commands_and_refusals_keep_their_words() {
        let retire = AdminCommand::Control(RolloutCommand::Retire { slot: crate::upstream::Slot::Blue });
        let line = b"{\"version\":1,\"command\":{\"order\":{\"drain\":{\"slot\":\"blue\"}}}}\n";
        assert_eq!(encode_request(&retire), line);
        let rejected = encode_response(AdminResponse::Rejected("why".to_owned()));
        assert_eq!(rejected, b"{\"version\":1,\"answer\":{\"no\":\"why\"}}\n");
        let question = Question { request: String::new(), client: None, subject: None, is_made: false };
        assert!(is_question(&encode_request(&AdminCommand::Explain(Box::new(question)))));
        assert!(!is_question(&encode_request(&AdminCommand::Status)));
        let unknown = encode_response(AdminResponse::Refused(AdminRefusal::Command));
        assert_eq!(unknown, b"{\"version\":1,\"answer\":{\"refused\":\"command\"}}\n");
    }

    #[test]
    fn says_what_is_wrong_with_a_request() {
        let refused = |line: &str| decode_request(line.as_bytes()).unwrap_err();
        assert_eq!(refused(""), AdminRefusal::Malformed);
        assert_eq!(refused("[]"), AdminRefusal::Malformed);
        assert_eq!(refused("{\"command\":\"status\"}"), AdminRefusal::Malformed);
        assert_eq!(refused("{\"version\":2,\"command\":\"fly\"}"), AdminRefusal::Version);
        assert_eq!(refused("{\"version\":1,\"command\":\"fly\"}"), AdminRefusal::Command);
        assert_eq!(refused("{\"version\":1,\"command\":\"status\",\"x\":1}"), AdminRefusal::Command);
    }

    proptest! {
        #[test]
        fn never_panics_whatever_the_line(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_request(&line);
            let _ = decode_response(&line);
        }
    }
}
