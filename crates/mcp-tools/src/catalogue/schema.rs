//! Input schemas in the form of FastMCP, and the validation of arguments.
//!
//! A title for each property, a default for each optional one, no `$schema`: clients compare schemas with those of the
//! old server. Must not know what the arguments are used for.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::arguments::{Arguments, Sent, rounded};
use super::file::ToolFile;
use super::property::{matches_kind, property};
use super::validator::{error_text, validator};
use crate::exact::may_be_rounded;
use crate::json::Json;

/// Problems in one message; a model needs the first few, not a page.
const PROBLEMS_SHOWN_MAX: usize = 8;

/// A compiled input schema.
#[derive(Debug)]
pub(crate) struct Input {
    schema: Arc<Map<String, Value>>,
    validator: jsonschema::Validator,
    params: Vec<Param>,
}

/// One parameter, as a handler may rely on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// The type of an array's elements, if its schema gives one.
    pub(crate) items: Option<&'static str>,
    pub(crate) required: bool,
    pub(crate) default: Option<Value>,
}

impl Param {
    /// Whether a value is of its type.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        self.kind == "any" || matches_kind(value, self.kind)
    }
}

impl Input {
    pub(crate) fn compile(schema: Map<String, Value>) -> Result<Input, String> {
        let params = params_of(&schema)?;
        let whole = Value::Object(schema);
        let validator = validator(&whole)
            .map_err(|error| format!("input_schema: is not a valid JSON Schema: {error}"))?;
        let Value::Object(schema) = whole else { return Err("input_schema: must be an object".into()) };
        Ok(Input { schema: Arc::new(schema), validator, params })
    }

    pub(crate) fn schema(&self) -> &Arc<Map<String, Value>> {
        &self.schema
    }

    pub(crate) fn params(&self) -> &[Param] {
        &self.params
    }

    /// Validates the arguments of a caller. The error is written for a model: the problem, and the correct form.
    pub(crate) fn accept(&self, sent: impl Into<Sent>) -> Result<Arguments, String> {
        let Sent { values: sent, mut exact } = sent.into();
        let mut given = Map::new();
        for param in &self.params {
            match sent.get(&param.name) {
                // Models write null for "not given"; where null is the default, both mean the same.
                None => {}
                Some(Value::Null) if param.default == Some(Value::Null) => {}
                Some(value) => {
                    let read = lax(value, param.kind);
                    if let (Value::String(text), Value::Number(_)) = (value, &read) {
                        let all = Json::parse(text.trim()).and_then(|text| rounded(&read, &text));
                        exact.extend(all.map(|all| (param.name.clone(), all)));
                    }
                    given.insert(param.name.clone(), read);
                }
            }
        }
        let judged = Value::Object(given);
        let problems: Vec<String> =
            self.validator.iter_errors(&judged).take(PROBLEMS_SHOWN_MAX).map(error_text).collect();
        let Value::Object(mut given) = judged else { return Err("arguments must be an object".into()) };
        if !problems.is_empty() {
            return Err(format!("{}. Parameters: {}", problems.join("; "), self.signature()));
        }
        for param in &self.params {
            if let (Some(default), false) = (&param.default, given.contains_key(&param.name)) {
                given.insert(param.name.clone(), default.clone());
            }
        }
        exact.retain(|name, _| given.contains_key(name));
        Ok(Arguments { values: given, exact })
    }

    fn signature(&self) -> String {
        if self.params.is_empty() {
            return "none".into();
        }
        let text = self.params.iter().map(|param| match (&param.default, param.required) {
            (_, true) => format!("{} ({}, required)", param.name, param.kind),
            (Some(default), false) if !default.is_null() => {
                format!("{} ({}, default {default})", param.name, param.kind)
            }
            (_, false) => format!("{} ({}, optional)", param.name, param.kind),
        });
        text.collect::<Vec<_>>().join(", ")
    }
}

/// Numbers and booleans written as strings, which the old server accepted.
fn lax(value: &Value, kind: &str) -> Value {
    let Value::String(text) = value else { return value.clone() };
    let text = text.trim();
    let read = match kind {
        "integer" => text.parse::<i64>().ok().map(Value::from),
        // Of another form, such as `+1`, digits beyond a float's could not be kept.
        "number" if Json::parse(text).is_some() || !may_be_rounded(text) => {
            text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
        }
        "boolean" => match text.to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    };
    read.unwrap_or_else(|| value.clone())
}

/// The input schema of a declaration.
pub(crate) fn input_schema(tool: &ToolFile) -> Result<Input, Vec<String>> {
    let schema = match &tool.input_schema {
        Some(_) if !tool.params.is_empty() => {
            return Err(vec!["input_schema: must not be given beside params".into()]);
        }
        Some(text) => parse_object(text, "input_schema").map_err(|reason| vec![reason])?,
        None => generate(tool)?,
    };
    Input::compile(schema).map_err(|reason| vec![reason])
}

/// Reads a JSON object written as text.
pub(crate) fn parse_object(text: &str, key: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(format!("{key}: must be a JSON object")),
        Err(error) => Err(format!("{key}: is not JSON: {error}")),
    }
}

fn generate(tool: &ToolFile) -> Result<Map<String, Value>, Vec<String>> {
    let mut reasons = Vec::new();
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, param) in &tool.params {
        match property(name, param) {
            Ok(property) => {
                properties.insert(name.clone(), Value::Object(property));
            }
            Err(more) => reasons.extend(more.iter().map(|reason| format!("params.{name}: {reason}"))),
        }
        if param.required {
            required.push(Value::from(name.as_str()));
        }
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut schema = Map::new();
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    schema.insert("title".into(), Value::from(format!("{}Arguments", tool.name)));
    schema.insert("type".into(), Value::from("object"));
    Ok(schema)
}

fn params_of(schema: &Map<String, Value>) -> Result<Vec<Param>, String> {
    if schema.get("type") != Some(&Value::from("object")) {
        return Err("input_schema: must say \"type\": \"object\"".into());
    }
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Err("input_schema: must have \"properties\" (may be empty)".into());
    };
    let params = properties.iter().map(|(name, property)| Param {
        name: name.clone(),
        kind: kind_of(property),
        items: property.get("items").map(kind_of).filter(|kind| *kind != "any"),
        required: required.contains(&name.as_str()),
        default: property.get("default").cloned(),
    });
    Ok(params.collect())
}

/// The one type a handler binds a value as; `any` when the schema leaves it open.
fn kind_of(property: &Value) -> &'static str {
    const KINDS: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];
    let named = |kind: &Value| KINDS.into_iter().find(|known| kind.as_str() == Some(known));
    if let Some(kind) = property.get("type").and_then(named) {
        return kind;
    }
    let listed = property.get("type").and_then(Value::as_array).into_iter().flatten();
    let branches = property.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let mut found = listed.filter_map(named).chain(branches.filter_map(|branch| named(branch.get("type")?)));
    match (found.next(), found.next()) {
        (Some(only), None) => only,
        (_, _) => "any",
    }
}
