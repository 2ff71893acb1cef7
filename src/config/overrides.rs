//! Keys that a variable of the environment sets in place of the file: `MCP_GUARD_` and the key in capitals.
//!
//! Only keys that differ between machines with one file. Keys that commands read, such as the admin socket, stay in the file: an
//! operator's shell does not have the variables of the unit. Must not know what a key means, nor how its value is judged.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{DiagnosticSink, InvalidValue};
use super::environment::Environment;

/// The keys, each with the type of its value in the file.
pub(super) const KEYS: &[(&str, ValueType)] = &[
    ("listen.address", ValueType::Text),
    ("listen.metrics", ValueType::Text),
    ("listen.threads", ValueType::Number),
    ("slots.blue.address", ValueType::Text),
    ("slots.green.address", ValueType::Text),
    ("limits.connections", ValueType::Number),
    ("limits.in_flight", ValueType::Number),
    ("timeouts.total", ValueType::Text),
    ("timeouts.drain", ValueType::Text),
    ("log.format", ValueType::Text),
    ("log.level", ValueType::Text),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Text,
    Number,
}

/// One key that the environment sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Override {
    pub(crate) key: &'static str,
    pub(crate) variable: String,
    value: String,
    value_type: ValueType,
}

/// The variable that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("MCP_GUARD_{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// What the environment sets. An empty variable sets nothing.
pub(super) fn found(environment: &Environment<'_>, sink: &DiagnosticSink) -> Vec<Override> {
    let mut found = Vec::new();
    for (key, value_type) in KEYS {
        let variable = variable_of(key);
        let Some(value) = (environment.variable)(&variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        sink.record_override(key, &variable);
        match value.into_string() {
            Ok(value) => found.push(Override { key, variable, value, value_type: *value_type }),
            Err(_) => sink.error(key, None, InvalidValue::new("is not UTF-8 text")),
        }
    }
    found
}

/// Puts the values into the file's table, in place of its own.
pub(super) fn apply<'t>(file: &mut DeTable<'t>, overrides: &'t [Override]) {
    for one in overrides {
        let mut path: Vec<&'static str> = one.key.split('.').collect();
        let Some(name) = path.pop() else { continue };
        if let Some(table) = path.into_iter().try_fold(&mut *file, below) {
            // A number that is none is left as a text, which the key's reader refuses.
            let number = || DeValue::parse(&one.value).ok().filter(|value| value.get_ref().is_integer());
            let value = match one.value_type {
                ValueType::Number => number(),
                ValueType::Text => None,
            };
            let text = || Spanned::new(0..0, DeValue::String(Cow::Borrowed(one.value.as_str())));
            table.insert(Spanned::new(0..0, Cow::Borrowed(name)), value.unwrap_or_else(text));
        }
    }
}

