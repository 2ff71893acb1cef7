//! The variables of a packaged installation: `/etc/mcp-guard/env`, in the syntax of systemd's `EnvironmentFile=`.
//!
//! The guard reads the file itself, each time it reads its configuration: what the service manager put into the process's
//! environment at its start would survive a reload and an upgrade. Must not know what a variable is for.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::source::{self, ReadError};
use mcp_host::diagnostics::{Diagnostic, Diagnostics, Location};

/// The folder of a packaged configuration. Only there do files count that the configuration does not name.
pub(super) const PACKAGED: &str = "/etc/mcp-guard";
/// Where systemd says that its copies are.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
pub(super) const FILE: &str = "env";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The variables that the file sets. Without a file, the process's own are all there is.
#[derive(Default)]
pub(super) struct EnvFile {
    file: Option<(PathBuf, HashMap<String, String>)>,
    /// Names that the configuration refers to, are set in the process, and are not in the file.
    from_the_start: RefCell<BTreeSet<String>>,
}

impl EnvFile {
    /// The variables that belong to the configuration in this file; packages keep theirs in `packaged`.
    pub(super) fn beside(configuration: &Path, packaged: &Path) -> (EnvFile, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        if !is_folder(source::folder(configuration), packaged) {
            return (EnvFile::default(), diagnostics);
        }
        let path = packaged.join(FILE);
        let text = match source::read(&path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return (EnvFile::default(), diagnostics);
            }
            Err(unreadable) => {
                diagnostics.problems.push(unreadable_for_the_guard(&unreadable));
                return (EnvFile::default(), diagnostics);
            }
        };
        let (variables, ignored) = parse(&text);
        diagnostics.warnings.extend(ignored.into_iter().map(|line| Diagnostic {
            location: Some(Location { file: path.clone(), line: Some(line), column: Some(1) }),
            reason: "this line is not NAME=VALUE and is ignored".to_owned(),
            ..Diagnostic::default()
        }));
        (EnvFile { file: Some((path, variables)), from_the_start: RefCell::default() }, diagnostics)
    }

    /// A variable: the file's, else the process's.
    pub(super) fn variable(
        &self,
        name: &str,
        of_the_process: &dyn Fn(&str) -> Option<OsString>,
    ) -> Option<OsString> {
        let Some((_, variables)) = &self.file else { return of_the_process(name) };
        if let Some(value) = variables.get(name) {
            return Some(value.into());
        }
        let value = of_the_process(name)?;
        if name != CREDENTIALS {
            self.from_the_start.borrow_mut().insert(name.to_owned());
        }
        Some(value)
    }

    /// What an operator may not expect of the variables that it refers to.
    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let Some((path, _)) = &self.file else { return Vec::new() };
        let warning = |name: &String| Diagnostic {
            key: name.clone(),
            reason: format!("is set where the guard was started, not in {}", path.display()),
            hint: Some("a reload does not see a change of it: move it there, or restart".to_owned()),
            ..Diagnostic::default()
        };
        self.from_the_start.borrow().iter().map(warning).collect()
    }
}

/// Whether a folder is the packaged one, under whatever name: relative, or by a link.
pub(super) fn is_folder(folder: &Path, packaged: &Path) -> bool {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder == packaged
        || matches!((here.canonicalize(), packaged.canonicalize()), (Ok(here), Ok(there)) if here == there)
}

