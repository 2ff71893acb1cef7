//! Collects the diagnostics of one file, and the keys that are needed to locate them.
//!
//! Must not know what any key means.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use mcp_host::diagnostics::{Diagnostic, Diagnostics, Lines, plain};

/// Characters of a value that are quoted back.
const SHOWN_CHARS_MAX: usize = 60;
/// Longer than any key we know. What is longer may be a token or a hash that was pasted on the wrong side of the `=`.
const NAME_CHARS_MAX: usize = 40;
const NAME_CHARS_SHOWN: usize = 8;

/// Why a value is refused: the error of a parser of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvalidValue {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
    /// The value may be a secret and must not be quoted back.
    pub(super) secret: bool,
}

impl InvalidValue {
    pub(super) fn new(reason: impl Into<String>) -> InvalidValue {
        InvalidValue { reason: reason.into(), hint: None, secret: false }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> InvalidValue {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn secret(mut self) -> InvalidValue {
        self.secret = true;
        self
    }
}

/// The diagnostics of one file so far.
pub(super) struct DiagnosticSink {
    lines: Lines,
    /// Byte offset of every key read so far.
    offsets: RefCell<BTreeMap<String, usize>>,
    /// Every key that a reader has looked up, present or not: the keys that may stand in the file.
    known: RefCell<Vec<String>>,
    unknown: RefCell<Vec<(String, usize)>>,
    /// The variable that has set a key in place of the file.
    overrides: RefCell<BTreeMap<String, String>>,
    found: RefCell<Diagnostics>,
}

impl DiagnosticSink {
    pub(super) fn new(file: &Path, text: &str) -> DiagnosticSink {
        DiagnosticSink {
            lines: Lines::new(file, text),
            offsets: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            overrides: RefCell::default(),
            found: RefCell::default(),
        }
    }

    /// Records a mistake at a byte of the file rather than at a key.
    pub(super) fn syntax(&self, offset: Option<usize>, reason: &str) {
        self.found.borrow_mut().problems.push(Diagnostic {
            location: offset.map(|offset| self.lines.location(offset)),
            reason: format!("not valid TOML: {reason}"),
            ..Diagnostic::default()
        });
    }

    /// Records that a key is wrong; `value` is quoted unless it may be a secret.
    pub(super) fn error(&self, key: &str, value: Option<String>, invalid: InvalidValue) {
        let problem = self.diagnostic(key, value, invalid);
        self.found.borrow_mut().problems.push(problem);
    }

    /// Records that a key is legal but probably not intended.
    pub(super) fn warn(&self, key: &str, invalid: InvalidValue) {
        let warning = self.diagnostic(key, None, invalid);
        self.found.borrow_mut().warnings.push(warning);
    }

    pub(super) fn record_span(&self, key: &str, offset: usize) {
        self.offsets.borrow_mut().insert(key.to_owned(), offset);
    }

    /// Records that a variable has set a key: the key has no place in the file.
    pub(super) fn record_override(&self, key: &str, variable: &str) {
        self.overrides.borrow_mut().insert(key.to_owned(), variable.to_owned());
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

    pub(super) fn record_known(&self, key: String) {
        self.known.borrow_mut().push(key);
    }

    pub(super) fn record_unknown(&self, key: String, offset: usize) {
        self.unknown.borrow_mut().push((key, offset));
    }

    /// Every key that a reader has looked up.
    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<String> {
        self.known.borrow().clone()
    }

    /// Ends the collection: unknown keys get their suggestion, and the order becomes that of the file.
    pub(super) fn finish(self) -> Diagnostics {
        let known = self.known.take();
        for (key, offset) in self.unknown.take() {
            self.record_span(&key, offset);
            let mut invalid = InvalidValue::new("no such key");
            if let Some(meant) = super::suggest::key(&key, &known) {
                invalid = invalid.hint(format!("did you mean {meant}?"));
            }
            self.error(&key, None, invalid);
        }
        let mut found = self.found.take();
        for diagnostics in [&mut found.problems, &mut found.warnings] {
            diagnostics.sort_by_key(|found| found.location.as_ref().map(|at| (at.line, at.column)));
        }
        found
    }

    fn diagnostic(&self, key: &str, value: Option<String>, invalid: InvalidValue) -> Diagnostic {
        // A missing key has the location of its table.
        let offsets = self.offsets.borrow();
        let overrides = self.overrides.borrow();
        let variable = overrides.get(key);
        let offset = ancestors(key).find_map(|key| offsets.get(key)).filter(|_| variable.is_none()).copied();
        let shown = key.split('.').map(name).collect::<Vec<_>>().join(".");
        Diagnostic {
            location: offset.map(|offset| self.lines.location(offset)),
            key: variable.map_or(shown.clone(), |variable| format!("{shown} ({variable})")),
            value: value.filter(|_| !invalid.secret).map(|value| plain(&value)),
            reason: plain(&invalid.reason),
            hint: invalid.hint.map(|hint| plain(&hint)),
        }
    }
}

/// A dotted path and the paths of its tables, innermost first.
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

/// A quoted text: escaped, and cut when long.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}
