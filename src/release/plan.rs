//! An operation as steps: which there are, what is next, and what is undone when one fails.
//!
//! Pure: the journal's entries go in, the next action comes out. Every step, and every undoing, may be performed a second
//! time, because a process can end after the work and before the entry that says so. Must not know how a step is done.

use serde::{Deserialize, Serialize};

use super::manifest::ReleaseName;
use crate::upstream::Slot;

/// One step of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationStep {
    /// Nothing is changed before everything that can be known beforehand is known.
    Preflight,
    /// How the service is before the change: calls, times, tools, restarts.
    Figures,
    /// Logs, metrics, status and configuration as they are now.
    Checkpoint,
    Backup,
    /// The backup's configuration files take the place of the present ones.
    RestoreFiles,
    StopUnit,
    /// The slot takes the release.
    Assign,
    /// The guard reads what the release says about its slot.
    ReloadGuard,
    StartUnit,
    /// Until the slot is healthy.
    Ready,
    Parity,
    /// The slot is asked directly, before it gets traffic.
    Verify,
    /// The switch, or the start of a rollout.
    Traffic,
    /// The service as clients see it, after the switch.
    VerifyService,
    /// A drill makes the slot fail.
    Fail,
    /// A drill ends what it did to the slot.
    Recover,
}

impl OperationStep {
    /// The name in the journal, records and output.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            OperationStep::Preflight => "preflight",
            OperationStep::Figures => "figures",
            OperationStep::Checkpoint => "checkpoint",
            OperationStep::Backup => "backup",
            OperationStep::RestoreFiles => "restore files",
            OperationStep::StopUnit => "stop unit",
            OperationStep::Assign => "assign release",
            OperationStep::ReloadGuard => "reload guard",
            OperationStep::StartUnit => "start unit",
            OperationStep::Ready => "ready",
            OperationStep::Parity => "parity",
            OperationStep::Verify => "verify slot",
            OperationStep::Traffic => "traffic",
            OperationStep::VerifyService => "verify service",
            OperationStep::Fail => "fail slot",
            OperationStep::Recover => "recover slot",
        }
    }

    /// Whether there is anything to undo.
    pub(crate) fn changes_something(self) -> bool {
        match self {
            OperationStep::RestoreFiles
            | OperationStep::StopUnit
            | OperationStep::Assign
            | OperationStep::StartUnit
            | OperationStep::Traffic
            | OperationStep::Fail => true,
            OperationStep::Preflight
            | OperationStep::Figures
            | OperationStep::Checkpoint
            | OperationStep::Backup
            // The guard reads again when the files that it reads are put back.
            | OperationStep::ReloadGuard
            | OperationStep::Ready
            | OperationStep::Parity
            | OperationStep::Verify
            | OperationStep::VerifyService
            | OperationStep::Recover => false,
        }
    }
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Deploy,
    /// The quick way back: the other slot still runs the former release.
    SwitchBack,
    /// The way back where the former release has to be started again.
    Rollback,
    /// The careful way back: with a checkpoint and verification.
    StandardRollback,
    /// Back to the state of a backup, configuration included.
    Restore,
    /// A slot fails on purpose, and recovers.
    Drill,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Deploy => "deploy",
            Kind::SwitchBack => "switch-back",
            Kind::Rollback => "rollback",
            Kind::StandardRollback => "standard-rollback",
            Kind::Restore => "restore",
            Kind::Drill => "drill",
        }
    }

    /// The steps, in order.
    pub(crate) fn steps(self) -> Vec<OperationStep> {
        use OperationStep::{
            Assign, Backup, Checkpoint, Fail, Figures, Parity, Preflight, Ready, Recover, ReloadGuard,
            RestoreFiles, StartUnit, StopUnit, Traffic, Verify, VerifyService,
        };
        let take = [StopUnit, Assign, ReloadGuard, StartUnit, Ready];
        let around = |before: &[OperationStep], after: &[OperationStep]| [before, &take, after].concat();
        match self {
            Kind::Deploy => around(&[Preflight, Figures, Backup], &[Parity, Verify, Traffic, VerifyService]),
            Kind::SwitchBack => vec![Backup, Traffic],
            Kind::Rollback => around(&[Preflight, Backup], &[Traffic]),
            Kind::StandardRollback => {
                around(&[Preflight, Checkpoint, Backup], &[Verify, Traffic, VerifyService])
            }
            Kind::Restore => around(&[Preflight, Backup, RestoreFiles], &[Traffic, VerifyService]),
            Kind::Drill => vec![Preflight, Fail, Recover, Ready, Verify],
        }
    }
}

