//! The TOML mirror of `params.NAME`.

use serde::Deserialize;

/// One parameter: the FastMCP form is generated from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParamFile {
    #[serde(rename = "type")]
    pub(crate) kind: ParamKind,
    #[serde(default)]
    pub(crate) required: bool,
    /// Absent and not required means: optional, and `null` by default.
    pub(crate) default: Option<toml::Value>,
    /// Whether `null` is a value of its own (`anyOf` with null in the schema).
    #[serde(default)]
    pub(crate) nullable: bool,
    pub(crate) description: Option<String>,
    /// The type of an array's elements.
    pub(crate) items: Option<ItemKind>,
    #[serde(rename = "enum")]
    pub(crate) choices: Option<Vec<toml::Value>>,
    pub(crate) minimum: Option<toml::Value>,
    pub(crate) maximum: Option<toml::Value>,
    /// A regular expression of JSON Schema, which clients see.
    pub(crate) pattern: Option<String>,
    pub(crate) format: Option<TextFormat>,
}

/// The JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParamKind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl ParamKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ParamKind::String => "string",
            ParamKind::Integer => "integer",
            ParamKind::Number => "number",
            ParamKind::Boolean => "boolean",
            ParamKind::Array => "array",
            ParamKind::Object => "object",
        }
    }
}

/// The JSON type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ItemKind {
    String,
    Integer,
    Number,
    Boolean,
}

impl ItemKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ItemKind::String => "string",
            ItemKind::Integer => "integer",
            ItemKind::Number => "number",
            ItemKind::Boolean => "boolean",
        }
    }
}

/// The form of a text, which the server checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TextFormat {
    Uuid,
    Date,
    DateTime,
}

impl TextFormat {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            TextFormat::Uuid => "uuid",
            TextFormat::Date => "date",
            TextFormat::DateTime => "date-time",
        }
    }
}
