//! Receivers of notifications, as the plan file declares them.
//!
//! A receiver's address may be a secret: it is never quoted back. Must not know how anything is sent or run.

use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::table::Table;
use super::value;
use crate::config::diagnostics::InvalidValue;
use crate::rollout::transition::TransitionKind;

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const WORDS_MAX: usize = 64;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a receiver may be notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotifyEvent {
    Transition(TransitionKind),
    /// The end of an operation of a release.
    Release,
    /// A dependency goes down or comes back.
    Dependency,
}

impl NotifyEvent {
    /// Every event by its name.
    fn named() -> Vec<(&'static str, NotifyEvent)> {
        let more = [("release", NotifyEvent::Release), ("dependency", NotifyEvent::Dependency)];
        let transitions = TransitionKind::ALL.into_iter();
        transitions.map(|kind| (kind.as_str(), NotifyEvent::Transition(kind))).chain(more).collect()
    }
}

/// `[[notify]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    /// The events that are sent; all where empty.
    pub(crate) events: Vec<NotifyEvent>,
    pub(crate) channel: Channel,
}

/// How a receiver is notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Channel {
    /// POST of the notification as JSON.
    Generic { url: Secret },
    /// A Slack incoming webhook.
    Slack { url: Secret },
    /// `PagerDuty` Events API v2.
    PagerDuty { url: Secret, routing_key: Secret },
    /// A program that reads the notification as JSON from its input.
    Exec(Program),
}

/// `[[notify]]`, all of them.
pub(super) fn receivers(
    tables: Vec<Table<'_>>,
    folder: &Path,
    environment: &Environment<'_>,
) -> Vec<Receiver> {
    tables.into_iter().filter_map(|table| receiver(table, folder, environment)).collect()
}

fn receiver(mut table: Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<Receiver> {
    let named = NotifyEvent::named();
    let events = table.list("on", named.len(), |text| value::choice(text, &named)).unwrap_or_default();
    let words = ["generic", "slack", "pagerduty", "exec"].map(|word| (word, word));
    let has_kind = table.has("kind");
    let kind = table.text("kind", |text| value::choice(text, &words));
    if !has_kind {
        table.error_missing("kind", "generic, slack, pagerduty or exec");
    }
    let name = table.text("name", word).or_else(|| kind.map(str::to_owned));
    // Every key is read whatever the kind, so that a misplaced one is not called unknown.
    let url = url(&mut table, environment, kind.is_some_and(|kind| kind == "generic" || kind == "slack"));
    let routing_key = secret(&mut table, "routing_key_env", environment);
    let has_exec = table.has("exec");
    let exec = command(&mut table, "exec", folder);
    let channel = match kind {
        Some("generic") => url.map(|url| Channel::Generic { url }),
        Some("slack") => url.map(|url| Channel::Slack { url }),
        Some("pagerduty") => {
            if !table.has("routing_key_env") {
                table.error_missing(
                    "routing_key_env",
                    "the environment variable that holds the integration's key",
                );
            }
            let url = url.unwrap_or(Secret(PAGERDUTY.to_owned()));
            routing_key.map(|routing_key| Channel::PagerDuty { url, routing_key })
        }
        Some(_) => {
            if !has_exec {
                table.error_missing("exec", "as in exec = [\"/usr/local/bin/tell\", \"ops\"]");
            }
            exec.map(Channel::Exec)
        }
        None => None,
    };
    table.finish();
    Some(Receiver { name: name?, events, channel: channel? })
}

/// `url`, or the variable that holds it.
fn url(table: &mut Table<'_>, environment: &Environment<'_>, needed: bool) -> Option<Secret> {
    let web = |text: &str| {
        let web = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic());
        if web && clean {
            Ok(Secret(text.to_owned()))
        } else {
            Err(InvalidValue::new("must begin with http:// or https://, without spaces").secret())
        }
    };
    let named = table.text("url", web);
    let held = secret(table, "url_env", environment);
    if needed && !table.has("url") && !table.has("url_env") {
        let hint =
            "url_env names an environment variable that holds the address, which is a secret with Slack";
        table.error_whole(InvalidValue::new("needs url or url_env").hint(hint));
    }
    if let Some(Secret(text)) = &held
        && let Err(invalid) = web(text)
    {
        table.error("url_env", None, invalid);
    }
    named.or(held)
}

/// The value of the environment variable named under `key`.
fn secret(table: &mut Table<'_>, key: &str, environment: &Environment<'_>) -> Option<Secret> {
    table.text(key, |text| {
        let name = value::variable_name(text)?;
        let held = (environment.variable)(&name).and_then(|value| value.into_string().ok());
        let held = held.filter(|value| !value.is_empty());
        held.map(Secret)
            .ok_or_else(|| InvalidValue::new(format!("the environment variable {name} is not set")))
    })
}

/// A program and its arguments.
pub(super) fn command(table: &mut Table<'_>, key: &str, folder: &Path) -> Option<Program> {
    let words = table.list(key, WORDS_MAX, |text| {
        if text.contains('\0') { Err(InvalidValue::new("must not hold NUL")) } else { Ok(text.to_owned()) }
    })?;
    let mut words = words.into_iter();
    match words.next().filter(|program| !program.is_empty()) {
        // A bare name is looked up in PATH; a path is relative to the file.
        Some(program) => {
            let program = if program.contains('/') { folder.join(program) } else { program.into() };
            Some(Program { program, arguments: words.collect() })
        }
        None => {
            table.error(key, None, InvalidValue::new("needs a program"));
            None
        }
    }
}

/// A name that is shown.
pub(super) fn word(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_graphic();
    if text.is_empty() || text.len() > 128 || !text.bytes().all(plain) {
        return Err(InvalidValue::new("must be 1 to 128 visible ASCII characters without spaces"));
    }
    Ok(text.to_owned())
}

/// A JSON object in a text.
pub(super) fn json_object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, InvalidValue> {
    serde_json::from_str(text)
        .map_err(|_| InvalidValue::new("must be a JSON object").hint("as in '{\"days\": 1}'"))
}
