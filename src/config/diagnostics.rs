//! What is wrong with a configuration: where, which key, which value, why, and what to do about it.
//!
//! Collected, never thrown: an operator fixes a file once, not once per mistake. Must not know what any key means.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Characters of a value that are quoted back.
const SHOWN_CHARS_MAX: usize = 60;
/// Longer than any key we know. What is longer may be a token or a hash that was pasted on the wrong side of the `=`.
const NAME_CHARS_MAX: usize = 40;
const NAME_CHARS_SHOWN: usize = 8;

/// Where in a file a key stands; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One thing that is wrong, or (as a warning) that is unlikely to be meant.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Problem {
    pub(crate) place: Option<Place>,
    /// Dotted path, such as `limits.in_flight`; empty for a file that is not TOML.
    pub(crate) key: String,
    /// The offending value as the file spells it; never present where it could be a secret.
    pub(crate) value: Option<String>,
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}: ", place.file.display(), place.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value} is not allowed; ")?;
        }
        f.write_str(&self.reason)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

/// Why a value is refused: what a parser of one value returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
    /// The value may be a secret and must not be quoted back.
    pub(super) secret: bool,
}

impl Invalid {
    pub(super) fn new(reason: impl Into<String>) -> Invalid {
        Invalid { reason: reason.into(), hint: None, secret: false }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Invalid {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn secret(mut self) -> Invalid {
        self.secret = true;
        self
    }
}

/// The findings on one file, and what is needed to say where each is.
pub(super) struct Report {
    file: PathBuf,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
    /// Byte offset of every key read so far.
    offsets: RefCell<BTreeMap<String, usize>>,
    /// Every key somebody asked for, present or not: what may stand in the file.
    known: RefCell<Vec<String>>,
    unknown: RefCell<Vec<(String, usize)>>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

/// All findings, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        f.write_str(&count(self.problems.len(), "problem"))?;
        if !self.warnings.is_empty() {
            write!(f, ", {}", count(self.warnings.len(), "warning"))?;
        }
        Ok(())
    }
}

impl Report {
    pub(super) fn new(file: &Path, text: &str) -> Report {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Report {
            file: file.to_owned(),
            lines: std::iter::once(0).chain(newlines).collect(),
            offsets: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Something is wrong at a byte of the file rather than with a key (syntax).
    pub(super) fn syntax(&self, offset: Option<usize>, reason: &str) {
        let place = offset.map(|offset| self.place(offset));
        self.problems.borrow_mut().push(Problem {
            place,
            key: String::new(),
            value: None,
            reason: format!("not valid TOML: {reason}"),
            hint: None,
        });
    }

    /// A key is wrong; `value` is quoted unless it may be a secret.
    pub(super) fn problem(&self, key: &str, value: Option<String>, invalid: Invalid) {
        let problem = self.finding(key, value, invalid);
        self.problems.borrow_mut().push(problem);
    }

    /// A key is legal but probably not meant.
    pub(super) fn warn(&self, key: &str, invalid: Invalid) {
        let warning = self.finding(key, None, invalid);
        self.warnings.borrow_mut().push(warning);
    }

    pub(super) fn saw(&self, key: &str, offset: usize) {
        self.offsets.borrow_mut().insert(key.to_owned(), offset);
    }

    /// Whether a key stands in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.offsets.borrow().contains_key(key)
    }

    /// Whether any key below a table stands in the file.
    pub(super) fn has_below(&self, table: &str) -> bool {
        self.offsets
            .borrow()
            .keys()
            .any(|key| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
    }

    pub(super) fn asked(&self, key: String) {
        self.known.borrow_mut().push(key);
    }

    pub(super) fn unknown(&self, key: String, offset: usize) {
        self.unknown.borrow_mut().push((key, offset));
    }

    /// Every key that has been asked for.
    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<String> {
        self.known.borrow().clone()
    }

    /// Ends the collection: unknown keys get their suggestion, and everything is put in the order of the file.
    pub(super) fn finish(self) -> Findings {
        let known = self.known.take();
        for (key, offset) in self.unknown.take() {
            self.saw(&key, offset);
            let mut invalid = Invalid::new("no such key");
            if let Some(meant) = super::suggest::key(&key, &known) {
                invalid = invalid.hint(format!("did you mean {meant}?"));
            }
            self.problem(&key, None, invalid);
        }
        let by_place = |finding: &Problem| finding.place.as_ref().map(|place| (place.line, place.column));
        let mut problems = self.problems.take();
        problems.sort_by_key(by_place);
        let mut warnings = self.warnings.take();
        warnings.sort_by_key(by_place);
        Findings { problems, warnings }
    }

    fn finding(&self, key: &str, value: Option<String>, invalid: Invalid) -> Problem {
        // A key that is missing is pointed at where its table is.
        let offsets = self.offsets.borrow();
        let offset = ancestors(key).find_map(|key| offsets.get(key)).copied();
        Problem {
            place: offset.map(|offset| self.place(offset)),
            key: key.split('.').map(name).collect::<Vec<_>>().join("."),
            value: value.filter(|_| !invalid.secret).map(|value| plain(&value)),
            reason: plain(&invalid.reason),
            hint: invalid.hint.map(|hint| plain(&hint)),
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        Place { file: self.file.clone(), line, column: offset.saturating_sub(start) + 1 }
    }
}

/// A dotted path and the paths of the tables it is in, innermost first.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(table, _)| table))
}

/// One name of a key, fit to be shown.
pub(super) fn name(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some(_) => plain(&name.chars().take(NAME_CHARS_SHOWN).collect::<String>()) + "…",
        None => plain(name),
    }
}

/// Text from a file on its way to a terminal: nothing in it commands the terminal or begins a line.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}

/// A text as it is quoted back: escaped, and cut when long.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}
