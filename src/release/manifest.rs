//! `release.toml`: what a release is, which files it has, and how it is checked and started.
//!
//! Must not know where releases are installed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// The manifest's file name in a release.
pub(crate) const MANIFEST: &str = "release.toml";
/// What a release says about its slot, where it says something.
pub(crate) const SLOT_SETTINGS: &str = "slot.toml";
/// The generated program that a slot's unit starts; not part of the manifest.
pub(crate) const START: &str = ".start";
/// A manifest with the largest permitted number of files stays below this.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Files of one release: a Python environment has some thousands.
pub(crate) const FILES_MAX: usize = 50_000;
const NAME_BYTES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 512;

/// The name of a release, and of its directory: letters, digits and `. _ + ~ -`, not starting with a sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ReleaseName(String);

impl ReleaseName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ReleaseName {
    type Error = String;

    fn try_from(name: String) -> Result<ReleaseName, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
        let starts_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if starts_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
            return Ok(ReleaseName(name));
        }
        Err(format!(
            "{name:?} is no name of a release: 1 to {NAME_BYTES_MAX} letters, digits and . _ + ~ -, starting with a letter or digit"
        ))
    }
}

impl std::str::FromStr for ReleaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<ReleaseName, String> {
        ReleaseName::try_from(text.to_owned())
    }
}

