//! The identity of the server that catalogue files declare. Must not know tools.

use std::sync::Arc;

use mcp_host::diagnostics::Diagnostic;

use crate::catalogue::file::{Declared, Document, ServerFile};
use crate::catalogue::{Identity, Source};

/// The `[server]` of the files, which may repeat it. `given` replaces its instructions.
pub(super) fn declared_identity(
    documents: &[(&Source, Document)],
    given: Option<Arc<str>>,
    problems: &mut Vec<Diagnostic>,
) -> Identity {
    let mut found: Option<(&Source, &Declared<ServerFile>)> = None;
    for (source, document) in documents {
        let Some(server) = &document.server else { continue };
        let Declared { at, mistaken, declaration } = server;
        if mistaken.is_empty() && declaration.name.trim().is_empty() {
            problems.push(source.problem(*at, "server", "name: is empty; clients know the server by it"));
        }
        if declaration.instructions.is_some() && declaration.instructions_file.is_some() {
            let reason = "has both instructions and instructions_file; give one";
            problems.push(source.problem(*at, "server", reason));
        }
        if found.is_some_and(|(_, before)| before.declaration != *declaration) {
            problems.push(source.problem(*at, "server", "is declared twice, and differently"));
        }
        found = Some((source, server));
    }
    let instructions = given.or_else(|| {
        let (source, Declared { at, declaration, .. }) = found?;
        match (&declaration.instructions, &declaration.instructions_file) {
            (Some(text), _) => Some(text.as_str().into()),
            (None, Some(name)) => match source.read_beside(name) {
                Ok(text) => Some(text.into()),
                Err(reason) => {
                    problems.push(source.problem(*at, "server", &format!("instructions_file: {reason}")));
                    None
                }
            },
            (None, None) => None,
        }
    });
    Identity::new(found.map(|(_, server)| server.declaration.clone()), instructions)
}
