//! The keys of `[tool.sql]` beside its statements: texts for errors, settings of the transaction, isolation.
//!
//! Must not know the statements.

use indexmap::IndexMap;

use super::values::Definitions;
use crate::catalogue::file::{IsolationFile, SqlFile};
use crate::database::Isolation;
use crate::handler::template::Template;

/// Settings that mcp-tools itself makes for each transaction, and the key that sets them.
const OWN_SETTINGS: &[(&str, &str)] = &[
    ("statement_timeout", "timeout_ms"),
    ("transaction_isolation", "isolation"),
    ("transaction_read_only", "read_only"),
    ("transaction_deferrable", "isolation"),
    ("timezone", "nothing: times are in UTC"),
    ("datestyle", "nothing: times are ISO 8601"),
];

/// What a call does beside its statements.
pub(crate) struct Options {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) settings: Vec<(String, Template)>,
    /// Texts for the caller, by constraint, `TABLE.COLUMN` or SQLSTATE.
    pub(crate) errors: IndexMap<String, Template>,
    pub(crate) tell_reason: bool,
    pub(crate) log_reason: bool,
}

impl Options {
    /// Takes the keys out of a declaration. Names of parameters that they use are added to `used`.
    pub(super) fn take(
        file: &mut SqlFile,
        definitions: &Definitions,
        used: &mut Vec<String>,
        reasons: &mut Vec<String>,
    ) -> Options {
        let is_known = |name: &str| definitions.has_param(name) || definitions.is_identity(name);
        let mut settings = Vec::new();
        for (name, text) in std::mem::take(&mut file.settings) {
            let key = format!("sql.settings.{name}");
            if let Err(reason) = check_setting(&name) {
                reasons.push(format!("{key}: {reason}"));
            }
            let template = template(&key, &text, is_known, reasons);
            used.extend(template.names().map(str::to_owned));
            settings.push((name, template));
        }
        let mut errors = IndexMap::new();
        for (name, text) in std::mem::take(&mut file.errors) {
            let key = format!("sql.errors.{name}");
            if text.trim().is_empty() {
                reasons.push(format!("{key}: is empty; a model corrects itself by it"));
            }
            errors.insert(name, template(&key, &text, is_known, reasons));
        }
        Options {
            isolation: file.isolation.map(|isolation| match isolation {
                IsolationFile::ReadCommitted => Isolation::ReadCommitted,
                IsolationFile::RepeatableRead => Isolation::RepeatableRead,
                IsolationFile::Serializable => Isolation::Serializable,
            }),
            settings,
            errors,
            tell_reason: file.tell_reason,
            log_reason: file.log_reason,
        }
    }
}

/// A text whose names are all known, or the reasons.
pub(super) fn template(
    key: &str,
    text: &str,
    is_known: impl Fn(&str) -> bool,
    reasons: &mut Vec<String>,
) -> Template {
    let template = Template::parse(text).unwrap_or_else(|reason| {
        reasons.push(format!("{key}: {reason}"));
        Template::default()
    });
    for name in template.names().filter(|name| !is_known(name)) {
        reasons.push(format!("{key}: there is no parameter {name}"));
    }
    template
}

fn check_setting(name: &str) -> Result<(), String> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$');
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && part.chars().all(legal)
    };
    if !name.split('.').all(is_part) {
        return Err("is no name of a setting, such as \"app.user\"".into());
    }
    match OWN_SETTINGS.iter().find(|(own, _)| name.eq_ignore_ascii_case(own)) {
        Some((_, key)) => Err(format!("is set for each call (hint: {key})")),
        None => Ok(()),
    }
}
