//! A schema of the document as one JSON Schema 2020-12 without references.
//!
//! A schema that contains itself comes once more in itself; below that it is "anything". Must not know what the schema is for.

use serde_json::{Map, Value, json};

use super::document::Document;

/// Values of one inlined schema.
const NODES_MAX: usize = 4_000;
const DEPTH_MAX: usize = 48;

/// Words for people and tools that say nothing of a value.
const DROPPED: [&str; 10] = [
    "example",
    "examples",
    "xml",
    "externalDocs",
    "discriminator",
    "deprecated",
    "readOnly",
    "writeOnly",
    "nullable",
    "$comment",
];

/// Whose value a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The client's: it has nothing that only the service writes.
    Sent,
    /// The service's. It may have more than the document says, and formats are not checked.
    Received,
}

/// The schema with everything in it.
pub(super) fn inline(document: &Document, schema: &Value, direction: Direction) -> Result<Value, String> {
    let with = |levels| Inliner { document, direction, levels, open: Vec::new(), nodes: 0 }.schema(schema);
    with(2).or_else(|_| with(1))
}

struct Inliner<'d> {
    document: &'d Document,
    direction: Direction,
    /// How often a schema may stand in itself, with the first time.
    levels: usize,
    /// References that are being resolved.
    open: Vec<String>,
    nodes: usize,
}

impl Inliner<'_> {
    fn schema(&mut self, schema: &Value) -> Result<Value, String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("its schema has more than {NODES_MAX} parts when references are resolved"));
        }
        let Some(object) = schema.as_object() else { return Ok(schema.clone()) };
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            return self.reference(reference, object);
        }
        let mut made = Map::new();
        for (key, value) in object {
            if DROPPED.contains(&key.as_str()) || key.starts_with("x-") || self.is_too_strict(key, value) {
                continue;
            }
            made.insert(key.clone(), self.keyword(key, value)?);
        }
        older(&mut made, object);
        Ok(Value::Object(merged(made)))
    }

    /// Whether a result would be refused for something that harms no reader.
    fn is_too_strict(&self, key: &str, value: &Value) -> bool {
        self.direction == Direction::Received
            && (key == "format" || key == "additionalProperties" && *value == Value::Bool(false))
    }

    fn reference(&mut self, reference: &str, beside: &Map<String, Value>) -> Result<Value, String> {
        if self.open.iter().filter(|open| *open == reference).count() >= self.levels
            || self.open.len() >= DEPTH_MAX
        {
            return Ok(json!({}));
        }
        let target = self.document.referenced(reference)?.clone();
        self.open.push(reference.to_owned());
        let made = self.schema(&target);
        self.open.pop();
        let mut made = made?;
        // 3.1 lets a description stand beside a reference.
        if let (Some(made), Some(text)) = (made.as_object_mut(), beside.get("description")) {
            made.insert("description".into(), text.clone());
        }
        Ok(made)
    }

    fn keyword(&mut self, key: &str, value: &Value) -> Result<Value, String> {
        match (key, value) {
            ("properties" | "patternProperties" | "$defs", Value::Object(schemas)) => {
                let mut made = Map::new();
                for (name, schema) in schemas {
                    let absent = match self.direction {
                        Direction::Sent => "readOnly",
                        Direction::Received => "writeOnly",
                    };
                    if schema.get(absent) != Some(&Value::Bool(true)) {
                        made.insert(name.clone(), self.schema(schema)?);
                    }
                }
                Ok(Value::Object(made))
            }
            ("items" | "additionalProperties" | "not" | "contains" | "propertyNames", Value::Object(_)) => {
                self.schema(value)
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => schemas
                .iter()
                .map(|schema| self.schema(schema))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array),
            (_, _) => Ok(value.clone()),
        }
    }
}

/// The words of 3.0 in those of JSON Schema 2020-12.
fn older(made: &mut Map<String, Value>, object: &Map<String, Value>) {
    if object.get("nullable") == Some(&Value::Bool(true))
        && let Some(Value::String(kind)) = made.get("type").cloned()
    {
        made.insert("type".into(), json!([kind, "null"]));
    }
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match made.get(exclusive).and_then(Value::as_bool) {
            Some(true) => {
                made.remove(exclusive);
                if let Some(value) = made.remove(bound) {
                    made.insert(exclusive.into(), value);
                }
            }
            Some(false) => {
                made.remove(exclusive);
            }
            None => {}
        }
    }
    let properties: Vec<String> = made
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let dropped =
        object.get("properties").and_then(Value::as_object).is_some_and(|all| all.len() > properties.len());
    if let (true, Some(Value::Array(required))) = (dropped, made.get_mut("required")) {
        required
            .retain(|name| name.as_str().is_some_and(|name| properties.iter().any(|known| known == name)));
    }
}

/// Objects that `allOf` puts together, as one.
fn merged(mut schema: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(parts)) = schema.get("allOf") else { return schema };
    const MERGED: [&str; 6] = ["type", "properties", "required", "description", "title", "default"];
    let fits = |part: &Value| {
        part.as_object().is_some_and(|part| {
            part.keys().all(|key| MERGED.contains(&key.as_str()))
                && part.get("type").is_none_or(|kind| kind == "object")
        })
    };
    // One part is what 3.0 writes to put a description beside a reference.
    let only = (parts.len() == 1).then(|| parts.first().and_then(Value::as_object).cloned()).flatten();
    if let Some(mut only) = only
        && schema.keys().all(|key| matches!(key.as_str(), "allOf" | "description" | "title" | "default"))
    {
        schema.remove("allOf");
        only.extend(schema);
        return only;
    }
    if !parts.iter().all(fits) {
        return schema;
    }
    let Some(Value::Array(parts)) = schema.remove("allOf") else { return schema };
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let own = Value::Object(schema.clone());
    for part in parts.iter().chain([&own]) {
        properties.extend(part.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
        required.extend(part.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    schema
}
