//! Arguments put into a path, a query or a JSON body, each in its own encoding.
//!
//! Must not know the service they are sent to.

use hyper::header::HeaderValue;
use indexmap::IndexMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::catalogue::file::ListStyle;
use crate::catalogue::{Argument, Arguments};
use crate::handler::template::Template;
use crate::json::Json;

/// Everything but the unreserved characters of RFC 3986 is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The templates of a query or of a form, and how a list in them is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    pub(crate) templates: IndexMap<String, Template>,
    pub(crate) lists: IndexMap<String, ListStyle>,
}

impl Pairs {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.values().flat_map(Template::names)
    }

    /// `key=value&...`, without what was not given; the error is for the caller.
    pub(crate) fn encoded(&self, arguments: &Arguments) -> Result<String, String> {
        let mut pairs = Vec::new();
        for (key, template) in &self.templates {
            if template.names().any(|name| arguments.get(name).is_null()) {
                continue;
            }
            let list =
                template.only_name().and_then(|name| Some((name, arguments.argument(name).elements()?)));
            let values = match list {
                Some((name, elements)) => self.listed(name, &elements)?,
                None => vec![encode(&template.to_text(arguments))],
            };
            pairs.extend(values.into_iter().map(|value| format!("{}={value}", encode(key))));
        }
        Ok(pairs.join("&"))
    }

    /// The values of a list: one for each element, or one for all.
    fn listed(&self, name: &str, elements: &[Argument<'_>]) -> Result<Vec<String>, String> {
        let texts: Vec<String> =
            elements.iter().filter(|element| !element.is_null()).map(|element| element.plain()).collect();
        let Some(style) = self.lists.get(name) else {
            return Ok(texts.iter().map(|text| encode(text)).collect());
        };
        let between = match style {
            ListStyle::Comma => ',',
            ListStyle::Space => ' ',
            ListStyle::Pipe => '|',
        };
        // The service would read such an element as two.
        if texts.iter().any(|text| text.contains(between)) {
            return Err(format!("{name}: an element must not contain {between:?} here."));
        }
        let joined: Vec<String> = texts.iter().map(|text| encode(text)).collect();
        let between = if between == ',' { ",".to_owned() } else { encode(&between.to_string()) };
        Ok(if joined.is_empty() { Vec::new() } else { vec![joined.join(&between)] })
    }
}

/// The request target; the error is for the caller.
pub(crate) fn target(
    base: &str,
    path: &Template,
    query: &Pairs,
    arguments: &Arguments,
) -> Result<String, String> {
    let path = base.to_owned() + &path.fill(arguments, segment)?;
    let query = query.encoded(arguments)?;
    Ok(if query.is_empty() { path } else { format!("{path}?{query}") })
}

/// A value as one path segment: it can neither add a segment nor move up with `..`.
fn segment(name: &str, value: Argument<'_>) -> Result<String, String> {
    if value.is_null() {
        return Err(format!("Please give {name}: it is needed here."));
    }
    let text = value.plain();
    match text.as_str() {
        "" | "." | ".." => Err(format!("{name}: {text:?} cannot be used here.")),
        text => Ok(encode(text)),
    }
}

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum BodyTemplate {
    Json { media_type: HeaderValue, json: JsonTemplate },
    Form(Pairs),
}

impl BodyTemplate {
    /// Every parameter it uses.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            BodyTemplate::Json { json, .. } => json.names(),
            BodyTemplate::Form(pairs) => pairs.names().map(str::to_owned).collect(),
        }
    }

    /// The media type and the body; nothing where the body is a parameter that was not given. The error is for the caller.
    pub(crate) fn fill(&self, arguments: &Arguments) -> Result<Option<(HeaderValue, String)>, String> {
        match self {
            BodyTemplate::Json { media_type, json } => {
                Ok(json.fill(arguments).map(|value| (media_type.clone(), value.as_str().to_owned())))
            }
            BodyTemplate::Form(pairs) => {
                let media_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok(Some((media_type, pairs.encoded(arguments)?)))
            }
        }
    }
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
    pub(crate) fn fill(&self, arguments: &Arguments) -> Option<Json> {
        match self {
            JsonTemplate::Fixed(value) => Some(Json::of(value)),
            JsonTemplate::Text(template) => match template.only_name() {
                Some(name) => {
                    Some(arguments.argument(name)).filter(|value| !value.is_null()).map(Argument::to_json)
                }
                None if template.names().any(|name| arguments.get(name).is_null()) => None,
                None => Some(Json::of(&template.to_text(arguments))),
            },
            JsonTemplate::List(values) => {
                let filled: Vec<Json> = values.iter().filter_map(|value| value.fill(arguments)).collect();
                Some(Json::array(&filled))
            }
            JsonTemplate::Object(object) => {
                let filled: Vec<(&str, Json)> = object
                    .iter()
                    .filter_map(|(key, value)| Some((key.as_str(), value.fill(arguments)?)))
                    .collect();
                Some(Json::object(filled.iter().map(|(key, value)| (*key, value))))
            }
        }
    }
}