impl From<ReleaseName> for String {
    fn from(name: ReleaseName) -> String {
        name.0
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of `release.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) name: ReleaseName,
    pub(crate) version: String,
    /// Program and arguments; `{socket}`, `{slot}` and `{release}` are filled in when it starts.
    pub(crate) start: Vec<String>,
    /// Whether the further arguments of the unit follow, such as `$MCP_TOOLS_OPTIONS`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) options: bool,
    /// Whether the program tells the service manager that it serves; otherwise its unit counts as started at once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) sd_notify: bool,
    /// Program and arguments that end with 0 if the release can start here; run before a slot takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) check: Vec<String>,
    /// How many tools it lists, for verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<usize>,
    /// Variables of its process. They are readable by every user: no secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environment: BTreeMap<String, String>,
    /// Every file but this one, by its path. Written by `mcp-guard release pack`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, FileEntry>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FileKeys", into = "FileKeys")]
pub(crate) enum FileEntry {
    Regular {
        /// SHA-256 of the content, in hexadecimal.
        sha256: String,
        executable: bool,
    },
    Link {
        /// What the symbolic link names.
        link: String,
    },
}

/// The same as the file spells it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKeys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    executable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl TryFrom<FileKeys> for FileEntry {
    type Error = &'static str;

    fn try_from(keys: FileKeys) -> Result<FileEntry, &'static str> {
        match keys {
            FileKeys { sha256: Some(sha256), executable, link: None } => {
                Ok(FileEntry::Regular { sha256, executable })
            }
            FileKeys { sha256: None, executable: false, link: Some(link) } => Ok(FileEntry::Link { link }),
            FileKeys { .. } => Err("a file has sha256 and perhaps executable = true, or link"),
        }
    }
}

impl From<FileEntry> for FileKeys {
    fn from(entry: FileEntry) -> FileKeys {
        match entry {
            FileEntry::Regular { sha256, executable } => {
                FileKeys { sha256: Some(sha256), executable, link: None }
            }
            FileEntry::Link { link } => FileKeys { sha256: None, executable: false, link: Some(link) },
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("{MANIFEST}: {0}")]
    Toml(Box<toml::de::Error>),
    #[error("{MANIFEST}: {key}: {reason}")]
    Value { key: String, reason: String },
}

impl Manifest {
    /// Reads and judges the text of a `release.toml`.
    pub(crate) fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| ManifestError::Toml(Box::new(error)))?;
        manifest.judge()?;
        Ok(manifest)
    }

    /// The text of the file.
    pub(crate) fn render(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    fn judge(&self) -> Result<(), ManifestError> {
        let wrong = |key: &str, reason: &str| {
            Err(ManifestError::Value { key: key.to_owned(), reason: reason.to_owned() })
        };
        if self.version.is_empty() || self.version.len() > 128 || self.version.chars().any(char::is_control) {
            return wrong("version", "must be 1 to 128 characters without control characters");
        }
        for (key, command) in [("start", &self.start), ("check", &self.check)] {
            if command.iter().any(|word| word.contains('\0') || word.contains('\n')) {
                return wrong(key, "must not contain line breaks or NUL");
            }
        }
        let Some(program) = self.start.first().filter(|program| !program.is_empty()) else {
            return wrong(
                "start",
                "needs a program, as in [\"bin/mcp-tools\", \"serve\", \"--socket\", \"{socket}\"]",
            );
        };
        if !program.starts_with('/') && !is_plain(program) {
            return wrong("start", "the program is a path inside the release, or an absolute path");
        }
        let variable = |name: &str| {
            !name.is_empty()
                && !name.as_bytes()[0].is_ascii_digit()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        for (name, value) in &self.environment {
            if !variable(name) || value.contains(['\0', '\n']) {
                return wrong(
                    &format!("environment.{name}"),
                    "must be a variable's name, and one line of text",
                );
            }
        }
        if self.files.len() > FILES_MAX {
            return wrong("files", &format!("{} files; at most {FILES_MAX} are allowed", self.files.len()));
        }
        for (path, entry) in &self.files {
            self.judge_file(path, entry)?;
        }
        Ok(())
    }

    fn judge_file(&self, path: &str, entry: &FileEntry) -> Result<(), ManifestError> {
        let wrong = |reason: &str| {
            Err(ManifestError::Value { key: format!("files.{path:?}"), reason: reason.to_owned() })
        };
        if !is_plain(path) {
            return wrong("must be a path inside the release, without . and ..");
        }
        if path == MANIFEST || path == START {
            return wrong("is a file that the release has anyway");
        }
        let ancestors = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        for ancestor in ancestors.filter(|ancestor| !ancestor.is_empty()) {
            if self.files.contains_key(ancestor) {
                return wrong(&format!("lies below {ancestor:?}, which is a file or a link"));
            }
        }
        match entry {
            FileEntry::Regular { sha256, .. } => {
                let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                if sha256.len() != 64 || !sha256.bytes().all(hex) {
                    return wrong("sha256 must be 64 hexadecimal digits in lower case");
                }
            }
            FileEntry::Link { link } => {
                if path == SLOT_SETTINGS {
                    return wrong("must be a file, not a link: the guard reads it");
                }
                if link.is_empty() || link.len() > PATH_BYTES_MAX || link.contains('\0') {
                    return wrong("link must name a file");
                }
                if !link.starts_with('/') && leaves(path, link) {
                    return wrong("a relative link must stay inside the release");
                }
            }
        }
        Ok(())
    }
}

/// Whether a path is relative and names a place below its start.
pub(crate) fn is_plain(path: &str) -> bool {
    let normal = |component: Component<'_>| matches!(component, Component::Normal(_));
    !path.is_empty()
        && path.len() <= PATH_BYTES_MAX
        && !path.contains('\0')
        && !path.ends_with('/')
        && !path.contains("//")
        && Path::new(path).components().all(normal)
        && path.split('/').all(|part| part != "." && part != "..")
}

/// Whether a relative link at `path` leads out of the release.
fn leaves(path: &str, link: &str) -> bool {
    let mut depth = path.split('/').count() as isize - 1;
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

/// The text of the program that a unit starts: it changes to the release, sets its variables and becomes its program.
///
/// `MCP_SLOT` and `MCP_SOCKET` are set by the unit.
pub(crate) fn start_program(manifest: &Manifest) -> String {
    let mut text =
        String::from("#!/bin/sh\n# Written by `mcp-guard release add` from release.toml.\nset -eu\n");
    text.push_str("release=$(CDPATH= cd -P -- \"${0%/*}\" && pwd)\ncd \"$release\"\n");
    if !manifest.sd_notify {
        // The unit waits for this message, also of a program that does not know it.
        text.push_str("[ -z \"${NOTIFY_SOCKET:-}\" ] || systemd-notify --ready\nunset NOTIFY_SOCKET\n");
    }
    for (name, value) in &manifest.environment {
        text.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    text.push_str("exec");
    for (index, word) in manifest.start.iter().enumerate() {
        // Without a slash the shell would search PATH.
        let inside = if index == 0 && !word.starts_with('/') { "./" } else { "" };
        text.push_str(&format!(" {inside}{}", quoted(word)));
    }
    if manifest.options {
        text.push_str(" \"$@\"");
    }
    text.push('\n');
    text
}

/// A word of a shell command: literal but for the placeholders.
fn quoted(word: &str) -> String {
    let literal = format!("'{}'", word.replace('\'', r"'\''"));
    [("{socket}", "MCP_SOCKET"), ("{slot}", "MCP_SLOT"), ("{release}", "release")]
        .into_iter()
        .fold(literal, |text, (placeholder, name)| text.replace(placeholder, &format!("'\"${name}\"'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "name = \"app-1\"\nversion = \"1\"\nstart = [\"bin/app\", \"--socket\", \"{socket}\"]\n";

    #[track_caller]
    fn refused(more: &str, reason: &str) {
        let error = Manifest::parse(&format!("{MINIMAL}{more}")).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn reads_what_it_writes() {
        let text = format!(
            "{MINIMAL}tools = 54\n[environment]\nA = \"b c\"\n[files]\n\"bin/app\" = {{ sha256 = \"{}\", executable = true }}\n\"lib\" = {{ link = \"bin\" }}\n",
            "a".repeat(64)
        );
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(Manifest::parse(&manifest.render().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn refuses_what_leads_out_of_the_release() {
        let sum = "a".repeat(64);
        for path in ["/etc/passwd", "../x", "a/../../x", "./a", "a//b", "a/", "release.toml", ".start"] {
            refused(&format!("[files]\n{path:?} = {{ sha256 = \"{sum}\" }}\n"), "files.");
        }
        refused("[files]\n\"a/b\" = { link = \"../../x\" }\n", "inside the release");
        refused(
            &format!("[files]\na = {{ link = \"/etc\" }}\n\"a/b\" = {{ sha256 = \"{sum}\" }}\n"),
            "lies below \"a\"",
        );
        refused("[files]\na = { sha256 = \"AB\" }\n", "64 hexadecimal digits");
        refused("nonsense = 1\n", "nonsense");
        let name = Manifest::parse("name = \"../x\"\nversion = \"1\"\nstart = [\"a\"]\n").unwrap_err();
        assert!(name.to_string().contains("no name of a release"), "{name}");
    }

    #[test]
    fn the_start_program_quotes_every_word() {
        let text = "name = \"a\"\nversion = \"1\"\nstart = [\"bin/a\", \"it's\", \"$(x)\", \"{socket}/{slot}\"]\noptions = true\n";
        let program = start_program(&Manifest::parse(text).unwrap());
        let exec = program.lines().last().unwrap();
        assert_eq!(exec, r#"exec ./'bin/a' 'it'\''s' '$(x)' ''"$MCP_SOCKET"'/'"$MCP_SLOT"'' "$@""#);
        assert!(program.contains("\nset -eu\n"), "{program}");
        assert!(program.contains("systemd-notify --ready"), "{program}");
        let itself = start_program(&Manifest::parse(&format!("{text}sd_notify = true\n")).unwrap());
        assert!(!itself.contains("NOTIFY"), "{itself}");
    }
}
