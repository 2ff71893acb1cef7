//! Writing for people: lines, tables, errors with their causes. A closed pipe ends the output, not the program.
//!
//! Must not know what is written.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use mcp_host::diagnostics::chain;
use mcp_host::journal::{self, Priority};

/// A line on standard output.
pub(super) fn say(line: impl Display) {
    // `mcp-guard token list | head -1` closes the pipe early; nothing reads an error message.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A line on standard output that stands out where the journal reads it.
pub(super) fn say_at(priority: Priority, line: impl Display) {
    let priority = if journal::reads(io::stdout()) { priority.prefix() } else { "" };
    say(format_args!("{priority}{line}"));
}

/// A line on standard error, with the program's name.
pub(super) fn complain(line: impl Display) {
    let priority = if journal::reads(io::stderr()) { Priority::Error.prefix() } else { "" };
    let _ = writeln!(io::stderr().lock(), "{priority}mcp-guard: {line}");
}

/// An error and everything that caused it, on standard error.
pub(super) fn complain_of(error: &dyn Error) {
    complain(chain(error));
}

/// Rows under a heading, columns as wide as their widest cell.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or_default()
    });
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        say(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(heading);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
}

/// An instant in UTC, from seconds since 1970.
pub(super) fn date(seconds: u64) -> Option<String> {
    let instant = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    Some(instant.to_string())
}

/// Text in the colours of a terminal, plain elsewhere (and when `NO_COLOR` is set).
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    colours: bool,
}

impl Style {
    /// What standard output can show.
    pub(super) fn of_stdout() -> Style {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Style { colours: wanted && io::stdout().is_terminal() }
    }

    /// Whether it has colours.
    #[cfg(feature = "console")]
    pub(super) fn is_coloured(self) -> bool {
        self.colours
    }

    pub(super) fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub(super) fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: impl Display) -> String {
        self.paint("1;31", text)
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}
