//! Problems of a catalogue: file, line, key and reason, all of them at once.

use std::fmt;

/// One thing that is wrong with a catalogue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
    pub(crate) key: String,
    pub(crate) reason: String,
}

impl Problem {
    pub(crate) fn unread(file: String, error: &std::io::Error) -> Problem {
        Problem { file, line: None, key: "file".into(), reason: format!("cannot be read: {error}") }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        write!(out, ": {}: {}", self.key, self.reason)
    }
}

/// Every problem found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, file: &str, line: usize, key: String, reason: String) {
        let (key, reason) = (plain(&key), plain(&reason));
        self.0.push(Problem { file: file.to_owned(), line: Some(line), key, reason });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_result<T>(self, built: impl FnOnce() -> T) -> Result<T, Problems> {
        if self.0.is_empty() { Ok(built()) } else { Err(self) }
    }

    /// `1 problem`, `2 problems`.
    pub(crate) fn counted(&self) -> String {
        counted(self.0.len())
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Problems {
        Problems(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `1 problem`, `2 problems`.
pub(crate) fn counted(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

/// Text of a file, made safe for a terminal: no control characters and no line breaks.
fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => String::from(' '),
        _ if c.is_control() => c.escape_default().collect(),
        _ => String::from(c),
    };
    text.chars().map(shown).collect()
}
