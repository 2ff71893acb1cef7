//! One catalogue file as text, with its name and the positions of its lines.

use std::path::Path;

use mcp_host::diagnostics::{Diagnostic, Diagnostics, Lines, Location, plain};

/// One catalogue file.
pub(crate) struct Source {
    pub(crate) text: String,
    /// Whether another file includes this one. Such a file includes no further ones.
    pub(crate) included: bool,
    lines: Lines,
}

impl Source {
    pub(crate) fn new(name: impl AsRef<Path>, text: impl Into<String>, included: bool) -> Source {
        let text = text.into();
        let lines = Lines::new(name.as_ref(), &text);
        Source { text, included, lines }
    }

    /// A problem at a byte offset of this file. Tabs and line breaks of a value become spaces.
    pub(crate) fn problem(&self, offset: usize, key: &str, reason: &str) -> Diagnostic {
        let one_line = |text: &str| plain(&text.replace(['\n', '\t'], " "));
        let location = Some(self.lines.location(offset));
        Diagnostic { location, key: one_line(key), reason: one_line(reason), ..Diagnostic::default() }
    }
}

/// Every problem on a line of its own.
pub(crate) fn listed(problems: &Diagnostics) -> String {
    problems.problems.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads a text file; the error is a reason without the file's name.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// The problem of a file that cannot be read.
pub(crate) fn unreadable(path: &Path, reason: String) -> Diagnostic {
    let location = Some(Location { file: path.to_owned(), line: None, column: None });
    Diagnostic { location, key: "file".into(), reason, ..Diagnostic::default() }
}
