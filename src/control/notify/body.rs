//! The body of a notification: a transition in the format of each channel. Pure.

use serde_json::{Value, json};

use crate::rollout::transition::{Cause, Transition, TransitionKind};

/// A transition, and the id of the record that it leads to.
#[derive(Debug)]
pub(in crate::control) struct Notification {
    pub(in crate::control) transition: Transition,
    pub(in crate::control) record: Option<String>,
}

/// The whole transition, and a summary as a sentence.
pub(super) fn generic(notification: &Notification) -> Value {
    let Notification { transition, record } = notification;
    json!({
        "event": "mcp_guard.rollout",
        "version": 1,
        "time": time(transition),
        "summary": summary(transition),
        "severity": severity(transition),
        "transition": transition,
        "incident": record,
    })
}

/// A Slack incoming webhook.
pub(super) fn slack(notification: &Notification) -> Value {
    let Notification { transition, record } = notification;
    let mut lines = vec![format!("*mcp-guard* {}", escape(&summary(transition)))];
    if let Some(numbers) = &transition.numbers {
        let side = |name: &str, of: &crate::rollout::observations::Summary| {
            let p95 = of.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.0} ms"));
            format!("{name}: {} calls, {:.1} % errors, p95 {p95}", of.requests, of.error_rate * 100.0)
        };
        lines.push(side("candidate", &numbers.candidate));
        lines.push(side("stable", &numbers.stable));
    }
    lines.extend(record.as_ref().map(|id| format!("record: {id}")));
    json!({ "text": lines.join("\n") })
}

/// `PagerDuty` Events API v2. A rollout is one incident: what follows a rollback is added to it, a completion resolves it.
pub(super) fn pagerduty(notification: &Notification, routing_key: &str) -> Value {
    let Notification { transition, record } = notification;
    let action = match transition.kind {
        TransitionKind::Completed => "resolve",
        TransitionKind::Started
        | TransitionKind::Advanced
        | TransitionKind::Promoted
        | TransitionKind::Paused
        | TransitionKind::Resumed
        | TransitionKind::RolledBack
        | TransitionKind::Switched
        | TransitionKind::Retired
        | TransitionKind::Noted => "trigger",
    };
    // The API takes at most 1024 characters.
    let summary: String = format!("mcp-guard: {}", summary(transition)).chars().take(1_024).collect();
    let mut details = json!(transition);
    details["incident"] = json!(record);
    json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": format!("mcp-guard/{}", transition.rollout.as_deref().unwrap_or("switch")),
        "payload": {
            "summary": summary,
            "source": "mcp-guard",
            "severity": severity(transition),
            "timestamp": time(transition),
            "component": "rollout",
            "custom_details": details,
        },
    })
}

fn summary(transition: &Transition) -> String {
    match &transition.rollout {
        Some(rollout) => format!("rollout {rollout}: {transition}"),
        None => transition.to_string(),
    }
}

fn severity(transition: &Transition) -> &'static str {
    let by_itself = match transition.cause {
        Cause::Operator { .. } => false,
        Cause::Analysis { .. } | Cause::Trigger { .. } | Cause::Parity { .. } => true,
    };
    match transition.kind {
        TransitionKind::RolledBack if by_itself => "critical",
        TransitionKind::Paused if by_itself => "error",
        TransitionKind::Noted | TransitionKind::RolledBack => "warning",
        TransitionKind::Started
        | TransitionKind::Advanced
        | TransitionKind::Promoted
        | TransitionKind::Paused
        | TransitionKind::Resumed
        | TransitionKind::Completed
        | TransitionKind::Switched
        | TransitionKind::Retired => "info",
    }
}

fn time(transition: &Transition) -> String {
    let millis = i64::try_from(transition.at.millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// Slack's three control characters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::notification;
    use super::*;

    #[test]
    fn every_notification_holds_the_cause_and_the_numbers() {
        let notification = notification();
        let generic = generic(&notification);
        assert_eq!(generic["incident"], "20231114T221320Z-rollout-rollback-2");
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
        let mut notification = notification();
        let transition = &mut notification.transition;
        transition.kind = TransitionKind::Completed;
        transition.cause = Cause::Operator { who: "x".repeat(5_000) };
        let page = pagerduty(&notification, "key");
        assert_eq!(page["event_action"], "resolve");
        assert_eq!(page["payload"]["summary"].as_str().unwrap().len(), 1_024);
    }
}
