//! Header fields of a service and of a tool: which names a declaration may use, and which values a field takes.
//!
//! Must not know where a request goes.

use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, HeaderValue, PROXY_AUTHORIZATION, RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use indexmap::IndexMap;

use crate::catalogue::{Argument, Arguments};
use crate::handler::template::Template;

/// Fields that the exchange itself writes, or that would change how the two messages are read.
const RESERVED: [HeaderName; 12] = [
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHORIZATION,
    RANGE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// The longest value that an argument may make.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// The name of a field that a declaration may set.
pub(super) fn declared_name(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not the name of a header field")?;
    if RESERVED.contains(&parsed) || parsed == "keep-alive" {
        return Err("is written by mcp-tools itself".into());
    }
    if parsed == AUTHORIZATION {
        return Err("has a key of its own (hint: authorization_env of the service)".into());
    }
    if parsed == CONTENT_TYPE {
        return Err("follows from the body (hint: json, form, content_type)".into());
    }
    Ok(parsed)
}

/// The fixed fields of a service; `value_of` is the environment.
pub(super) fn of_service(
    fixed: &IndexMap<String, String>,
    from_env: &IndexMap<String, String>,
    value_of: impl Fn(&str) -> Option<String>,
    reasons: &mut Vec<String>,
) -> ServiceHeaders {
    let mut headers = ServiceHeaders::default();
    let mut add = |name: &str, value: Result<Option<HeaderValue>, String>| {
        let added = declared_name(name).and_then(|parsed| match value? {
            _ if headers.has(&parsed) => Err("is declared twice".into()),
            value => {
                headers.fields.push((parsed, value));
                Ok(())
            }
        });
        added.map_err(|reason| format!("{name}: {reason}"))
    };
    for (name, value) in fixed {
        let value = HeaderValue::from_str(value).map(Some).map_err(|_| unfit("the value"));
        reasons.extend(add(name, value).map_err(|reason| format!("headers.{reason}")).err());
    }
    let mut unset = None;
    for (name, variable) in from_env {
        let value = value_of(variable).map(|value| secret(&value, variable)).transpose();
        if value == Ok(None) {
            unset = unset.or_else(|| Some(variable.clone()));
        }
        reasons.extend(add(name, value).map_err(|reason| format!("headers_env.{reason}")).err());
    }
    headers.unset = unset;
    headers
}

/// A value that no log and no error prints.
pub(super) fn secret(value: &str, variable: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(value.trim()).map_err(|_| unfit(&format!("the value of {variable}")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unfit(what: &str) -> String {
    format!("{what} cannot stand in a header")
}

/// The header fields of every call of a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceHeaders {
    fields: Vec<(HeaderName, Option<HeaderValue>)>,
    /// The first variable without a value.
    pub(super) unset: Option<String>,
}

impl ServiceHeaders {
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.fields.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}

/// The header fields of a tool with its arguments in them; the error is for the caller.
pub(super) fn filled(
    templates: &[(HeaderName, Template)],
    arguments: &Arguments,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut fields = Vec::new();
    for (name, template) in templates {
        if template.names().any(|name| arguments.get(name).is_null()) {
            continue;
        }
        let text = template.fill(arguments, legal)?;
        match HeaderValue::from_str(&text) {
            Ok(value) if text.len() <= VALUE_BYTES_MAX => fields.push((name.clone(), value)),
            Ok(_) | Err(_) => return Err(format!("the value of the header {name} cannot be sent.")),
        }
    }
    Ok(fields)
}

/// An argument inside a field: it can neither end the field nor begin another.
fn legal(name: &str, value: Argument<'_>) -> Result<String, String> {
    let text = value.plain();
    if text.len() > VALUE_BYTES_MAX || !text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Err(format!(
            "{name}: this value cannot be used here; it must be visible ASCII of at most {VALUE_BYTES_MAX} letters."
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_header_cannot_replace_one_that_frames_the_message_or_names_its_target() {
        let refused = [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "Keep-Alive",
            "TE",
            "Authorization",
            "Content-Type",
            "Accept-Encoding",
            "a b",
            "",
            "x\r\ny",
        ];
        for name in refused {
            assert!(declared_name(name).is_err(), "{name}");
        }
        for name in ["X-Api-Key", "Accept", "User-Agent", "Cookie", "Idempotency-Key"] {
            assert!(declared_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_header_from_the_environment_is_secret_and_its_absence_is_named() {
        let fixed = IndexMap::from([("X-Version".to_owned(), "2".to_owned())]);
        let from_env = IndexMap::from([
            ("X-Api-Key".to_owned(), "KEY".to_owned()),
            ("x-version".to_owned(), "KEY".to_owned()),
            ("X-Broken".to_owned(), "BROKEN".to_owned()),
            ("X-None".to_owned(), "NONE".to_owned()),
        ]);
        let env = |name: &str| match name {
            "KEY" => Some(" s3cret \n".to_owned()),
            "BROKEN" => Some("s3\ncret".to_owned()),
            _ => None,
        };
        let mut reasons = Vec::new();
        let headers = of_service(&fixed, &from_env, env, &mut reasons);
        assert_eq!(
            reasons,
            [
                "headers_env.x-version: is declared twice",
                "headers_env.X-Broken: the value of BROKEN cannot stand in a header"
            ]
        );
        let sent: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(sent, [("x-version", "2"), ("x-api-key", "s3cret")]);
        assert_eq!(headers.unset.as_deref(), Some("NONE"));
        assert!(!format!("{headers:?}").contains("s3cret"));
    }
}
