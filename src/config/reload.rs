//! `[reload]`: the files and folders whose change makes a running guard reload.
//!
//! Must not know how a change is found, nor what a reload does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::Table;
use super::value;

const PATHS_MAX: usize = 100;

/// `[reload]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    /// None of them need exist.
    pub(crate) paths: Vec<PathBuf>,
    /// Between two looks at them.
    pub(crate) interval: Duration,
}

pub(super) fn reload(mut table: Table<'_>, folder: &Path) -> Watch {
    let watch = Watch {
        paths: table.list("watch", PATHS_MAX, |text| value::path(text, folder)).unwrap_or_default(),
        interval: table.duration(
            "interval",
            Duration::from_millis(100)..=Duration::from_secs(3_600),
            Duration::from_secs(5),
        ),
    };
    table.finish();
    watch
}
