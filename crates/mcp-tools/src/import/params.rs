//! An input schema as `params`, where these give exactly its bytes.

use serde_json::{Map, Value, json};

use super::draft::{Entry, InputDraft, ToolDraft};
use super::write::{registry_of, tool_text};

/// Any identity: a file without one may get a default that takes time to read.
const SERVER: &str = "[server]\nname = \"-\"\n";

/// Keys that a parameter takes over from its schema as they are.
const KEPT: [&str; 6] = ["description", "enum", "minimum", "maximum", "pattern", "format"];

/// `params` if a server would list the very same schema for them, else the schema itself.
pub(crate) fn input_of(tool_name: &str, schema: &Map<String, Value>) -> InputDraft {
    let whole = || InputDraft::Schema(schema.clone());
    let Some(params) = params(schema) else { return whole() };
    let trial = ToolDraft {
        notes: Vec::new(),
        name: tool_name.to_owned(),
        title: None,
        description: "-".to_owned(),
        read_only: true,
        annotations: Map::new(),
        input: InputDraft::Params(params),
        output_schema: None,
        handler: ("refuse", vec![Entry::new("reason", "-")]),
    };
    let listed = tool_text(&trial).and_then(|text| registry_of(&format!("{SERVER}{text}"))).ok();
    let same = listed.is_some_and(|registry| {
        registry.tool(tool_name).is_some_and(|tool| {
            serde_json::to_string(tool.input().schema()).ok() == serde_json::to_string(schema).ok()
        })
    });
    if same { trial.input } else { whole() }
}

fn params(schema: &Map<String, Value>) -> Option<Vec<(String, Map<String, Value>)>> {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties")?.as_object()?;
    let param = |(name, property): (&String, &Value)| {
        let is_required = required.is_some_and(|names| names.iter().any(|required| required == name));
        Some((name.clone(), param(property.as_object()?, is_required)?))
    };
    properties.iter().map(param).collect()
}

fn param(property: &Map<String, Value>, required: bool) -> Option<Map<String, Value>> {
    let mut param = Map::new();
    let (kind, nullable) = match (property.get("type"), property.get("anyOf")) {
        (Some(Value::String(kind)), None) => (kind.clone(), false),
        (None, Some(branches)) => {
            let kind = branches.get(0)?.get("type")?.as_str()?;
            if *branches != json!([{ "type": kind }, { "type": "null" }]) {
                return None;
            }
            (kind.to_owned(), true)
        }
        (_, _) => return None,
    };
    param.insert("type".into(), kind.into());
    if required {
        param.insert("required".into(), true.into());
    } else if let Some(default) = property.get("default").filter(|default| !default.is_null()) {
        param.insert("default".into(), default.clone());
    }
    if nullable {
        param.insert("nullable".into(), true.into());
    }
    if let Some(items) = property.get("items").and_then(|items| items.get("type")) {
        param.insert("items".into(), items.clone());
    }
    for key in KEPT {
        if let Some(value) = property.get(key) {
            param.insert(key.to_owned(), value.clone());
        }
    }
    Some(param)
}
