//! What every format says of a notification: a sentence, how serious it is, and what it is about. Pure.

use serde_json::{Value, json};

use crate::control::notification::{
    DependencyChange, DependencyTurn, Notification, OperationEnd, OperationResult,
};
use crate::rollout::Timestamp;
use crate::rollout::observations::Summary as Observed;
use crate::rollout::transition::{Cause, Transition, TransitionKind};

/// A notification before it has a format.
pub(super) struct Notice<'n> {
    /// The part of the guard that it comes from.
    pub(super) component: &'static str,
    pub(super) text: String,
    /// What a chat shows below the text.
    pub(super) lines: Vec<String>,
    pub(super) severity: &'static str,
    pub(super) alarm: Alarm,
    pub(super) time: String,
    /// What notifications of the same thing have in common.
    pub(super) subject: String,
    /// All that is known, by its name.
    pub(super) details: (&'static str, Value),
    pub(super) record: Option<&'n str>,
}

/// Whether it begins an incident or ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Trigger,
    Resolve,
}

impl Notice<'_> {
    pub(super) fn of(notification: &Notification) -> Notice<'_> {
        match notification {
            Notification::Transition { transition, record } => of_transition(transition, record.as_deref()),
            Notification::Operation(operation) => of_operation(operation),
            Notification::Dependency(change) => of_dependency(change),
        }
    }
}

fn of_transition<'n>(transition: &Transition, record: Option<&'n str>) -> Notice<'n> {
    let lines = transition.numbers.map_or_else(Vec::new, |numbers| {
        let side = |name: &str, of: Observed| {
            let p95 = of.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.0} ms"));
            format!("{name}: {} calls, {:.1} % errors, p95 {p95}", of.requests, of.error_rate * 100.0)
        };
        vec![side("candidate", numbers.candidate), side("stable", numbers.stable)]
    });
    Notice {
        component: "rollout",
        text: match &transition.rollout {
            Some(rollout) => format!("rollout {rollout}: {transition}"),
            None => transition.to_string(),
        },
        lines,
        severity: severity(transition),
        alarm: if transition.kind == TransitionKind::Completed { Alarm::Resolve } else { Alarm::Trigger },
        time: time(transition.at),
        subject: transition.rollout.clone().unwrap_or_else(|| "switch".to_owned()),
        details: ("transition", json!(transition)),
        record,
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

fn of_operation(operation: &OperationEnd) -> Notice<'_> {
    let OperationEnd { id, kind, result, slot, release, cause, who, reason, ended } = operation;
    let (what, severity, alarm) = match result {
        // It ends the incident that its own interruption began.
        OperationResult::Done => ("is done", "info", Alarm::Resolve),
        OperationResult::WentBack => ("is done", "warning", Alarm::Trigger),
        OperationResult::Undone if cause.is_some() => ("failed and was undone", "error", Alarm::Trigger),
        OperationResult::Undone => ("was undone", "warning", Alarm::Trigger),
        OperationResult::Stuck => ("is stuck, an operator has to look at it", "critical", Alarm::Trigger),
    };
    let release = release.as_ref().map_or_else(String::new, |release| format!(" of {release}"));
    // The lines after the first are a log.
    let why = cause.as_ref().and_then(|cause| cause.lines().next());
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Notice {
        component: "release",
        text: format!("{kind}{release} to slot {} by {who} {what}{why}", slot.as_str()),
        lines: reason.iter().map(|reason| format!("reason: {reason}")).collect(),
        severity,
        alarm,
        time: time(*ended),
        subject: id.clone(),
        details: ("operation", json!(operation)),
        record: Some(id),
    }
}

fn of_dependency(change: &DependencyChange) -> Notice<'_> {
    let DependencyChange { name, slot, required, to, at } = change;
    let at_slot = slot.map_or_else(String::new, |slot| format!(" (slot {})", slot.as_str()));
    let (text, severity, alarm) = match to {
        DependencyTurn::Down { reason } => {
            let (what, severity) =
                if *required { ("down (required)", "critical") } else { ("down", "warning") };
            (format!("dependency {name}{at_slot} is {what}: {reason}"), severity, Alarm::Trigger)
        }
        DependencyTurn::Up { down_seconds } => {
            (format!("dependency {name}{at_slot} is up again after {down_seconds} s"), "info", Alarm::Resolve)
        }
    };
    let place = slot.map_or_else(String::new, |slot| format!("/{}", slot.as_str()));
    Notice {
        component: "dependency",
        text,
        lines: Vec::new(),
        severity,
        alarm,
        time: time(*at),
        subject: format!("dependency/{name}{place}"),
        details: ("dependency", json!(change)),
        record: None,
    }
}

fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map(|time| format!("{time:.3}")).unwrap_or_default()
}
