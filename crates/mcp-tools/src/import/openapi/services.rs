//! The services of a document: one for each set of credentials that operations need.

use serde_json::{Map, Value};

use super::document::{Document, text_of};
use super::security::{Credential, Credentials};
use crate::import::draft::Entry;
use crate::import::names::Names;

const NAME_LETTERS_MAX: usize = 32;

/// Services that tools use so far.
pub(super) struct Services {
    names: Names,
    /// The name of the first, and the beginning of all variables.
    name: String,
    address: Entry,
    /// Name and credentials of each, in the order of their first use.
    used: Vec<(String, Credentials)>,
}

impl Services {
    pub(super) fn new(document: &Document, title: &str, notes: &mut Vec<String>) -> Services {
        let lower = title.to_ascii_lowercase();
        let name: String =
            Names::default().param(&lower).replace('-', "_").chars().take(NAME_LETTERS_MAX).collect();
        let variable = format!("{}_URL", name.trim_matches('_').to_ascii_uppercase());
        let listed = document.at("/servers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let urls: Vec<String> = listed.iter().filter_map(url).collect();
        let address = match urls.first().filter(|url| is_absolute(url)) {
            Some(first) => {
                let others: Vec<&str> = urls.iter().skip(1).map(String::as_str).collect();
                if !others.is_empty() {
                    notes.push(format!("The document names further servers: {}.", others.join(", ")));
                }
                Entry::new("base_url", first.trim_end_matches('/'))
            }
            None => {
                let below = urls.first().map(|url| format!(" It ends with {url}.")).unwrap_or_default();
                notes.push(format!(
                    "The document names no whole address: set {variable} to the base URL.{below}"
                ));
                Entry::new("base_url_env", variable)
            }
        };
        Services { names: Names::default(), name, address, used: Vec::new() }
    }

    /// The service with these credentials.
    pub(super) fn with(&mut self, credentials: &Credentials) -> String {
        if let Some((name, _)) = self.used.iter().find(|(_, known)| known == credentials) {
            return name.clone();
        }
        let name = self.names.param(&self.name);
        self.used.push((name.clone(), credentials.clone()));
        name
    }

    /// Their tables.
    pub(super) fn tables(&self) -> Vec<(String, Vec<Entry>)> {
        let prefix = self.name.trim_matches('_').to_ascii_uppercase();
        let table = |(name, credentials): &(String, Credentials)| {
            let mut entries = vec![self.address.clone()];
            let (mut fields, mut query) = (Map::new(), Map::new());
            let variable = |name: &str| {
                let word = Names::default().param(&name.to_ascii_uppercase());
                Value::from(format!("{prefix}_{word}"))
            };
            for credential in credentials {
                match credential {
                    Credential::Header(name) if name.eq_ignore_ascii_case("authorization") => {
                        entries.push(Entry::new("authorization_env", variable("authorization")));
                    }
                    Credential::Header(name) => {
                        fields.insert(name.clone(), variable(name));
                    }
                    Credential::Query(name) => {
                        query.insert(name.clone(), variable(name));
                    }
                }
            }
            let tables = [("headers_env", fields), ("query_env", query)];
            let tables = tables.into_iter().filter(|(_, table)| !table.is_empty());
            entries.extend(tables.map(|(key, table)| Entry::new(key, Value::Object(table))));
            (format!("service.{name}"), entries)
        };
        self.used.iter().map(table).collect()
    }
}

/// The URL of a server with the defaults of its variables.
fn url(server: &Value) -> Option<String> {
    let mut url = text_of(server, "url")?.to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = text_of(variable, "default").unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    Some(url)
}

/// Whether a service can be declared with it.
fn is_absolute(url: &str) -> bool {
    let parsed = url.parse::<hyper::Uri>();
    parsed.is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.query().is_none()
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    })
}
