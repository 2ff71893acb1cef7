//! Reads a catalogue file and the files that it includes.

use std::path::Path;

use super::file::includes;
use super::problem::Problem;
use super::source::Source;

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
