//! Output schemas: what a client may rely on in the structured content of a result.
//!
//! A client of an SDK refuses a result that does not fit, and a whole `tools/list` with a schema that is no object. Must
//! not know how a result is made.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::schema::parse_object;
use super::validator::validator;

/// The key under which a result that is no object stands in the structured content.
pub(crate) const RESULT: &str = "result";

/// A compiled output schema.
pub(crate) struct Output {
    schema: Arc<Map<String, Value>>,
    validator: jsonschema::Validator,
}

impl Output {
    /// Compiles the JSON text of a declaration.
    pub(crate) fn compile(text: &str) -> Result<Output, String> {
        let schema = parse_object(text, "output_schema")?;
        if schema.get("type") != Some(&Value::from("object")) {
            return Err(format!(
                "output_schema: must say \"type\": \"object\"; clients refuse every tool of a server otherwise (hint: a list, text or number stands under {RESULT:?}: {{\"type\":\"object\",\"properties\":{{{RESULT:?}:{{...}}}},\"required\":[{RESULT:?}]}})"
            ));
        }
        let whole = Value::Object(schema);
        let validator = validator(&whole)
            .map_err(|error| format!("output_schema: is not a valid JSON Schema: {error}"))?;
        let Value::Object(schema) = whole else { return Err("output_schema: must be an object".into()) };
        Ok(Output { schema: Arc::new(schema), validator })
    }

    pub(crate) fn schema(&self) -> &Arc<Map<String, Value>> {
        &self.schema
    }

    /// Where structured content, as JSON text, does not fit: places only, because its values are not for the log.
    pub(crate) fn misfit(&self, content: &str) -> Option<String> {
        let Ok(value) = serde_json::from_str::<Value>(content) else {
            // A number beyond every float, for example.
            return Some("the whole cannot be compared with the output schema".to_owned());
        };
        let error = self.validator.iter_errors(&value).next()?;
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the whole" } else { place.as_str() };
        Some(format!("{place} does not fit {} of the output schema", error.schema_path()))
    }

    /// A property that it requires of a result that stands under `result`, and that such a result never has.
    pub(crate) fn unmet_by_wrapped(&self) -> Option<&str> {
        let required = self.schema.get("required").and_then(Value::as_array).into_iter().flatten();
        required.filter_map(Value::as_str).find(|name| *name != RESULT)
    }
}
