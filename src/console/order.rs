//! Orders: the JSON of a request becomes an admin command, with a reason that is logged.

use serde::Deserialize;

use super::problem::Problem;
use crate::admin::AdminCommand;
use crate::control::RolloutCommand;
use crate::rollout::Stage;
use crate::upstream::Slot;

/// Characters of a reason: it is part of a line of the log and of the history.
const REASON_MAX: usize = 500;

/// What may be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderKind {
    Start,
    Pause,
    Resume,
    Promote,
    Rollback,
    Switch,
    Retire,
}

/// The body of an order. Which members one may have, the kind says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    reason: String,
    force: Option<bool>,
    target_stage: Option<String>,
    slot: Option<Slot>,
    expected_seq: Option<u64>,
}

/// An order and why it is given.
#[derive(Debug, PartialEq)]
pub(super) struct Order {
    pub(super) command: AdminCommand,
    pub(super) reason: String,
    /// The number of the transition after which it was decided, if it must still be the last.
    pub(super) expected_seq: Option<u64>,
}

impl Order {
    pub(super) fn read(kind: OrderKind, body: &[u8]) -> Result<Order, Problem> {
        let members: Members = serde_json::from_slice(body)
            .map_err(|error| Problem::malformed(format!("the body is not this order's JSON: {error}")))?;
        let Members { reason, force, target_stage, slot, expected_seq } = members;
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_MAX || reason.contains(char::is_control) {
            let detail = format!("reason: 1 to {REASON_MAX} characters, in one line, are needed");
            return Err(Problem::malformed(detail));
        }
        let takes = |name: &str, given: bool, kinds: &[OrderKind]| match given && !kinds.contains(&kind) {
            true => Err(Problem::malformed(format!("{name}: this order does not take it"))),
            false => Ok(()),
        };
        takes("force", force.is_some(), &[OrderKind::Start, OrderKind::Promote, OrderKind::Switch])?;
        takes("target_stage", target_stage.is_some(), &[OrderKind::Rollback])?;
        takes("slot", slot.is_some(), &[OrderKind::Switch, OrderKind::Retire])?;
        let force = force.unwrap_or(false);
        let slot = || slot.ok_or_else(|| Problem::malformed("slot: blue or green is needed"));
        let command = match kind {
            OrderKind::Start => RolloutCommand::Start { force, accept: Vec::new() },
            OrderKind::Pause => RolloutCommand::Pause,
            OrderKind::Resume => RolloutCommand::Resume,
            OrderKind::Promote => RolloutCommand::Promote { force, accept: Vec::new() },
            OrderKind::Rollback => RolloutCommand::Rollback { to: target_stage.map(stage).transpose()? },
            OrderKind::Switch => RolloutCommand::Switch { to: slot()?, force },
            OrderKind::Retire => RolloutCommand::Retire { slot: slot()? },
        };
        Ok(Order { command: AdminCommand::Control(command), reason: reason.to_owned(), expected_seq })
    }
}

fn stage(name: String) -> Result<Stage, Problem> {
    Stage::parse(&name).ok_or_else(|| {
        let names: Vec<&str> = Stage::ALL.into_iter().map(Stage::as_str).collect();
        Problem::malformed(format!("target_stage: {name:?} is no stage; the stages are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: OrderKind, body: &str) -> Result<RolloutCommand, u16> {
        match Order::read(kind, body.as_bytes()) {
            Ok(Order { command: AdminCommand::Control(command), .. }) => Ok(command),
            Ok(other) => panic!("{other:?}"),
            Err(problem) => Err(problem.status.as_u16()),
        }
    }

    #[test]
    fn the_procedures_target_stage_and_the_plans_names_are_understood() {
        for (name, stage) in [
            ("dual_protocol", Stage::DualProtocol),
            ("shadow_mode", Stage::Shadow),
            ("canary", Stage::Canary),
        ] {
            let body = format!(r#"{{"target_stage": "{name}", "reason": "drill"}}"#);
            assert_eq!(read(OrderKind::Rollback, &body), Ok(RolloutCommand::Rollback { to: Some(stage) }));
        }
        let body = r#"{"reason": "drill"}"#;
        assert_eq!(read(OrderKind::Rollback, body), Ok(RolloutCommand::Rollback { to: None }));
    }

    #[test]
    fn any_order_may_name_the_transition_it_was_decided_after() {
        let read =
            |body: &str| Order::read(OrderKind::Pause, body.as_bytes()).map(|order| order.expected_seq);
        assert_eq!(read(r#"{"reason": "x", "expected_seq": 7}"#).unwrap(), Some(7));
        assert_eq!(read(r#"{"reason": "x"}"#).unwrap(), None);
        assert!(read(r#"{"reason": "x", "expected_seq": -1}"#).is_err());
    }

    #[test]
    fn an_order_needs_a_reason_and_only_its_own_members() {
        for (kind, body) in [
            (OrderKind::Pause, "{}"),
            (OrderKind::Pause, r#"{"reason": " "}"#),
            (OrderKind::Pause, r#"{"reason": "a\nb"}"#),
            (OrderKind::Pause, r#"{"reason": "x", "force": true}"#),
            (OrderKind::Pause, r#"{"reason": "x", "unknown": 1}"#),
            (OrderKind::Pause, r#"["x"]"#),
            (OrderKind::Pause, ""),
            (OrderKind::Start, r#"{"reason": "x", "target_stage": "canary"}"#),
            (OrderKind::Rollback, r#"{"reason": "x", "target_stage": "nowhere"}"#),
            (OrderKind::Switch, r#"{"reason": "x"}"#),
            (OrderKind::Retire, r#"{"reason": "x", "slot": "red"}"#),
        ] {
            assert_eq!(read(kind, body), Err(400), "{kind:?} {body}");
        }
        let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(REASON_MAX + 1));
        assert_eq!(read(OrderKind::Pause, &long), Err(400));
    }
}
