//! The record of an operation, made of its journal, so that it says what was done and not what was meant.
//!
//! Must not know how an operation runs, nor how a record is written.

use super::journal::{Recorded, now};
use super::plan::{Kind, Outcome, StepEvent};
use crate::incident::{Figures, Incident, Line, LogExcerpt, Modes};

/// Who may read the records of operations: what they say of the configuration is for root and its group.
pub(crate) const MODES: Modes = Modes { folder: 0o750, file: 0o640 };

/// The record of an operation that has ended.
pub(crate) fn of_operation(
    recorded: &Recorded,
    outcome: Outcome,
    figures: Vec<Figures>,
    logs: Vec<LogExcerpt>,
) -> Incident {
    let operation = &recorded.operation;
    let failure = recorded.progress().failure().map(|(step, why)| format!("{}: {why}", step.as_str()));
    let named = |name: &Option<super::manifest::ReleaseName>| name.as_ref().map(ToString::to_string);
    Incident {
        id: operation.id.clone(),
        kind: operation.kind.as_str().to_owned(),
        outcome: outcome.as_str().to_owned(),
        cause: failure,
        who: operation.who.clone(),
        reason: operation.reason.clone(),
        began: recorded.at.clone(),
        ended: recorded.steps.last().map_or_else(now, |(at, ..)| at.clone()),
        slot: Some(operation.slot.as_str().to_owned()),
        served_before: Some(operation.serving.as_str().to_owned()),
        release: named(&operation.release),
        former_release: named(&operation.former),
        strategy: (operation.kind == Kind::Deploy).then(|| operation.strategy.as_str().to_owned()),
        timeline: recorded.steps.iter().filter_map(line_of).collect(),
        figures,
        notified: Vec::new(),
        picture: None,
        logs,
    }
}

fn line_of((at, step, event): &(String, super::plan::OperationStep, StepEvent)) -> Option<Line> {
    let step = step.as_str();
    let (what, notes) = match event {
        // What was begun is told by how it ended.
        StepEvent::Begun | StepEvent::UndoBegun => return None,
        StepEvent::Done { notes } => (format!("{step}: done"), notes.clone()),
        StepEvent::Failed { why } => (format!("{step}: failed"), vec![why.clone()]),
        StepEvent::Undone { notes } => (format!("{step}: undone"), notes.clone()),
        StepEvent::UndoFailed { why } => (format!("{step}: could not be undone"), vec![why.clone()]),
    };
    Some(Line { at: at.clone(), what, notes })
}
