//! A value that a caller gives: its schema, and the keys of `params.NAME` where these can say the same.

use serde_json::{Map, Value};

use crate::import::draft::InputDraft;

/// A parameter of a tool.
#[derive(Debug, Clone)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) required: bool,
    /// Without references.
    pub(super) schema: Value,
    pub(super) description: Option<String>,
}

impl Property {
    /// Its type, if it has one beside null.
    pub(super) fn kind(&self) -> Option<&str> {
        kind(&self.schema).map(|(kind, _)| kind)
    }
}

/// The one type, and whether null is allowed as well.
fn kind(schema: &Value) -> Option<(&str, bool)> {
    match schema.get("type")? {
        Value::String(kind) => Some((kind, false)),
        Value::Array(kinds) => {
            let mut named = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            let only = named.next().filter(|_| named.next().is_none())?;
            Some((only, kinds.iter().any(|kind| kind == "null")))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The input of a tool: `params` if they can express every property.
pub(super) fn input(properties: &[Property]) -> InputDraft {
    let params: Option<Vec<(String, Map<String, Value>)>> =
        properties.iter().map(|property| Some((property.name.clone(), param(property)?))).collect();
    params.map_or_else(|| InputDraft::Schema(schema(properties)), InputDraft::Params)
}

fn param(property: &Property) -> Option<Map<String, Value>> {
    let (kind, nullable) = kind(&property.schema)?;
    let mut param = Map::new();
    param.insert("type".into(), kind.into());
    if property.required {
        param.insert("required".into(), true.into());
        if nullable {
            param.insert("nullable".into(), true.into());
        }
    }
    for (key, value) in property.schema.as_object()? {
        match (key.as_str(), value) {
            ("type" | "title" | "description", _) => {}
            ("default", value) if property.required || value.is_null() => {}
            ("enum", Value::Array(choices)) => {
                let choices: Vec<Value> =
                    choices.iter().filter(|choice| !choice.is_null()).cloned().collect();
                param.insert("enum".into(), Value::Array(choices));
            }
            ("format", Value::String(format)) if kind == "string" => {
                // Other formats are not validated, and say nothing to a model that the description does not.
                if matches!(format.as_str(), "uuid" | "date" | "date-time") {
                    param.insert("format".into(), value.clone());
                }
            }
            ("format", _) => {}
            ("items", items) if kind == "array" => {
                let items = items.as_object()?;
                let known =
                    |key: &String| matches!(key.as_str(), "type" | "description" | "title" | "format");
                if !items.keys().all(known) {
                    return None;
                }
                let item = items.get("type").and_then(Value::as_str);
                if let Some(item) = item {
                    if !matches!(item, "string" | "integer" | "number" | "boolean") {
                        return None;
                    }
                    param.insert("items".into(), item.into());
                }
            }
            ("additionalProperties", Value::Bool(true)) if kind == "object" => {}
            ("default" | "minimum" | "maximum" | "pattern", value) => {
                param.insert(key.clone(), value.clone());
            }
            (_, _) => return None,
        }
    }
    if let Some(description) = &property.description {
        param.insert("description".into(), description.as_str().into());
    }
    Some(param)
}

fn schema(properties: &[Property]) -> Map<String, Value> {
    let mut all = Map::new();
    for property in properties {
        let mut own = match &property.schema {
            Value::Object(own) => own.clone(),
            // `true` is a schema as well.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        };
        if let Some(description) = &property.description {
            own.insert("description".into(), description.as_str().into());
        }
        if property.required {
            own.remove("default");
        } else if !own.contains_key("default") {
            // Models write null for a value that they do not give.
            own.insert("default".into(), Value::Null);
        }
        all.insert(property.name.clone(), Value::Object(own));
    }
    let required: Vec<Value> = properties
        .iter()
        .filter(|property| property.required)
        .map(|property| property.name.as_str().into())
        .collect();
    let mut schema = Map::new();
    schema.insert("properties".into(), Value::Object(all));
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    schema.insert("type".into(), "object".into());
    schema
}
