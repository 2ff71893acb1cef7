//! The body of an operation: each field of a JSON object or a form is a parameter, anything else is one.

use serde_json::{Map, Value};

use super::document::{Document, text_of};
use super::property::Property;
use super::schema::{Direction, inline};
use crate::import::names::Names;

const FORM: &str = "application/x-www-form-urlencoded";

/// A body, and what a caller gives for it.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) properties: Vec<Property>,
    /// The key of `[tool.http]` and its value.
    pub(super) content: Option<(&'static str, Value)>,
    /// The media type, where it is not `application/json`.
    pub(super) media_type: Option<String>,
    pub(super) notes: Vec<String>,
}

/// The body of an operation; the error is why there can be no tool.
pub(super) fn body(document: &Document, operation: &Value, names: &mut Names) -> Result<Body, String> {
    let Some(declared) = operation.get("requestBody") else { return Ok(Body::default()) };
    let declared = document.resolve(declared)?;
    let required = declared.get("required") == Some(&Value::Bool(true));
    let Some(content) = declared.get("content").and_then(Value::as_object) else {
        return Ok(Body::default());
    };
    let bare = |media: &str| media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = |media: &str| media == "application/json" || media.ends_with("+json");
    let find = |fits: &dyn Fn(&str) -> bool| content.iter().find(|(media, _)| fits(&bare(media)));
    let chosen = find(&|media| media == "application/json")
        .or_else(|| find(&is_json))
        .or_else(|| find(&|media| media == FORM))
        .or_else(|| find(&|media| media == "*/*"));
    let Some((media, described)) = chosen else {
        let known: Vec<&str> = content.keys().map(String::as_str).collect();
        let reason = format!("its body is {}, and a tool sends JSON or a form", known.join(", "));
        return if required {
            Err(reason)
        } else {
            Ok(Body { notes: vec![format!("Without a body: {reason}.")], ..Body::default() })
        };
    };
    let media = bare(media);
    let schema = match described.get("schema") {
        Some(schema) => inline(document, schema, Direction::Sent)?,
        None => Value::Object(Map::new()),
    };
    let mut body =
        if media == FORM { form(&schema, names)? } else { json(declared, schema, required, names) };
    let needs_type = media != FORM && media != "application/json" && media != "*/*";
    body.media_type = needs_type.then_some(media);
    Ok(body)
}

/// The fields of an object that has nothing but fields.
fn fields(schema: &Value) -> Option<&Map<String, Value>> {
    let object = schema.as_object()?;
    const PLAIN: [&str; 8] = [
        "type",
        "properties",
        "required",
        "title",
        "description",
        "additionalProperties",
        "default",
        "format",
    ];
    let is_plain = object.keys().all(|key| PLAIN.contains(&key.as_str()));
    let takes_more = object.get("additionalProperties").is_some_and(Value::is_object);
    let kind_fits = object.get("type").is_none_or(|kind| kind == "object");
    let properties = object.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty())?;
    (is_plain && kind_fits && !takes_more).then_some(properties)
}

fn json(declared: &Value, schema: Value, required: bool, names: &mut Names) -> Body {
    let mut body = Body::default();
    if let Some(fields) = fields(&schema) {
        let template = body.add_fields(&schema, fields, names);
        body.content = Some(("json", Value::Object(template)));
        return body;
    }
    let name = names.param("body");
    let description = text_of(declared, "description").or_else(|| text_of(&schema, "description"));
    let description = description.map(str::to_owned);
    body.content = Some(("json", Value::from(format!("{{{name}}}"))));
    body.properties.push(Property { name, required, schema, description });
    body
}

fn form(schema: &Value, names: &mut Names) -> Result<Body, String> {
    let mut body = Body::default();
    let Some(fields) = fields(schema) else {
        return Err("its form has no fields that are known".to_owned());
    };
    let is_object = |(_, field): &(&String, &Value)| field.get("type") == Some(&Value::from("object"));
    if let Some((name, _)) = fields.iter().find(is_object) {
        return Err(format!("the field {name} of its form is an object"));
    }
    let template = body.add_fields(schema, fields, names);
    body.content = Some(("form", Value::Object(template)));
    Ok(body)
}

impl Body {
    fn add_fields(
        &mut self,
        schema: &Value,
        fields: &Map<String, Value>,
        names: &mut Names,
    ) -> Map<String, Value> {
        let needed = schema.get("required").and_then(Value::as_array);
        let mut template = Map::new();
        for (key, field) in fields {
            let name = names.param(key);
            let is_needed = needed.is_some_and(|needed| needed.iter().any(|name| name == key.as_str()));
            template.insert(key.clone(), format!("{{{name}}}").into());
            let description = text_of(field, "description").map(str::to_owned);
            // Also where the body itself may be left out: a tool always sends an object or a form.
            self.properties.push(Property { name, required: is_needed, schema: field.clone(), description });
        }
        template
    }
}
