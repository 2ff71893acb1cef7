//! Arguments put into a path, a query or a JSON body, each in its own encoding.
//!
//! Must not know the service they are sent to.

use indexmap::IndexMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::catalogue::Arguments;
use crate::handler::template::{Template, plain};

/// Everything but the unreserved characters of RFC 3986 is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The request target; the error is for the caller.
pub(crate) fn target(
    base: &str,
    path: &Template,
    query: &IndexMap<String, Template>,
    arguments: &Arguments,
) -> Result<String, String> {
    let mut target = base.to_owned() + &path.fill(arguments, segment)?;
    let mut mark = '?';
    for (key, template) in query {
        // Leave out a parameter that was not given.
        if template.names().any(|name| arguments.get(name).is_null()) {
            continue;
        }
        let encoded = |_: &str, value: &Value| Ok::<_, String>(encode(&plain(value)));
        target.push(mark);
        target.push_str(&format!("{}={}", encode(key), template.fill(arguments, encoded)?));
        mark = '&';
    }
    Ok(target)
}

/// A value as one path segment: it can neither add a segment nor move up with `..`.
fn segment(name: &str, value: &Value) -> Result<String, String> {
    if value.is_null() {
        return Err(format!("Please give {name}: it is needed here."));
    }
    let text = plain(value);
    match text.as_str() {
        "" | "." | ".." => Err(format!("{name}: {text:?} cannot be used here.")),
        text => Ok(encode(text)),
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A JSON value with templates in its texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JsonTemplate {
    Fixed(Value),
    Text(Template),
    List(Vec<JsonTemplate>),
    Object(IndexMap<String, JsonTemplate>),
}

impl JsonTemplate {
    pub(crate) fn parse(value: &Value) -> Result<JsonTemplate, String> {
        Ok(match value {
            Value::String(text) => JsonTemplate::Text(Template::parse(text)?),
            Value::Array(values) => {
                JsonTemplate::List(values.iter().map(JsonTemplate::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(object) => {
                let parsed = object.iter().map(|(key, value)| Ok((key.clone(), JsonTemplate::parse(value)?)));
                JsonTemplate::Object(parsed.collect::<Result<_, String>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => JsonTemplate::Fixed(value.clone()),
        })
    }

    /// Every parameter it uses.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            JsonTemplate::Fixed(_) => Vec::new(),
            JsonTemplate::Text(template) => template.names().map(str::to_owned).collect(),
            JsonTemplate::List(values) => values.iter().flat_map(JsonTemplate::names).collect(),
            JsonTemplate::Object(object) => object.values().flat_map(JsonTemplate::names).collect(),
        }
    }

    /// The value with the arguments in it; nothing where it is a parameter that was not given.
    pub(crate) fn fill(&self, arguments: &Arguments) -> Option<Value> {
        match self {
            JsonTemplate::Fixed(value) => Some(value.clone()),
            JsonTemplate::Text(template) => match template.only_name() {
                Some(name) => Some(arguments.get(name).clone()).filter(|value| !value.is_null()),
                None => Some(Value::from(template.to_text(arguments))),
            },
            JsonTemplate::List(values) => {
                Some(values.iter().filter_map(|value| value.fill(arguments)).collect())
            }
            JsonTemplate::Object(object) => {
                let filled =
                    object.iter().filter_map(|(key, value)| Some((key.clone(), value.fill(arguments)?)));
                Some(Value::Object(filled.collect::<Map<_, _>>()))
            }
        }
    }
}
