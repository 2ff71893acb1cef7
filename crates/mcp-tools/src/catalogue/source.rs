//! One catalogue file as text, with its name and the positions of its lines.

use std::path::{Path, PathBuf};

use mcp_host::diagnostics::{Diagnostic, Diagnostics, Lines, Location, plain};

/// One catalogue file.
pub(crate) struct Source {
    pub(crate) text: String,
    /// Whether another file includes this one. Such a file includes no further ones.
    pub(crate) included: bool,
    lines: Lines,
    origin: Origin,
}

/// Where the text comes from, and with it what stands beside it.
enum Origin {
    /// Only a text.
    Text,
    /// Compiled in, with the one text file that the built-in catalogue names.
    Builtin {
        instructions: &'static str,
    },
    Folder(PathBuf),
}

impl Source {
    pub(crate) fn new(name: impl AsRef<Path>, text: impl Into<String>, included: bool) -> Source {
        let text = text.into();
        let lines = Lines::new(name.as_ref(), &text);
        Source { text, included, lines, origin: Origin::Text }
    }

    /// The same text as a part of the built-in catalogue.
    pub(crate) fn builtin(self, instructions: &'static str) -> Source {
        Source { origin: Origin::Builtin { instructions }, ..self }
    }

    /// The same text as a file of this folder.
    pub(crate) fn within(self, folder: &Path) -> Source {
        Source { origin: Origin::Folder(folder.to_owned()), ..self }
    }

    pub(crate) fn is_builtin(&self) -> bool {
        matches!(self.origin, Origin::Builtin { .. })
    }

    /// The folder that relative paths of this file start from.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Folder(folder) => Some(folder),
            Origin::Text | Origin::Builtin { .. } => None,
        }
    }

    /// Reads the text file that this one names; the error is a reason.
    pub(crate) fn read_beside(&self, name: &str) -> Result<String, String> {
        match &self.origin {
            Origin::Folder(folder) => {
                let path = folder.join(name);
                read_text(&path).map_err(|reason| format!("{} {reason}", path.display()))
            }
            Origin::Builtin { instructions } => Ok((*instructions).to_owned()),
            Origin::Text => Err(format!("{name} cannot be read: the catalogue is not in a folder")),
        }
    }

    pub(crate) fn location(&self, offset: usize) -> Location {
        self.lines.location(offset)
    }

    /// A problem at a byte offset of this file. Tabs and line breaks of a value become spaces.
    pub(crate) fn problem(&self, offset: usize, key: &str, reason: &str) -> Diagnostic {
        let one_line = |text: &str| plain(&text.replace(['\n', '\t'], " "));
        let location = Some(self.location(offset));
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
