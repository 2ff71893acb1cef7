//! An OpenAPI document (3.0 or 3.1) as tools that call its operations.
//!
//! What `[tool.http]` cannot express is omitted with the reason. Must not call the service.

mod body;
mod document;
mod operation;
mod parameter;
mod property;
mod response;
mod schema;
mod security;
mod services;

pub(crate) use document::DocumentError;

use super::draft::{Draft, Omitted};
use super::names::Names;
use document::{Document, OPERATIONS_MAX};
use operation::Operation;
use services::Services;

/// Methods that a tool may use, as a document spells them.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const OTHER_METHODS: [&str; 4] = ["head", "options", "trace", "query"];

/// Declares a tool for each operation.
pub(crate) fn import_openapi(text: &str, shown: &str) -> Result<Draft, DocumentError> {
    let document = Document::parse(text)?;
    let mut draft = Draft::default();
    draft.notes.push(format!("Imported from {shown} by mcp-tools import."));
    let title = document.text("/info/title").unwrap_or("api");
    let mut services = Services::new(&document, title, &mut draft.notes);
    let mut names = Names::default();
    let mut count = 0;
    for (path, item) in document.object("/paths") {
        let item = match document.resolve(item) {
            Ok(item) => item,
            Err(reason) => {
                draft.omitted.push(Omitted { what: path.clone(), reason });
                continue;
            }
        };
        for method in OTHER_METHODS.iter().filter(|method| item.get(**method).is_some()) {
            let what = format!("{} {path}", method.to_ascii_uppercase());
            draft.omitted.push(Omitted { what, reason: "no tool can use this method".to_owned() });
        }
        for method in METHODS {
            let Some(declared) = item.get(method) else { continue };
            count += 1;
            if count > OPERATIONS_MAX {
                return Err(DocumentError::TooMany);
            }
            let operation = Operation { document: &document, method, path, item, declared };
            match operation.tool(&mut names, &mut services) {
                Ok(tool) => draft.tools.push(tool),
                Err(reason) => draft.omitted.push(Omitted { what: operation.shown(), reason }),
            }
        }
    }
    for (name, _) in document.object("/webhooks") {
        let reason = "the service calls it, no tool does".to_owned();
        draft.omitted.push(Omitted { what: format!("webhook {name}"), reason });
    }
    draft.tables = services.tables();
    Ok(draft)
}
