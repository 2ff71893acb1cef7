//! The body of a notification in the format of each channel. Pure.

mod notice;

use serde_json::{Value, json};

use self::notice::{Alarm, Notice};
use crate::control::notification::Notification;

/// All of it, and a summary as a sentence.
pub(super) fn generic(notification: &Notification) -> Value {
    let Notice { component, text, severity, time, details, record, .. } = Notice::of(notification);
    let mut body = json!({
        "event": format!("mcp_guard.{component}"),
        "version": 1,
        "time": time,
        "summary": text,
        "severity": severity,
        "incident": record,
    });
    body[details.0] = details.1;
    body
}

/// A Slack incoming webhook.
pub(super) fn slack(notification: &Notification) -> Value {
    let Notice { text, lines, record, .. } = Notice::of(notification);
    let first = format!("*mcp-guard* {}", escape(&text));
    let last = record.map(|id| format!("record: {id}"));
    let lines = lines.into_iter().map(|line| escape(&line));
    json!({ "text": std::iter::once(first).chain(lines).chain(last).collect::<Vec<_>>().join("\n") })
}

/// `PagerDuty` Events API v2. A rollout, an operation and a dependency are one incident each: what follows is added to it, and a
/// good end resolves it.
pub(super) fn pagerduty(notification: &Notification, routing_key: &str) -> Value {
    let Notice { component, text, severity, time, details, record, alarm, subject, .. } =
        Notice::of(notification);
    let action = match alarm {
        Alarm::Trigger => "trigger",
        Alarm::Resolve => "resolve",
    };
    // The API takes at most 1024 characters.
    let summary: String = format!("mcp-guard: {text}").chars().take(1_024).collect();
    let mut custom = details.1;
    custom["incident"] = json!(record);
    json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": format!("mcp-guard/{subject}"),
        "payload": {
            "summary": summary,
            "source": "mcp-guard",
            "severity": severity,
            "timestamp": time,
            "component": component,
            "custom_details": custom,
        },
    })
}

/// Slack's three control characters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{notification, transition};
    use super::*;
    use crate::control::notification::{DependencyChange, DependencyTurn, OperationEnd, OperationResult};
    use crate::rollout::Timestamp;
    use crate::rollout::transition::{Cause, TransitionKind};
    use crate::upstream::Slot;

    fn at() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn operation(result: OperationResult, cause: Option<&str>) -> Notification {
        Notification::Operation(OperationEnd {
            id: "20231114T221320Z-deploy".to_owned(),
            kind: "deploy".to_owned(),
            result,
            slot: Slot::Green,
            release: Some("orders-1.4".to_owned()),
            cause: cause.map(str::to_owned),
            who: "ada (uid 0)".to_owned(),
            reason: Some("<new> search".to_owned()),
            ended: at(),
        })
    }

    fn dependency(required: bool, to: DependencyTurn) -> Notification {
        let (name, slot) = ("database".to_owned(), Some(Slot::Blue));
        Notification::Dependency(DependencyChange { name, slot, required, to, at: at() })
    }

    #[test]
    fn every_notification_holds_the_cause_and_the_numbers() {
        let notification = notification();
        let generic = generic(&notification);
        assert_eq!(generic["incident"], "20231114T221320Z-rollout-rollback-2");
        assert_eq!((&generic["event"], &generic["version"]), (&"mcp_guard.rollout".into(), &1.into()));
        assert_eq!(generic["transition"]["kind"], "rolled_back");
        assert_eq!(generic["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(generic["severity"], "critical");
        let text = slack(&notification)["text"].as_str().unwrap().to_owned();
        assert!(
            text.contains("canary 5 % -&gt; stable")
                && text.ends_with("\nrecord: 20231114T221320Z-rollout-rollback-2")
                && text.contains("candidate: 0 calls"),
            "{text}"
        );
        let page = pagerduty(&notification, "key");
        assert_eq!((&page["event_action"], &page["dedup_key"]), (&"trigger".into(), &"mcp-guard/r1".into()));
        assert_eq!(page["payload"]["severity"], "critical");
        assert_eq!(page["payload"]["custom_details"]["incident"], "20231114T221320Z-rollout-rollback-2");
        assert_eq!(page["payload"]["custom_details"]["kind"], "rolled_back");
        assert!(page["payload"]["summary"].as_str().unwrap().contains("candidate_health"));
    }

    #[test]
    fn a_completion_resolves_the_incident_and_long_summaries_are_cut() {
        let mut transition = transition();
        transition.kind = TransitionKind::Completed;
        transition.cause = Cause::Operator { who: "x".repeat(5_000) };
        let page = pagerduty(&Notification::Transition { transition, record: None }, "key");
        assert_eq!(page["event_action"], "resolve");
        assert_eq!(page["payload"]["summary"].as_str().unwrap().len(), 1_024);
    }

    #[test]
    fn the_notification_of_an_operation_has_the_id_of_its_record() {
        let id = "20231114T221320Z-deploy";
        let undone = operation(OperationResult::Undone, Some("ready: not ready within 60 s\nlog"));
        let generic = generic(&undone);
        assert_eq!((&generic["event"], &generic["severity"]), (&"mcp_guard.release".into(), &"error".into()));
        assert_eq!((&generic["incident"], &generic["operation"]["id"]), (&id.into(), &id.into()));
        assert_eq!(generic["operation"]["result"], "undone");
        assert_eq!(
            slack(&undone)["text"],
            format!(
                "*mcp-guard* deploy of orders-1.4 to slot green by ada (uid 0) failed and was undone: ready: not ready within 60 s\n\
                 reason: &lt;new&gt; search\nrecord: {id}"
            )
        );
        let page = pagerduty(&undone, "key");
        assert_eq!(
            (&page["event_action"], &page["payload"]["component"]),
            (&"trigger".into(), &"release".into())
        );
        assert_eq!(page["payload"]["custom_details"]["incident"], id);
        let done = pagerduty(&operation(OperationResult::Done, None), "key");
        assert_eq!(done["event_action"], "resolve");
        assert_eq!(
            (&done["dedup_key"], &page["dedup_key"]),
            (&format!("mcp-guard/{id}").into(), &done["dedup_key"])
        );
        assert_eq!(
            pagerduty(&operation(OperationResult::Stuck, None), "key")["payload"]["severity"],
            "critical"
        );
    }

    #[test]
    fn a_dependency_that_comes_back_resolves_what_its_end_triggered() {
        let down = dependency(true, DependencyTurn::Down { reason: "refused".to_owned() });
        let up = dependency(true, DependencyTurn::Up { down_seconds: 70 });
        let page = pagerduty(&down, "key");
        assert_eq!(
            (&page["event_action"], &page["payload"]["severity"]),
            (&"trigger".into(), &"critical".into())
        );
        let back = pagerduty(&up, "key");
        assert_eq!((&back["event_action"], &back["dedup_key"]), (&"resolve".into(), &page["dedup_key"]));
        assert_eq!(page["dedup_key"], "mcp-guard/dependency/database/blue");
        let shown = generic(&down);
        assert_eq!(shown["event"], "mcp_guard.dependency");
        assert_eq!(
            (&shown["dependency"]["state"], &shown["dependency"]["reason"]),
            (&"down".into(), &"refused".into())
        );
        assert_eq!(slack(&up)["text"], "*mcp-guard* dependency database (slot blue) is up again after 70 s");
        let optional = dependency(false, DependencyTurn::Down { reason: "refused".to_owned() });
        assert_eq!(generic(&optional)["severity"], "warning");
    }
}
