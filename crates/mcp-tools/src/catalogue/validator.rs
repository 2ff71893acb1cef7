//! Validators of JSON Schema 2020-12, and their errors as a text for a model. Must not know whose schema it is.

use serde_json::Value;

const PROBLEM_LETTERS_MAX: usize = 200;

/// The validator of a schema, which checks formats (`uuid`, `date`, ...) as well.
pub(crate) fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| error.to_string())
}

/// The validator's error, after the parameter's name.
pub(super) fn error_text(error: jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let name = place.trim_start_matches('/');
    let text = if name.is_empty() { error.to_string() } else { format!("{name}: {error}") };
    // The error quotes the argument, which may be megabytes long.
    match text.char_indices().nth(PROBLEM_LETTERS_MAX) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
