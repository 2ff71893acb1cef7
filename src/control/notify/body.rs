//! The body of a notification: a transition in the format of each channel. Pure.

use serde_json::{Value, json};

use crate::rollout::transition::{Cause, Transition, TransitionKind};

/// The whole transition, and a summary as a sentence.
pub(super) fn generic(transition: &Transition) -> Value {
    json!({
        "event": "mcp_guard.rollout",
        "version": 1,
        "time": time(transition),
        "summary": summary(transition),
        "severity": severity(transition),
        "transition": transition,
    })
}

/// A Slack incoming webhook.
pub(super) fn slack(transition: &Transition) -> Value {
    let mut lines = vec![format!("*mcp-guard* {}", escape(&summary(transition)))];
    if let Some(numbers) = &transition.numbers {
        let side = |name: &str, of: &crate::rollout::observations::Summary| {
            let p95 = of.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.0} ms"));
            format!("{name}: {} calls, {:.1} % errors, p95 {p95}", of.requests, of.error_rate * 100.0)
        };
        lines.push(side("candidate", &numbers.candidate));
        lines.push(side("stable", &numbers.stable));
    }
    json!({ "text": lines.join("\n") })
}

/// `PagerDuty` Events API v2. A rollout is one incident: what follows a rollback is added to it, a completion resolves it.
pub(super) fn pagerduty(transition: &Transition, routing_key: &str) -> Value {
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
            "custom_details": transition,
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
    use super::super::tests::transition;
    use super::*;

    #[test]
    fn every_notification_holds_the_cause_and_the_numbers() {
        let transition = transition();
        let generic = generic(&transition);
        assert_eq!(generic["transition"]["kind"], "rolled_back");
        assert_eq!(generic["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(generic["severity"], "critical");
        let text = slack(&transition)["text"].as_str().unwrap().to_owned();
        assert!(text.contains("canary 5 % -&gt; stable") && text.contains("candidate: 0 calls"), "{text}");
        let page = pagerduty(&transition, "key");
        assert_eq!((&page["event_action"], &page["dedup_key"]), (&"trigger".into(), &"mcp-guard/r1".into()));
        assert_eq!(page["payload"]["severity"], "critical");
        assert!(page["payload"]["summary"].as_str().unwrap().contains("candidate_health"));
    }

    #[test]
    fn a_completion_resolves_the_incident_and_long_summaries_are_cut() {
        let mut transition = transition();
        transition.kind = TransitionKind::Completed;
        transition.cause = Cause::Operator { who: "x".repeat(5_000) };
        let page = pagerduty(&transition, "key");
        assert_eq!(page["event_action"], "resolve");
        assert_eq!(page["payload"]["summary"].as_str().unwrap().len(), 1_024);
    }
}
