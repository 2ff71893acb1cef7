//! Diagnostics of a file that an operator writes: location, key, value, reason, hint. A check collects all of them, so
//! that an operator corrects a file once and not once per mistake.
//!
//! Must not know what a key means.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A position in a file. Lines and columns count from 1; a file that cannot be read has neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub column: Option<usize>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// One mistake, or (as a warning) one setting that is unlikely to be intended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    #[serde(rename = "place")]
    pub location: Option<Location>,
    /// Dotted path, such as `limits.in_flight`; empty for a file that is not TOML.
    pub key: String,
    /// The value as the file spells it; never present where it could be a secret.
    pub value: Option<String>,
    pub reason: String,
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value} is not allowed; ")?;
        }
        f.write_str(&self.reason)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

/// All diagnostics of a check. Displays their number; a caller lists them one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    pub problems: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Appends all diagnostics of another check.
    pub fn extend(&mut self, other: Diagnostics) {
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&count(self.problems.len(), "problem"))?;
        match self.warnings.len() {
            0 => Ok(()),
            warnings => write!(f, ", {}", count(warnings, "warning")),
        }
    }
}

/// `1 problem`, `2 problems`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The lines of a text, to turn a byte offset into a location.
#[derive(Debug)]
pub struct Lines {
    file: PathBuf,
    /// Byte offset at which each line starts.
    starts: Vec<usize>,
}

impl Lines {
    pub fn new(file: &Path, text: &str) -> Lines {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { file: file.to_owned(), starts: std::iter::once(0).chain(newlines).collect() }
    }

    pub fn location(&self, offset: usize) -> Location {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = offset.saturating_sub(start) + 1;
        Location { file: self.file.clone(), line: Some(line), column: Some(column) }
    }
}

/// An error and its causes as one line. A cause that the text already ends with is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Text of a file, made safe for a terminal: control characters are escaped, so that none of them commands the terminal
/// or begins a line.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_location_key_value_reason_and_hint() {
        let lines = Lines::new(Path::new("guard.toml"), "[a]\nb = 0\n");
        let mut diagnostic = Diagnostic {
            location: Some(lines.location(4)),
            key: "a.b".to_owned(),
            value: Some("0".to_owned()),
            reason: "must be 1 to 9".to_owned(),
            hint: Some("remove it".to_owned()),
        };
        let text = "guard.toml:2: a.b: 0 is not allowed; must be 1 to 9 (hint: remove it)";
        assert_eq!(diagnostic.to_string(), text);
        diagnostic.location = Some(Location { file: "guard.toml".into(), line: None, column: None });
        (diagnostic.value, diagnostic.hint) = (None, None);
        assert_eq!(diagnostic.to_string(), "guard.toml: a.b: must be 1 to 9");
    }

    #[test]
    fn offsets_become_lines_and_columns() {
        let lines = Lines::new(Path::new("f"), "one\ntwo\n\nfour");
        for (offset, expect) in [(0, (1, 1)), (3, (1, 4)), (4, (2, 1)), (8, (3, 1)), (12, (4, 4))] {
            let Location { line, column, .. } = lines.location(offset);
            assert_eq!((line, column), (Some(expect.0), Some(expect.1)), "{offset}");
        }
    }

    #[test]
    fn diagnostics_display_their_number() {
        let one = || vec![Diagnostic::default()];
        let mut all = Diagnostics { problems: one(), warnings: Vec::new() };
        assert_eq!(all.to_string(), "1 problem");
        all.extend(Diagnostics { problems: one(), warnings: one() });
        assert_eq!(all.to_string(), "2 problems, 1 warning");
    }
}
