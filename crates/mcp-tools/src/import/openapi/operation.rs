//! One operation as a tool.

use serde_json::{Map, Value};

use super::body::body;
use super::document::{Document, text_of};
use super::parameter::parameters;
use super::property::input;
use super::response::output_schema;
use super::security::credentials;
use super::services::Services;
use crate::import::draft::{Entry, ToolDraft};
use crate::import::names::Names;

/// Names that templates fill in themselves.
const TAKEN: [&str; 3] = ["now", "client", "subject"];

/// An operation and where it stands.
pub(super) struct Operation<'d> {
    pub(super) document: &'d Document,
    /// In small letters.
    pub(super) method: &'d str,
    pub(super) path: &'d str,
    /// The path's own part of the document.
    pub(super) item: &'d Value,
    pub(super) declared: &'d Value,
}

impl Operation<'_> {
    /// `GET /pets/{id}`.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method.to_ascii_uppercase(), self.path)
    }

    /// The tool; the error is why there can be none.
    pub(super) fn tool(&self, tools: &mut Names, services: &mut Services) -> Result<ToolDraft, String> {
        if self.declared.get("servers").or_else(|| self.item.get("servers")).is_some() {
            return Err("it has servers of its own".to_owned());
        }
        let mut names = Names::beside(&TAKEN);
        let placed = parameters(self.document, self.item, self.declared, &mut names)?;
        let body = body(self.document, self.declared, &mut names)?;
        let path = self.filled_path(&placed.path)?;
        let credentials = credentials(self.document, self.declared)?;
        let read_only = self.method == "get";
        if read_only && body.content.is_some() {
            return Err("a GET with a body".to_owned());
        }
        let mut entries = vec![
            Entry::new("service", services.with(&credentials)),
            Entry::new("method", self.method.to_ascii_uppercase()),
            Entry::new("path", path),
        ];
        let keys = [("query", placed.query), ("headers", placed.headers), ("lists", placed.lists)];
        let given = keys.into_iter().filter(|(_, value)| !value.is_empty());
        entries.extend(given.map(|(key, value)| Entry::new(key, Value::Object(value))));
        entries.extend(body.content.map(|(key, value)| Entry::new(key, value)));
        // Without the reason of a refusal a model cannot correct its arguments.
        entries.push(Entry::new("tell_reason", true));
        entries.extend(body.media_type.map(|media| Entry::new("content_type", media)));
        let properties = [placed.properties, body.properties].concat();
        let identity = text_of(self.declared, "operationId").map(str::to_owned);
        let name =
            identity.unwrap_or_else(|| format!("{}_{}", self.method, self.path.replace(['{', '}'], "")));
        let output = output_schema(self.document, self.declared);
        let output = output.map_err(|reason| format!("Without its output schema: {reason}."));
        let unknown = output.as_ref().err().cloned().into_iter().collect();
        Ok(ToolDraft {
            notes: [placed.notes, body.notes, unknown].concat(),
            name: tools.tool(&name),
            title: None,
            description: self.description(),
            read_only,
            annotations: self.annotations(),
            input: input(&properties),
            output_schema: output.ok().flatten(),
            handler: ("http", entries),
        })
    }

    /// The path with the names of parameters in it.
    fn filled_path(&self, parameters: &Map<String, Value>) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = self.path;
        while let Some(start) = rest.find('{') {
            let (before, after) = rest.split_at(start);
            filled.push_str(before);
            let Some((name, behind)) = after.get(1..).and_then(|after| after.split_once('}')) else {
                return Err("its path has a { that nothing closes".to_owned());
            };
            let Some(template) = parameters.get(name).and_then(Value::as_str) else {
                return Err(format!("its path names {{{name}}}, which no parameter declares"));
            };
            filled.push_str(template);
            rest = behind;
        }
        filled.push_str(rest);
        let unused = parameters.keys().find(|name| !self.path.contains(&format!("{{{name}}}")));
        match unused {
            Some(name) => Err(format!("the parameter {name} is not in its path")),
            None => Ok(filled),
        }
    }

    fn description(&self) -> String {
        let texts = ["summary", "description"].into_iter().filter_map(|key| text_of(self.declared, key));
        let mut texts: Vec<&str> = texts.collect();
        texts.dedup();
        let deprecated = self.declared.get("deprecated") == Some(&Value::Bool(true));
        let mut text = texts.join("\n\n");
        if text.is_empty() {
            text = self.shown();
        }
        if deprecated { format!("Deprecated. {text}") } else { text }
    }

    /// What the method says by RFC 9110.
    fn annotations(&self) -> Map<String, Value> {
        let mut annotations = Map::new();
        if self.method == "delete" {
            annotations.insert("destructive".into(), true.into());
        }
        if matches!(self.method, "put" | "delete") {
            annotations.insert("idempotent".into(), true.into());
        }
        annotations
    }
}