/// The table under `name`, made if it is absent; `None` where the file has something else there, which is a mistake of its own.
fn below<'m, 't>(table: &'m mut DeTable<'t>, name: &'static str) -> Option<&'m mut DeTable<'t>> {
    let empty = || Spanned::new(0..0, DeValue::Table(DeTable::new()));
    let value = table.entry(Spanned::new(0..0, Cow::Borrowed(name))).or_insert_with(empty);
    if let DeValue::Table(table) = value.get_mut() { Some(table) } else { None }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::Path;

    use super::*;
    use crate::config::{self, Loaded};
    use mcp_host::diagnostics::Diagnostics;

    const FILE: &str = "[listen]\naddress = \"127.0.0.1:1\"\n[slots.blue]\naddress = \"127.0.0.1:2\"\n";

    fn build(text: &str, set: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
        let variable = |name: &str| {
            let found = set.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        config::build(
            Path::new("g.toml"),
            text,
            &Environment { variable: &variable, now: 0, shown_pairs: None },
        )
    }

    fn problems(text: &str, set: &[(&str, &str)]) -> Vec<String> {
        build(text, set)
            .map(|_| ())
            .expect_err("a problem")
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_environment_variable_wins_over_the_file_and_is_named() {
        let set = [
            ("MCP_GUARD_LISTEN_ADDRESS", "127.0.0.1:3"),
            ("MCP_GUARD_LISTEN_THREADS", "2"),
            ("MCP_GUARD_TIMEOUTS_TOTAL", "7s"),
            ("MCP_GUARD_LOG_LEVEL", "debug"),
            ("MCP_GUARD_SLOTS_GREEN_ADDRESS", "127.0.0.1:4"),
            ("MCP_GUARD_LISTEN_METRICS", ""),
        ];
        let loaded = build(FILE, &set).expect("a configuration");
        assert_eq!(loaded.config.listen.address.to_string(), "127.0.0.1:3");
        assert_eq!(loaded.config.listen.threads, 2);
        assert_eq!(loaded.config.listen.metrics, None, "an empty variable sets nothing");
        assert_eq!(loaded.config.timeouts.total.as_secs(), 7);
        let slot = |slot| loaded.config.backend(slot).map(|backend| backend.address.to_string());
        assert_eq!(slot(crate::upstream::Slot::Blue).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(slot(crate::upstream::Slot::Green).as_deref(), Some("127.0.0.1:4"));
        let named: Vec<_> = loaded.overrides.iter().map(|one| one.key).collect();
        let expected =
            ["listen.address", "listen.threads", "slots.green.address", "timeouts.total", "log.level"];
        assert_eq!(named, expected);
    }

    #[test]
    fn a_mistake_in_an_environment_variable_names_the_variable_and_no_line_of_the_file() {
        let [problem] = &problems(FILE, &[("MCP_GUARD_LISTEN_ADDRESS", "localhost")])[..] else { panic!() };
        assert!(problem.starts_with("listen.address (MCP_GUARD_LISTEN_ADDRESS): \"localhost\""), "{problem}");
        let [problem] = &problems(FILE, &[("MCP_GUARD_LIMITS_IN_FLIGHT", "0")])[..] else { panic!() };
        assert!(problem.starts_with("limits.in_flight (MCP_GUARD_LIMITS_IN_FLIGHT): 0"), "{problem}");
        for number in ["many", "", " 8", "8 # eight", "8.5"].iter().filter(|text| !text.is_empty()) {
            let found = problems(FILE, &[("MCP_GUARD_LIMITS_IN_FLIGHT", number)]);
            assert_eq!(found.len(), 1, "{number:?}: {found:?}");
        }
        let found =
            problems(&FILE.replace("[listen]\naddress", "listen"), &[("MCP_GUARD_LISTEN_THREADS", "2")]);
        assert!(found.len() == 1 && found[0].contains("listen: must be a table"), "{found:?}");
    }

    #[test]
    fn an_environment_variable_that_is_no_text_is_a_problem() {
        let variable = |name: &str| (name == "MCP_GUARD_LOG_LEVEL").then(|| OsString::from_vec(vec![0xff]));
        let environment = Environment { variable: &variable, now: 0, shown_pairs: None };
        let found =
            config::build(Path::new("g.toml"), FILE, &environment).map(|_| ()).expect_err("a problem");
        assert_eq!(found.problems.len(), 1);
    }

    #[test]
    fn every_key_of_the_environment_is_a_key_of_the_file_and_is_documented() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/configuration.md")).expect("the page");
        let rows = page.lines().filter_map(|line| {
            let (variable, rest) = line.strip_prefix("| `MCP_GUARD_")?.split_once('`')?;
            Some((format!("MCP_GUARD_{variable}"), rest.split('`').nth(1)?.to_owned()))
        });
        let known: Vec<_> = KEYS.iter().map(|(key, _)| (variable_of(key), (*key).to_owned())).collect();
        assert_eq!(rows.collect::<Vec<_>>(), known);
        for (key, _) in KEYS {
            let row = format!("| `{}` |", key.replace("blue", "NAME").replace("green", "NAME"));
            assert!(page.contains(&row), "{key} has no row");
            // A value that no key takes is refused by the key's reader.
            assert_eq!(problems(FILE, &[(&variable_of(key), "\u{7}")]).len(), 1, "{key} is not read");
        }
    }
}
