//! What was learnt about one server, as plain data.

use serde_json::Value;

/// How a server introduced itself, in `initialize` or `server/discover`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Handshake {
    pub protocol_version: String,
    /// All versions that it says it speaks: one in the legacy era.
    pub supported_versions: Vec<String>,
    pub server_name: Option<String>,
    pub server_version: Option<String>,
    /// `result.instructions`.
    pub instructions: Option<String>,
    pub capabilities: Value,
}

/// A tool as `tools/list` declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    pub input_schema: Option<Value>,
    pub output_schema: Option<Value>,
    pub annotations: Option<Value>,
}

impl Tool {
    /// Reads one element of `tools`; only a missing name makes it unreadable.
    pub fn from_json(value: &Value) -> Option<Tool> {
        let field = |key: &str| value.get(key).filter(|value| !value.is_null()).cloned();
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Tool {
            name: text("name")?,
            description: text("description"),
            input_schema: field("inputSchema"),
            output_schema: field("outputSchema"),
            annotations: field("annotations"),
        })
    }
}
