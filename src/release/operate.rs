//! Carries out an operation step by step, forwards or back, and writes the journal around each step.
//!
//! Must not know what a step does: that is a `Site`'s.

use super::journal::{Journal, JournalError};
use super::plan::{Action, Direction, Operation, OperationStep, Outcome, StepEvent};

/// Where steps are performed: a host with units and a running guard.
pub(crate) trait Site {
    /// Performs a step, also one that was performed already. Returns facts for the record.
    fn perform(&mut self, step: OperationStep, operation: &Operation) -> Result<Vec<String>, String>;
    /// Undoes a step, also one that was undone already or only begun.
    fn undo(&mut self, step: OperationStep, operation: &Operation) -> Result<Vec<String>, String>;
    /// Tells the operator what happens.
    fn tell(&mut self, step: OperationStep, event: &StepEvent);
}

/// How an operation was left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ended(Outcome),
    /// A step could not be undone; the journal stays.
    Stuck {
        step: OperationStep,
        why: String,
    },
}

/// Goes on until the operation has ended. After a failed step it goes back.
pub(crate) fn operate(
    journal: &mut Journal,
    site: &mut dyn Site,
    direction: Direction,
) -> Result<Ending, JournalError> {
    let operation = journal.recorded.operation.clone();
    loop {
        match journal.recorded.progress().next(direction) {
            Action::Perform(step) => {
                write(journal, site, step, StepEvent::Begun)?;
                let event = match site.perform(step, &operation) {
                    Ok(notes) => StepEvent::Done { notes },
                    Err(why) => StepEvent::Failed { why },
                };
                write(journal, site, step, event)?;
            }
            Action::Undo(step) => {
                write(journal, site, step, StepEvent::UndoBegun)?;
                match site.undo(step, &operation) {
                    Ok(notes) => write(journal, site, step, StepEvent::Undone { notes })?,
                    Err(why) => {
                        write(journal, site, step, StepEvent::UndoFailed { why: why.clone() })?;
                        return Ok(Ending::Stuck { step, why });
                    }
                }
            }
            Action::End(outcome) => return Ok(Ending::Ended(outcome)),
        }
    }
}

fn write(
    journal: &mut Journal,
    site: &mut dyn Site,
    step: OperationStep,
    event: StepEvent,
) -> Result<(), JournalError> {
    site.tell(step, &event);
    journal.write(step, event)
}
