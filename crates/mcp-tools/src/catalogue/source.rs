//! One catalogue file as text, with its name.
//!
//! Must not know what a declaration means.

use std::path::Path;

use super::problem::Problem;

/// One catalogue file: where it came from, and its text.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Whether another file named it. Such a file includes no further ones.
    pub(crate) included: bool,
}

impl Source {
    /// Reads one file, whatever it is for.
    pub(crate) fn read(path: &Path) -> Result<Source, Problem> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Source { name: path.display().to_string(), text, included: false }),
            Err(error) => Err(Problem::unread(path.display().to_string(), &error)),
        }
    }
}
