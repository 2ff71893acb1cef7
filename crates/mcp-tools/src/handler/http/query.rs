//! `query_env` of a service: keys in the query of every call, whose values come from the environment.
//!
//! Must not know where a request goes.

use std::fmt;

use indexmap::IndexMap;

use super::render::encode;

/// The keys that a service needs in the query.
#[derive(Clone, Default)]
pub(crate) struct ServiceQuery {
    names: Vec<String>,
    /// `key=value&...`
    encoded: String,
    /// The values, as they are and as they are sent.
    values: Vec<String>,
    /// The first variable without a value.
    pub(super) unset: Option<String>,
}

/// Never the values.
impl fmt::Debug for ServiceQuery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ServiceQuery").field(&self.names).finish()
    }
}

impl ServiceQuery {
    /// `value_of` is the environment.
    pub(super) fn of_service(
        from_env: &IndexMap<String, String>,
        value_of: impl Fn(&str) -> Option<String>,
    ) -> ServiceQuery {
        let mut query = ServiceQuery::default();
        let mut pairs = Vec::new();
        for (name, variable) in from_env {
            query.names.push(name.clone());
            let Some(value) = value_of(variable).map(|value| value.trim().to_owned()) else {
                query.unset = query.unset.or_else(|| Some(variable.clone()));
                continue;
            };
            pairs.push(format!("{}={}", encode(name), encode(&value)));
            query.values.extend([encode(&value), value]);
        }
        query.encoded = pairs.join("&");
        query
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// The target of a request with these keys.
    pub(super) fn added_to(&self, target: String) -> String {
        match (self.encoded.as_str(), target.contains('?')) {
            ("", _) => target,
            (encoded, true) => format!("{target}&{encoded}"),
            (encoded, false) => format!("{target}?{encoded}"),
        }
    }
}