/// How traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strategy {
    /// All of it at once.
    Switch,
    /// In the stages of the plan.
    Rollout,
}

impl Strategy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Strategy::Switch => "switch",
            Strategy::Rollout => "rollout",
        }
    }
}

/// How a drill makes a slot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// Its unit is stopped.
    Stop,
    /// Its main process is killed; the unit has to come back by itself.
    Kill,
    /// Its main process stands still, with its socket open.
    Hang,
    /// Something else responds at its address, and not as an MCP server does.
    WrongAnswers,
}

/// An operation: everything that is needed to finish or undo it in another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// Its name, and that of its record.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) steps: Vec<OperationStep>,
    /// The slot that is changed.
    pub(crate) slot: Slot,
    /// The slot that served when it began.
    pub(crate) serving: Slot,
    /// What the slot is to run; none leaves it as it is.
    pub(crate) release: Option<ReleaseName>,
    /// What the slot ran before.
    pub(crate) former: Option<ReleaseName>,
    /// Whether the slot's unit was active before.
    pub(crate) was_active: bool,
    /// Whether the unit is enabled, because that of the serving slot is: traffic must find its slot after a reboot.
    #[serde(default)]
    pub(crate) enables_unit: bool,
    pub(crate) strategy: Strategy,
    /// Goes on although the parity gate does not hold.
    pub(crate) force: bool,
    /// The backup whose files are restored.
    #[serde(default)]
    pub(crate) backup: Option<String>,
    /// How the slot of a drill fails.
    #[serde(default)]
    pub(crate) failure: Option<FailureKind>,
    /// When it began, in milliseconds since the epoch.
    pub(crate) began_millis: u64,
    /// Who ordered it.
    pub(crate) who: String,
    pub(crate) reason: Option<String>,
}

/// What happened to a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepEvent {
    Begun,
    Done {
        #[serde(default)]
        notes: Vec<String>,
    },
    Failed {
        why: String,
    },
    UndoBegun,
    Undone {
        #[serde(default)]
        notes: Vec<String>,
    },
    UndoFailed {
        why: String,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Done,
    /// The slot is as it was before.
    Undone,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Undone => "undone",
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Perform(OperationStep),
    Undo(OperationStep),
    End(Outcome),
}

/// Whether an operation goes on or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Finish,
    Undo,
}

/// How far an operation is, from its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    steps: Vec<OperationStep>,
    /// Steps that are done, counted from the first.
    done: usize,
    /// Steps that were begun and are not undone, counted from the first.
    touched: usize,
    /// The first failure, which decides the direction.
    failed: Option<(OperationStep, String)>,
    /// Undoing has begun; an operation that went back does not go forward again.
    going_back: bool,
}

impl Progress {
    pub(crate) fn new(steps: &[OperationStep]) -> Progress {
        Progress { steps: steps.to_vec(), done: 0, touched: 0, failed: None, going_back: false }
    }

    /// Takes in one entry. An entry that fits no step is ignored: the journal may be from another version.
    pub(crate) fn record(&mut self, step: OperationStep, event: &StepEvent) {
        let Some(index) = self.steps.iter().position(|other| *other == step) else { return };
        match event {
            StepEvent::Begun => self.touched = self.touched.max(index + 1),
            StepEvent::Done { .. } => self.done = self.done.max(index + 1),
            StepEvent::Failed { why } => {
                self.failed.get_or_insert_with(|| (step, why.clone()));
            }
            StepEvent::UndoBegun | StepEvent::UndoFailed { .. } => self.going_back = true,
            StepEvent::Undone { .. } => {
                self.going_back = true;
                self.touched = self.touched.min(index);
                self.done = self.done.min(index);
            }
        }
    }

    /// Which way the operation has to go, where only one is left.
    pub(crate) fn forced(&self) -> Option<Direction> {
        (self.going_back || self.failed.is_some()).then_some(Direction::Undo)
    }

    pub(crate) fn failure(&self) -> Option<&(OperationStep, String)> {
        self.failed.as_ref()
    }

    /// The step that was begun and has not ended, if one was.
    pub(crate) fn interrupted(&self) -> Option<OperationStep> {
        (self.touched > self.done).then(|| self.steps[self.touched - 1])
    }