/// A file of the packaged configuration that the guard cannot read.
fn unreadable_for_the_guard(unreadable: &ReadError) -> Diagnostic {
    let hint = "mcp-guard reload as root makes it readable for the guard, as the next start does";
    Diagnostic {
        reason: unreadable.to_string(),
        hint: unreadable.is_forbidden().then(|| hint.to_owned()),
        ..Diagnostic::default()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    Comment,
    Name,
    /// Before a value, and between its quoted parts.
    Gap,
    Plain,
    PlainEscape,
    Single,
    Double,
    DoubleEscape,
}

/// The variables, and the numbers of lines that are none.
fn parse(text: &str) -> (HashMap<String, String>, Vec<usize>) {
    let (mut variables, mut ignored) = (HashMap::new(), Vec::new());
    let (mut name, mut value) = (String::new(), String::new());
    let (mut line, mut state) = (1, State::Line);
    // Two newlines end the last value, even behind an escape.
    for letter in text.chars().chain(['\n', '\n']) {
        let ends = letter == '\n';
        state = match state {
            State::Line if letter.is_whitespace() => State::Line,
            State::Line if letter == '#' || letter == ';' => State::Comment,
            State::Line => {
                name = letter.to_string();
                State::Name
            }
            State::Comment => {
                if ends {
                    State::Line
                } else {
                    State::Comment
                }
            }
            State::Name if ends => {
                ignored.push(line);
                State::Line
            }
            State::Name if letter == '=' => {
                value.clear();
                State::Gap
            }
            State::Name => {
                name.push(letter);
                State::Name
            }
            State::Gap | State::Plain if ends => {
                // White space counts inside quotes only, and those do not end here.
                let kept = if state == State::Plain { value.trim_end().len() } else { value.len() };
                value.truncate(kept);
                let name = name.trim_end();
                if is_name(name) {
                    variables.insert(name.to_owned(), std::mem::take(&mut value));
                } else {
                    ignored.push(line);
                }
                State::Line
            }
            State::Gap if letter.is_whitespace() => State::Gap,
            State::Gap if letter == '\'' => State::Single,
            State::Gap if letter == '"' => State::Double,
            State::Gap | State::Plain if letter == '\\' => State::PlainEscape,
            State::Gap | State::Plain => {
                value.push(letter);
                State::Plain
            }
            State::PlainEscape => {
                value.extend((!ends).then_some(letter));
                State::Plain
            }
            State::Single | State::Double | State::DoubleEscape => quoted(state, letter, &mut value),
        };
        line += usize::from(ends);
    }
    if state != State::Line {
        ignored.push(line - 2);
    }
    (variables, ignored)
}

/// One letter of a quoted part.
fn quoted(state: State, letter: char, value: &mut String) -> State {
    match (state, letter) {
        (State::Single, '\'') | (State::Double, '"') => return State::Gap,
        (State::Double, '\\') => return State::DoubleEscape,
        (State::DoubleEscape, '\n') => return State::Double,
        (State::DoubleEscape, '"' | '\\' | '`' | '$') => value.push(letter),
        (State::DoubleEscape, other) => value.extend(['\\', other]),
        (_, letter) => value.push(letter),
    }
    if state == State::DoubleEscape { State::Double } else { state }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[(&str, &str)], ignored: &[usize]) {
        let (variables, lines) = parse(text);
        let mut found: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        found.sort_unstable();
        assert_eq!((found.as_slice(), lines.as_slice()), (expect, ignored), "{text:?}");
    }

    // systemd.exec(5), EnvironmentFile=; each line was compared with what systemd 252 gives a unit.
    #[test]
    fn the_syntax_is_that_of_systemd() {
        check("", &[], &[]);
        check("A=1\nB=2", &[("A", "1"), ("B", "2")], &[]);
        check("# A=1\n; B=2\n  C=3  \n\n", &[("C", "3")], &[]);
        check("A=1 # not a comment", &[("A", "1 # not a comment")], &[]);
        check("A='x y '\nB=\"x\\\"y\\n\"\nC=\"\"", &[("A", "x y "), ("B", "x\"y\\n"), ("C", "")], &[]);
        check("A='1'\"2\"3", &[("A", "123")], &[]);
        check("A=one\\\ntwo\nB=a\\b", &[("A", "onetwo"), ("B", "ab")], &[]);
        check("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")], &[]);
        check("A=1\nA=2", &[("A", "2")], &[]);
        check("export A=1\nnothing\n1A=2\nB=1", &[("B", "1")], &[1, 2, 3]);
        check("A=one\\", &[("A", "one")], &[]);
        check("A=\"open\nB=2", &[], &[2]);
    }

    #[test]
    fn a_line_taken_out_of_the_file_is_gone_at_once() {
        let packaged = tempfile::tempdir().unwrap();
        let configuration = packaged.path().join("guard.toml");
        let process = |name: &str| (name == "TOKEN").then(|| OsString::from("of the process"));
        let read = || {
            let (environment, diagnostics) = EnvFile::beside(&configuration, packaged.path());
            assert_eq!(diagnostics, Diagnostics::default());
            let value = environment.variable("TOKEN", &process).unwrap();
            (value, environment.warnings().len())
        };
        assert_eq!(read(), ("of the process".into(), 0), "without a file there is nothing to say");
        std::fs::write(packaged.path().join("env"), "TOKEN=one").unwrap();
        assert_eq!(read(), ("one".into(), 0));
        std::fs::write(packaged.path().join("env"), "TOKEN=").unwrap();
        assert_eq!(read(), ("".into(), 0));
        std::fs::write(packaged.path().join("env"), "OTHER=two").unwrap();
        assert_eq!(read(), ("of the process".into(), 1), "and that a restart is needed is said");
    }

    #[test]
    fn the_packaged_folder_is_known_under_every_name() {
        let packaged = tempfile::tempdir().unwrap();
        std::fs::write(packaged.path().join("env"), "TOKEN=one").unwrap();
        std::fs::create_dir(packaged.path().join("plan.d")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(packaged.path(), elsewhere.path().join("link")).unwrap();
        for folder in [packaged.path().join("plan.d/.."), elsewhere.path().join("link")] {
            let (environment, _) = EnvFile::beside(&folder.join("guard.toml"), packaged.path());
            assert_eq!(environment.variable("TOKEN", &|_| None), Some("one".into()), "{}", folder.display());
        }
        // A name alone, resolved in the folder itself.
        assert!(is_folder(Path::new(""), &std::env::current_dir().unwrap()));
        assert!(!is_folder(Path::new(""), packaged.path()));
    }

    #[test]
    fn a_configuration_elsewhere_has_no_such_file() {
        let (packaged, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(elsewhere.path().join("env"), "TOKEN=one").unwrap();
        let (environment, _) = EnvFile::beside(&elsewhere.path().join("guard.toml"), packaged.path());
        assert_eq!(environment.variable("TOKEN", &|_| None), None);
    }
}
