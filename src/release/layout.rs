//! Where releases, slots, backups, operations and records lie below `[release] directory`.
//!
//! Must not know what is in the files.

use std::path::{Path, PathBuf};

use super::manifest::ReleaseName;
use crate::upstream::Slot;

/// The directory of everything that surrounds a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Layout {
        Layout { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Held while a command changes anything here.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Installed releases, one directory each. A directory that is being filled has a name that starts with a dot.
    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    pub(crate) fn release(&self, name: &ReleaseName) -> PathBuf {
        self.releases().join(name.as_str())
    }

    pub(crate) fn slot(&self, slot: Slot) -> PathBuf {
        self.root.join("slots").join(slot.as_str())
    }

    /// The link that a slot's unit starts.
    pub(crate) fn current(&self, slot: Slot) -> PathBuf {
        self.slot(slot).join("current")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// The journal of the operation under way; absent between two operations.
    pub(crate) fn operation(&self) -> PathBuf {
        self.root.join("operation.jsonl")
    }

    /// What was found before a standard rollback, one directory each.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// How the service was before and after the latest change.
    pub(crate) fn figures(&self) -> PathBuf {
        self.root.join("figures.json")
    }

    /// What the guard had counted at the beginning of the latest operation, and before traffic moved.
    pub(crate) fn calls(&self, moment: &str) -> PathBuf {
        self.root.join(format!("calls-{moment}.json"))
    }

    /// Records of what was done, `ID.json` and `ID.md`.
    pub(crate) fn incidents(&self) -> PathBuf {
        self.root.join("incidents")
    }
}
