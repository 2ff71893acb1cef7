//! The end of an operation: its record, with figures and logs, and the backups that are forgotten.
//!
//! The journal is removed last: a command that is killed before is resumed, and writes the same record again. Must not know the
//! steps.

use super::room::{Done, Failure, Room};
use crate::admin::{AdminCommand, AdminResponse};
use crate::cli::exit::Exit;
use crate::cli::output::{complain, complain_of, say};
use crate::control::{OperationEnd, OperationResult};
use crate::incident::LogExcerpt;
use crate::release::files::Lock;
use crate::release::host::{Host, unexpected};
use crate::release::journal::Journal;
use crate::release::plan::{Direction, Kind, Operation, Outcome};
use crate::release::{backup, calls, record};
use crate::rollout::Timestamp;
use crate::upstream::Slot;

const LOG_LINES: usize = 100;
/// Of a cause, in a notification.
const CAUSE_CHARS_MAX: usize = 4_000;

/// Writes the record and ends the operation, which was asked to go in a direction.
pub(super) fn conclude(
    room: &Room,
    host: &Host<'_>,
    lock: &Lock,
    journal: Journal,
    (outcome, direction): (Outcome, Direction),
) -> Done {
    let operation = &journal.recorded.operation;
    say(format_args!("{} {}", operation.id, outcome.as_str()));
    let figures = calls::conclude(host, operation, outcome);
    let mut record = record::of_operation(&journal.recorded, outcome, figures, logs(host, operation));
    let folder = room.store.layout().incidents();
    record.write(&folder, record::MODES)?;
    // A receiver may look for the record at once, so that is there before.
    record.notified = notify(host, operation, result_of(operation, outcome), record.cause.clone());
    if !record.notified.is_empty() {
        record.write(&folder, record::MODES)?;
        say(format_args!("notified: {}", record.notified.join(", ")));
    }
    let recorded = journal.end()?;
    forget_backups(room, lock);
    say(format_args!("record: {}", recorded.operation.id));
    match (outcome, record.cause) {
        (Outcome::Done, _) => Ok(Exit::Done),
        (Outcome::Undone, Some(cause)) if direction == Direction::Finish => {
            Err(Failure::refused(format!("{cause}\nslot and traffic are as before")))
        }
        (Outcome::Undone, Some(_) | None) => {
            say("slot and traffic are as before");
            Ok(Exit::Done)
        }
    }
}

/// Notifies of an operation that an operator has to look at. It has no record yet.
pub(super) fn tell_stuck(host: &Host<'_>, operation: &Operation, why: String) {
    let _receivers = notify(host, operation, OperationResult::Stuck, Some(why));
}

/// Has the guard notify its receivers, and returns their names.
fn notify(
    host: &Host<'_>,
    operation: &Operation,
    result: OperationResult,
    cause: Option<String>,
) -> Vec<String> {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let end = OperationEnd {
        id: operation.id.clone(),
        kind: operation.kind.as_str().to_owned(),
        result,
        slot: operation.slot,
        release: operation.release.as_ref().map(ToString::to_string),
        // A backend's log may follow.
        cause: cause.map(|cause| cause.chars().take(CAUSE_CHARS_MAX).collect()),
        who: operation.who.clone(),
        reason: operation.reason.clone(),
        ended: Timestamp::from_millis(now),
    };
    let asked = host.guard.ask(&AdminCommand::OperationEnded(Box::new(end))).and_then(|response| {
        if let AdminResponse::Notified(names) = response { Ok(names) } else { Err(unexpected(&response)) }
    });
    asked.unwrap_or_else(|why| {
        complain(format_args!("no receiver is notified: {why}"));
        Vec::new()
    })
}

fn result_of(operation: &Operation, outcome: Outcome) -> OperationResult {
    match (outcome, operation.kind) {
        (Outcome::Undone, _) => OperationResult::Undone,
        (Outcome::Done, Kind::Deploy | Kind::Drill) => OperationResult::Done,
        (Outcome::Done, Kind::SwitchBack | Kind::Rollback | Kind::StandardRollback | Kind::Restore) => {
            OperationResult::WentBack
        }
    }
}

/// Removes backups beyond `release.backups`.
pub(super) fn forget_backups(room: &Room, lock: &Lock) {
    match backup::forget(room.store.layout(), room.settings.backups, lock) {
        Ok(forgotten) => {
            for name in forgotten {
                say(format_args!("backup {name} is removed: beyond release.backups"));
            }
        }
        Err(error) => complain_of(&error),
    }
}

/// The last lines of both slots' units, for the record.
fn logs(host: &Host<'_>, operation: &Operation) -> Vec<LogExcerpt> {
    let excerpt = |slot: Slot| {
        let unit = host.unit(slot).ok()?;
        let lines = unit.journal(LOG_LINES).ok()?.lines().map(str::to_owned).collect();
        Some(LogExcerpt { unit: unit.to_string(), lines })
    };
    [operation.slot, operation.serving].into_iter().filter_map(excerpt).collect()
}
