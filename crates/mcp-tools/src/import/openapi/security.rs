//! The credentials of an operation: header fields and keys of the query, whose values come from the environment.

use serde_json::Value;

use super::document::{Document, text_of};

/// What a service needs, in the order of the document.
pub(super) type Credentials = Vec<Credential>;

/// A name whose value is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credential {
    Header(String),
    Query(String),
}

/// The first way to authorize that a service can be declared with; the error is why there is none.
pub(super) fn credentials(document: &Document, operation: &Value) -> Result<Credentials, String> {
    let Some(ways) = operation.get("security").or_else(|| document.at("/security")).and_then(Value::as_array)
    else {
        return Ok(Vec::new());
    };
    if ways.is_empty() {
        return Ok(Vec::new());
    }
    let (mut reason, mut in_query) = (String::new(), None);
    // Credentials that are optional are sent: more is possible with them.
    let is_none = |way: &&Value| way.as_object().is_some_and(serde_json::Map::is_empty);
    for way in ways.iter().filter(|way| !is_none(way)) {
        match of_way(document, way) {
            // Servers and proxies write a query to their logs, so a header is better.
            Ok(credentials) if credentials.iter().any(|one| matches!(one, Credential::Query(_))) => {
                in_query = in_query.or(Some(credentials));
            }
            Ok(credentials) => return Ok(credentials),
            Err(more) => reason = more,
        }
    }
    if let Some(credentials) = in_query {
        return Ok(credentials);
    }
    if ways.iter().any(|way| is_none(&way)) { Ok(Vec::new()) } else { Err(reason) }
}

fn of_way(document: &Document, way: &Value) -> Result<Credentials, String> {
    let mut credentials = Vec::new();
    for (name, _) in way.as_object().into_iter().flatten() {
        let schemes = document.object("/components/securitySchemes");
        let Some(scheme) = schemes.get(name) else {
            return Err(format!("the security scheme {name} is not declared"));
        };
        let scheme = document.resolve(scheme)?;
        let header = |name: &str| Credential::Header(name.to_owned());
        let credential = match (text_of(scheme, "type"), text_of(scheme, "in")) {
            (Some("apiKey"), Some("header")) => header(text_of(scheme, "name").unwrap_or("Authorization")),
            (Some("apiKey"), Some("query")) => {
                Credential::Query(text_of(scheme, "name").unwrap_or("api_key").to_owned())
            }
            (Some("apiKey"), Some(place)) => {
                return Err(format!("its key {name} is a {place}, which cannot be sent"));
            }
            (Some("http" | "oauth2" | "openIdConnect"), _) => header("Authorization"),
            (kind, _) => {
                return Err(format!(
                    "the security scheme {name} is {}, which cannot be declared",
                    kind.unwrap_or("unknown")
                ));
            }
        };
        if !credentials.contains(&credential) {
            credentials.push(credential);
        }
    }
    Ok(credentials)
}
