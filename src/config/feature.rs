//! Features: what an operator may switch off while the guard runs, and what that makes of a configuration.
//!
//! A name such as `tool:jobs_*` or `shadow` stands for one. Must not know where the switches are stored, nor who may set them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::model::{Config, MaxVersionSetting};
use crate::policy::SwitchedOff;
use crate::policy::tools::{NAME_BYTES_MAX, Pattern};

/// What may be off at a time.
pub(crate) const OFF_MAX: usize = 200;
const HINT: &str = "tool:NAME-or-pattern, client:NAME, route:NAME, shadow or era-fence";

/// One feature, by its name on the command line and in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Feature {
    /// Every tool whose name matches.
    Tool(String),
    Client(String),
    Route(String),
    /// Copies of calls to the candidate in a shadow stage.
    Shadow,
    /// The cap on protocol versions during a rollout.
    EraFence,
}

/// A text that names no feature.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FeatureError {
    #[error("`{0}` is no feature (hint: {HINT})")]
    Unknown(String),
    #[error("the name of a {0} must have 1 to {NAME_BYTES_MAX} bytes, and none that does not print")]
    Name(&'static str),
}

/// A feature was switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeatureChange {
    pub(crate) at: String,
    pub(crate) feature: Feature,
    pub(crate) to: FeatureState,
    pub(crate) who: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Whether a feature works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FeatureState {
    On,
    Off,
}

impl FeatureState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            FeatureState::On => "on",
            FeatureState::Off => "off",
        }
    }
}

/// What is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FeatureStatus {
    pub(crate) off: Vec<FeatureChange>,
    /// Why that may not be what was switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

impl Feature {
    pub(crate) fn parse(text: &str) -> Result<Feature, FeatureError> {
        let (kind, name) = match text.split_once(':') {
            None if text == "shadow" => return Ok(Feature::Shadow),
            None if text == "era-fence" => return Ok(Feature::EraFence),
            None => return Err(unknown(text)),
            Some(split) => split,
        };
        let plain = |kind: &'static str| {
            let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
            if fits { Ok(name.to_owned()) } else { Err(FeatureError::Name(kind)) }
        };
        match kind {
            "tool" => plain("tool").map(Feature::Tool),
            "client" => plain("client").map(Feature::Client),
            "route" => plain("route").map(Feature::Route),
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> FeatureError {
    let shown: String =
        text.chars().take(NAME_BYTES_MAX).filter(|character| !character.is_control()).collect();
    FeatureError::Unknown(shown)
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Feature::Tool(name) => write!(f, "tool:{name}"),
            Feature::Client(name) => write!(f, "client:{name}"),
            Feature::Route(name) => write!(f, "route:{name}"),
            Feature::Shadow => f.write_str("shadow"),
            Feature::EraFence => f.write_str("era-fence"),
        }
    }
}

impl TryFrom<String> for Feature {
    type Error = FeatureError;

    fn try_from(text: String) -> Result<Feature, FeatureError> {
        Feature::parse(&text)
    }
}

impl From<Feature> for String {
    fn from(feature: Feature) -> String {
        feature.to_string()
    }
}

impl Config {
    /// The configuration without these features.
    pub(crate) fn without<'f>(mut self, off: impl Iterator<Item = &'f Feature>) -> Config {
        let (mut tools, mut clients) = (Vec::new(), Vec::new());
        for feature in off {
            match feature {
                Feature::Tool(pattern) => tools.push(Pattern::new(pattern)),
                // A client that is no longer configured has no valid token.
                Feature::Client(name) => clients.extend(self.clients.named(name)),
                Feature::Route(name) => self.routes.retain(|route| route.rule.name != *name),
                Feature::Shadow => self.shadow.per_million = 0,
                // A version in the file is a cap of its own, and stays.
                Feature::EraFence if self.max_version == MaxVersionSetting::Auto => {
                    self.max_version = MaxVersionSetting::Unbounded;
                }
                Feature::EraFence => {}
            }
        }
        self.off = SwitchedOff::new(tools, clients);
        self
    }

    /// Why this feature cannot be switched off here, if it cannot.
    pub(crate) fn lacks(&self, feature: &Feature) -> Option<String> {
        match feature {
            Feature::Client(name) if self.clients.named(name).is_none() => {
                Some(format!("no client is named {name} (hint: `mcp-guard token list`)"))
            }
            Feature::Route(name) if !self.routes.iter().any(|route| route.rule.name == *name) => {
                let names: Vec<&str> =
                    self.routes.iter().take(20).map(|route| route.rule.name.as_str()).collect();
                let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
                Some(format!("no route is named {name} (hint: {known})"))
            }
            Feature::Tool(_)
            | Feature::Client(_)
            | Feature::Route(_)
            | Feature::Shadow
            | Feature::EraFence => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_reads_back_as_it_is_written() {
        for text in ["tool:jobs_*", "client:bot", "route:api", "shadow", "era-fence", "tool:a:b"] {
            assert_eq!(Feature::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_names_no_feature() {
        for text in ["", "tool", "tool:", "tools:x", "Shadow", "shadow:x", "tool:a\nb"] {
            let error = Feature::parse(text).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error:?}");
        }
        assert!(Feature::parse(&format!("client:{}", "a".repeat(NAME_BYTES_MAX + 1))).is_err());
    }
}
