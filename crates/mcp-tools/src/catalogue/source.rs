//! Where declarations come from: catalogue files, and the files that they include.
//!
//! Must not know what a declaration means.

use std::path::Path;

use super::Problem;
use super::file::includes;

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

/// Reads a catalogue file and then those that it includes, in their order and relative to its folder. A file that cannot
/// be read becomes a problem at the line that names it.
pub(crate) fn read_catalogue(path: &Path, problems: &mut Vec<Problem>) -> Vec<Source> {
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut named = Vec::new();
    for (line, name) in includes(&source.text) {
        match Source::read(&folder.join(&name)) {
            Ok(source) => named.push(Source { included: true, ..source }),
            Err(Problem { file, reason, .. }) => problems.push(Problem {
                file: source.name.clone(),
                line: Some(line),
                key: "include".into(),
                reason: format!("{file} {reason}"),
            }),
        }
    }
    named.insert(0, source);
    named
}
