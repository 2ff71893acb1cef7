//! The credentials of an operation: header fields whose values come from the environment.

use serde_json::Value;

use super::document::{Document, text_of};

/// Header fields that a service needs, in the order of the document.
pub(super) type Credentials = Vec<String>;

/// The first way to authorize that a service can be declared with; the error is why there is none.
pub(super) fn credentials(document: &Document, operation: &Value) -> Result<Credentials, String> {
    let Some(ways) = operation.get("security").or_else(|| document.at("/security")).and_then(Value::as_array)
    else {
        return Ok(Vec::new());
    };
    if ways.is_empty() {
        return Ok(Vec::new());
    }
    let mut reason = String::new();
    // Credentials that are optional are sent: more is possible with them.
    let is_none = |way: &&Value| way.as_object().is_some_and(serde_json::Map::is_empty);
    for way in ways.iter().filter(|way| !is_none(way)) {
        match headers(document, way) {
            Ok(headers) => return Ok(headers),
            Err(more) => reason = more,
        }
    }
    if ways.iter().any(|way| is_none(&way)) { Ok(Vec::new()) } else { Err(reason) }
}

fn headers(document: &Document, way: &Value) -> Result<Credentials, String> {
    let mut headers = Vec::new();
    for (name, _) in way.as_object().into_iter().flatten() {
        let schemes = document.object("/components/securitySchemes");
        let Some(scheme) = schemes.get(name) else {
            return Err(format!("the security scheme {name} is not declared"));
        };
        let scheme = document.resolve(scheme)?;
        let header = match (text_of(scheme, "type"), text_of(scheme, "in")) {
            (Some("apiKey"), Some("header")) => text_of(scheme, "name").unwrap_or("Authorization").to_owned(),
            (Some("apiKey"), Some(place)) => {
                return Err(format!(
                    "its key {name} stands in the {place}; a tool can send it in a header only"
                ));
            }
            (Some("http" | "oauth2" | "openIdConnect"), _) => "Authorization".to_owned(),
            (kind, _) => {
                return Err(format!(
                    "the security scheme {name} is {}, which cannot be declared",
                    kind.unwrap_or("unknown")
                ));
            }
        };
        if !headers.contains(&header) {
            headers.push(header);
        }
    }
    Ok(headers)
}
