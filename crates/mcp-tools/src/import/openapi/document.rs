//! An OpenAPI document read from JSON or YAML, and its references.
//!
//! A reference may point into the document only. Must not know operations.

use serde_json::{Map, Value};

/// Operations of one document.
pub(super) const OPERATIONS_MAX: usize = 2_000;
/// References that lead to references, at most.
const REFERENCES_MAX: usize = 32;

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("is neither JSON nor YAML: {0}")]
    Syntax(String),
    #[error("is Swagger 2.0 (hint: a converter such as swagger2openapi makes OpenAPI 3 of it)")]
    Swagger,
    #[error("is OpenAPI {0}; 3.0 and 3.1 can be imported")]
    Version(String),
    #[error("has no key `openapi` (hint: is it an OpenAPI document?)")]
    NoVersion,
    #[error("has more than {} operations", OPERATIONS_MAX)]
    TooMany,
}

/// A document.
pub(super) struct Document {
    root: Value,
    empty: Map<String, Value>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Document, DocumentError> {
        let text = text.trim_start_matches('\u{feff}');
        let root: Value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| DocumentError::Syntax(error.to_string()))?
        } else {
            // OpenAPI is YAML 1.2: `y` and `NO` are texts, as in `name: y` and `enum: [SE, NO]`.
            let options = serde_saphyr::options! { strict_booleans: true };
            serde_saphyr::from_str_with_options(text, options).map_err(|error| {
                let first = error.to_string();
                DocumentError::Syntax(first.lines().next().unwrap_or_default().to_owned())
            })?
        };
        if root.get("swagger").is_some() {
            return Err(DocumentError::Swagger);
        }
        let version = match root.get("openapi") {
            Some(Value::String(version)) => version.clone(),
            // `openapi: 3.1` of YAML is a number.
            Some(version) => version.to_string(),
            None => return Err(DocumentError::NoVersion),
        };
        if !["3.0", "3.1"].iter().any(|known| version == *known || version.starts_with(&format!("{known}.")))
        {
            return Err(DocumentError::Version(version));
        }
        Ok(Document { root, empty: Map::new() })
    }

    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.root.pointer(pointer)
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer)?.as_str()
    }

    pub(super) fn object(&self, pointer: &str) -> &Map<String, Value> {
        self.at(pointer).and_then(Value::as_object).unwrap_or(&self.empty)
    }

    /// What a value or the reference in its place means.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> Result<&'a Value, String> {
        let mut value = value;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            value = self.referenced(reference)?;
        }
        Err("a reference leads to itself".to_owned())
    }

    /// What a reference means, which may be a reference again.
    pub(super) fn referenced(&self, reference: &str) -> Result<&Value, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!("the reference {reference} leads out of the document"));
        };
        let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
        self.root.pointer(&pointer).ok_or_else(|| format!("the reference {reference} leads nowhere"))
    }
}

/// A text of an object, without blanks around it.
pub(super) fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}
