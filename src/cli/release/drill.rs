//! `release drill`: builds the operation that lets a slot fail.

use clap::Args;

use super::operation;
use super::room::{Done, Failure, Room};
use crate::cli::guard::Guard;
use crate::cli::slots::slot;
use crate::release::plan::{FailureKind, Kind};
use crate::upstream::Slot;

#[derive(Debug, Args)]
pub(super) struct DrillArgs {
    /// How the slot fails.
    #[arg(long, value_name = "KIND", default_value = "stop")]
    kind: FailureKind,
    /// The slot; otherwise the one that does not serve.
    #[arg(long, value_name = "SLOT", value_parser = slot)]
    slot: Option<Slot>,
    /// Also the slot that serves: calls may fail.
    #[arg(long, requires = "slot")]
    yes_it_serves: bool,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
}

impl DrillArgs {
    pub(super) fn run(self, room: &Room, guard: &Guard) -> Done {
        let lock = room.lock()?;
        operation::nothing_interrupted(room)?;
        let mut drill = operation::begin(room, guard, Kind::Drill, self.reason)?;
        if let Some(slot) = self.slot {
            drill.slot = slot;
        }
        if drill.slot == drill.serving && !self.yes_it_serves {
            return Err(Failure::refused(format!(
                "slot {} serves; nothing was touched (hint: --yes-it-serves lets it fail all the same)",
                drill.slot.as_str()
            )));
        }
        drill.release = room.store.current(drill.slot)?;
        drill.former.clone_from(&drill.release);
        drill.failure = Some(self.kind);
        operation::start(room, guard, &lock, drill)
    }
}
