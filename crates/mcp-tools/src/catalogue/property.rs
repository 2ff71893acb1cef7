//! The property of an input schema that `params.NAME` declares, in the form of FastMCP.
//!
//! A key that has no effect on a parameter of its type is refused. Must not know the other parameters.

use serde_json::{Map, Value, json};

use super::file::ParamFile;
use super::json::json_of;
use super::validator::validator;

/// One property, or every mistake of it; keys in alphabetical order, as FastMCP writes them.
pub(super) fn property(name: &str, param: &ParamFile) -> Result<Map<String, Value>, Vec<String>> {
    let mut reasons = misplaced(param);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let kind = param.kind.as_str();
    let mut read = |key, value| typed(key, value, kind).map_err(|reason| reasons.push(reason)).ok();
    let default = param.default.as_ref().and_then(|value| read("default", value));
    let minimum = param.minimum.as_ref().and_then(|value| read("minimum", value));
    let maximum = param.maximum.as_ref().and_then(|value| read("maximum", value));
    let choices = param.choices.as_ref();
    let choices: Option<Vec<Value>> =
        choices.map(|values| values.iter().filter_map(|value| read("enum", value)).collect());
    if choices.as_ref().is_some_and(Vec::is_empty) && reasons.is_empty() {
        reasons.push("enum: is empty; no value could be given".into());
    }
    if let (Some(least), Some(most)) = (as_number(&minimum), as_number(&maximum))
        && least > most
    {
        reasons.push(format!("minimum: {least} is more than the maximum {most}"));
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let made = written(name, param, default, [minimum, maximum], choices);
    match unfit_default(&made) {
        Some(reason) => Err(vec![reason]),
        None => Ok(made),
    }
}

/// Keys that have no effect on a parameter of this type.
fn misplaced(param: &ParamFile) -> Vec<String> {
    let kind = param.kind.as_str();
    let is_number = matches!(kind, "integer" | "number");
    let mut reasons = Vec::new();
    if param.required && param.default.is_some() {
        reasons.push("has a default although it is required (remove one of the two)".into());
    }
    for (key, given, fits, wanted) in [
        ("pattern", param.pattern.is_some(), kind == "string", "a string"),
        ("format", param.format.is_some(), kind == "string", "a string"),
        ("minimum", param.minimum.is_some(), is_number, "an integer or a number"),
        ("maximum", param.maximum.is_some(), is_number, "an integer or a number"),
        ("items", param.items.is_some(), kind == "array", "an array"),
        ("enum", param.choices.is_some(), is_number || kind == "string", "a string, an integer or a number"),
    ] {
        if given && !fits {
            reasons.push(format!("{key}: is for {wanted}; the parameter is of type {kind}"));
        }
    }
    reasons
}

/// A value of the declaration as JSON of the parameter's type.
fn typed(key: &str, value: &toml::Value, kind: &str) -> Result<Value, String> {
    let value = json_of(value).map_err(|reason| format!("{key}: {reason}"))?;
    if matches_kind(&value, kind) { Ok(value) } else { Err(format!("{key}: {value} is not of type {kind}")) }
}

fn as_number(value: &Option<Value>) -> Option<f64> {
    value.as_ref()?.as_f64()
}

fn written(
    name: &str,
    param: &ParamFile,
    default: Option<Value>,
    [minimum, maximum]: [Option<Value>; 2],
    choices: Option<Vec<Value>>,
) -> Map<String, Value> {
    let kind = param.kind.as_str();
    let items = match param.items {
        Some(items) => json!({ "type": items.as_str() }),
        None => json!({}),
    };
    let mut property = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            property.insert(key.into(), value);
        }
    };
    let mut choices = choices.map(Value::from);
    put("additionalProperties", (kind == "object").then_some(Value::Bool(true)));
    if param.nullable {
        // Beside `anyOf`, the enum would refuse the null.
        let branch = match choices.take() {
            Some(choices) => json!({ "enum": choices, "type": kind }),
            None => json!({ "type": kind }),
        };
        put("anyOf", Some(json!([branch, { "type": "null" }])));
    }
    put("default", (!param.required).then(|| default.unwrap_or_default()));
    put("description", param.description.clone().map(Value::from));
    put("enum", choices);
    put("format", param.format.map(|format| Value::from(format.as_str())));
    put("items", (kind == "array").then_some(items));
    put("maximum", maximum);
    put("minimum", minimum);
    put("pattern", param.pattern.clone().map(Value::from));
    put("title", Some(Value::from(title(name))));
    put("type", (!param.nullable).then(|| Value::from(kind)));
    property
}

/// A default that the parameter's own schema refuses: a call that relies on it would differ from one that repeats it.
fn unfit_default(property: &Map<String, Value>) -> Option<String> {
    let default = property.get("default").filter(|default| !default.is_null())?;
    let validator = validator(&Value::Object(property.clone())).ok()?;
    let error = validator.iter_errors(default).next()?;
    Some(format!("default: {error}"))
}

/// Whether a value is of a type; null is of each.
pub(super) fn matches_kind(value: &Value, kind: &str) -> bool {
    match value {
        Value::String(_) => kind == "string",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => kind == "number" || (kind == "integer" && !number.is_f64()),
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
        Value::Null => true,
    }
}

/// `public_catalog_csv_path` -> `Public Catalog Csv Path`.
fn title(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}