    /// The next action.
    pub(crate) fn next(&self, direction: Direction) -> Action {
        match self.forced().unwrap_or(direction) {
            Direction::Finish => match self.steps.get(self.done) {
                Some(step) => Action::Perform(*step),
                None => Action::End(Outcome::Done),
            },
            Direction::Undo => {
                let touched = &self.steps[..self.touched];
                match touched.iter().rev().find(|step| step.changes_something()) {
                    Some(step) => Action::Undo(*step),
                    None => Action::End(Outcome::Undone),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOVES_TRAFFIC: [Kind; 5] =
        [Kind::Deploy, Kind::SwitchBack, Kind::Rollback, Kind::StandardRollback, Kind::Restore];

    fn kinds() -> Vec<Kind> {
        [MOVES_TRAFFIC.as_slice(), &[Kind::Drill]].concat()
    }

    fn done() -> StepEvent {
        StepEvent::Done { notes: Vec::new() }
    }

    fn undone() -> StepEvent {
        StepEvent::Undone { notes: Vec::new() }
    }

    #[test]
    fn every_step_is_performed_once_and_in_order() {
        for kind in kinds() {
            let mut progress = Progress::new(&kind.steps());
            let mut performed = Vec::new();
            while let Action::Perform(step) = progress.next(Direction::Finish) {
                performed.push(step);
                progress.record(step, &StepEvent::Begun);
                progress.record(step, &done());
            }
            assert_eq!(performed, kind.steps());
            assert_eq!(progress.next(Direction::Finish), Action::End(Outcome::Done));
        }
    }

    #[test]
    fn traffic_moves_after_the_backup_and_after_the_slot_is_ready() {
        for kind in MOVES_TRAFFIC {
            let steps = kind.steps();
            let at = |step: OperationStep| steps.iter().position(|other| *other == step);
            assert!(at(OperationStep::Backup) < at(OperationStep::Traffic), "{kind:?}");
            assert!(
                at(OperationStep::Backup) < at(OperationStep::StopUnit)
                    || at(OperationStep::StopUnit).is_none(),
                "{kind:?}"
            );
            assert!(
                at(OperationStep::Ready) < at(OperationStep::Traffic) || at(OperationStep::Ready).is_none(),
                "{kind:?}"
            );
        }
    }

    proptest! {
        /// A site that is killed anywhere, any number of times, ends either changed as a whole or not at all.
        #[test]
        fn a_killed_operation_is_finished_or_undone_as_a_whole(
            kind in prop::sample::select(kinds()),
            kills in prop::collection::vec((0usize..40, any::<bool>(), any::<bool>()), 0..6),
            fails_at in prop::option::of(0usize..14),
        ) {
            let steps = kind.steps();
            let mut journal: Vec<(OperationStep, StepEvent)> = Vec::new();
            // Whether each step's effect is there.
            let mut world = vec![false; steps.len()];
            let index = |step: OperationStep| steps.iter().position(|other| *other == step).unwrap();
            let mut kills = kills.into_iter();
            let outcome = 'restart: loop {
                let mut progress = Progress::new(&steps);
                for (step, event) in &journal {
                    progress.record(*step, event);
                }
                let (mut left, inside, back) = kills.next().unwrap_or((usize::MAX, false, false));
                let direction = if back { Direction::Undo } else { Direction::Finish };
                loop {
                    let action = progress.next(direction);
                    let mut write = |progress: &mut Progress, step, event: StepEvent| {
                        progress.record(step, &event);
                        journal.push((step, event));
                    };
                    match action {
                        Action::Perform(step) => {
                            write(&mut progress, step, StepEvent::Begun);
                            if left == 0 && !inside { continue 'restart; }
                            if fails_at == Some(index(step)) {
                                world[index(step)] = true;
                                write(&mut progress, step, StepEvent::Failed { why: "no".to_owned() });
                            } else {
                                world[index(step)] = true;
                                if left == 0 { continue 'restart; }
                                write(&mut progress, step, done());
                            }
                        }
                        Action::Undo(step) => {
                            write(&mut progress, step, StepEvent::UndoBegun);
                            if left == 0 && !inside { continue 'restart; }
                            world[index(step)] = false;
                            if left == 0 { continue 'restart; }
                            write(&mut progress, step, undone());
                        }
                        Action::End(outcome) => break 'restart outcome,
                    }
                    left = left.saturating_sub(1);
                }
            };
            for (step, there) in steps.iter().zip(&world) {
                if step.changes_something() {
                    prop_assert_eq!(*there, outcome == Outcome::Done, "{:?} after {:?}", step, outcome);
                }
            }
        }
    }
}
