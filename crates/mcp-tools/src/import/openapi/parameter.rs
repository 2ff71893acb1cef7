//! Parameters of an operation: in its path, query and header fields.

use serde_json::{Map, Value};

use super::document::{Document, text_of};
use super::property::Property;
use super::schema::{Direction, inline};
use crate::import::names::Names;

/// Where parameters go, and what a caller gives for them.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) properties: Vec<Property>,
    /// The parameter of each name in the path.
    pub(super) path: Map<String, Value>,
    pub(super) query: Map<String, Value>,
    pub(super) headers: Map<String, Value>,
    /// How a list becomes one value.
    pub(super) lists: Map<String, Value>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// Header fields that a document must not describe as parameters.
const OTHERS: [&str; 3] = ["accept", "content-type", "authorization"];

/// Every parameter of the operation and of its path; the error is why there can be no tool.
pub(super) fn parameters(
    document: &Document,
    item: &Value,
    operation: &Value,
    names: &mut Names,
) -> Result<Placed, String> {
    let mut found: Vec<&Value> = Vec::new();
    let identity = |parameter: &Value| {
        (text_of(parameter, "name").map(str::to_owned), text_of(parameter, "in").map(str::to_owned))
    };
    let listed =
        |holder: &'_ Value| holder.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let all = [listed(item), listed(operation)].concat();
    let mut resolved = Vec::new();
    for parameter in &all {
        resolved.push(document.resolve(parameter)?.clone());
    }
    for parameter in &resolved {
        // That of the operation replaces that of the path.
        found.retain(|other| identity(other) != identity(parameter));
        found.push(parameter);
    }
    let mut placed = Placed::default();
    for parameter in found {
        let (Some(name), Some(place)) = (text_of(parameter, "name"), text_of(parameter, "in")) else {
            return Err("a parameter has no name or no place".to_owned());
        };
        if place == "header" && OTHERS.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            continue;
        }
        let required = place == "path" || parameter.get("required") == Some(&Value::Bool(true));
        match placed.add(document, parameter, (name, place, required), names) {
            Err(reason) if required => return Err(format!("the parameter {name}: {reason}")),
            Err(reason) => placed.notes.push(format!("Without the parameter {name}: {reason}.")),
            Ok(()) => {}
        }
    }
    Ok(placed)
}

impl Placed {
    fn add(
        &mut self,
        document: &Document,
        parameter: &Value,
        (name, place, required): (&str, &str, bool),
        names: &mut Names,
    ) -> Result<(), String> {
        let Some(schema) = parameter.get("schema") else {
            return Err("has a media type of its own, which no tool can write".to_owned());
        };
        let schema = inline(document, schema, Direction::Sent)?;
        let style = text_of(parameter, "style");
        let explode = parameter.get("explode").and_then(Value::as_bool);
        let description = text_of(parameter, "description").or_else(|| text_of(&schema, "description"));
        let description = description.map(str::to_owned);
        let mut property = Property { name: String::new(), required, schema, description };
        let is_list = property.kind() == Some("array");
        if property.kind() == Some("object") {
            return Err(format!("an object in the {place} cannot be written"));
        }
        let list = match (place, style.unwrap_or(if place == "query" { "form" } else { "simple" }), explode) {
            ("path" | "header", "simple", _) if is_list => {
                return Err(format!("a list in the {place} cannot be written"));
            }
            ("path" | "header", "simple", _) | ("query", "form", None | Some(true)) => None,
            ("query", "form", Some(false)) => Some("comma"),
            ("query", "spaceDelimited", _) => Some("space"),
            ("query", "pipeDelimited", _) => Some("pipe"),
            ("cookie", _, _) => return Err("a cookie cannot be sent".to_owned()),
            (_, style, _) => return Err(format!("the style {style} cannot be written")),
        };
        let param = names.param(name);
        let template = Value::from(format!("{{{param}}}"));
        if let Some(list) = list.filter(|_| is_list) {
            self.lists.insert(param.clone(), list.into());
        }
        let target = match place {
            "path" => &mut self.path,
            "query" => &mut self.query,
            _ => &mut self.headers,
        };
        target.insert(name.to_owned(), template);
        property.name = param;
        self.properties.push(property);
        Ok(())
    }
}
