//! Reads a catalogue file and the files that it includes.

use std::path::Path;

use mcp_host::diagnostics::Diagnostic;

use super::file::includes;
use super::source::{Source, read_text, unreadable};

/// Reads a catalogue file and then those that it includes, in their order and relative to its folder. An included file
/// that cannot be read is a problem at the line that names it.
pub(crate) fn read_catalogue(path: &Path, problems: &mut Vec<Diagnostic>) -> Vec<Source> {
    let source = match read_text(path) {
        Ok(text) => Source::new(path, text, false).within(path.parent().unwrap_or(Path::new(""))),
        Err(reason) => {
            problems.push(unreadable(path, reason));
            return Vec::new();
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut named = Vec::new();
    for (at, name) in includes(&source.text) {
        let file = folder.join(&name);
        match read_text(&file) {
            Ok(text) => {
                let beside = file.parent().unwrap_or(Path::new(""));
                named.push(Source::new(&file, text, true).within(beside));
            }
            Err(reason) => {
                problems.push(source.problem(at, "include", &format!("{} {reason}", file.display())));
            }
        }
    }
    named.insert(0, source);
    named
}
