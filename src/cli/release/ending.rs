//! The end of an operation: its record, with figures and logs, and the backups that are forgotten.
//!
//! The journal is removed last: a command that is killed before is resumed, and writes the same record again. Must not know the
//! steps.

use super::room::{Done, Failure, Room};
use crate::cli::exit::Exit;
use crate::cli::output::{complain_of, say};
use crate::incident::LogExcerpt;
use crate::release::files::Lock;
use crate::release::host::Host;
use crate::release::journal::Journal;
use crate::release::plan::{Direction, Operation, Outcome};
use crate::release::{backup, calls, record};
use crate::upstream::Slot;

const LOG_LINES: usize = 100;

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
    let record = record::of_operation(&journal.recorded, outcome, figures, logs(host, operation));
    record.write(&room.store.layout().incidents(), record::MODES)?;
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
