//! Builds the registry that catalogue files declare, or reports every problem.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mcp_host::diagnostics::{Diagnostic, Diagnostics};

use super::databases::declared_databases;
use super::server::declared_identity;
use super::snapshot::{Data, Registry};
use super::tool::{Tool, ToolParts};
use crate::catalogue::file::{Declared, Document, ServiceFile, ToolFile, parse};
use crate::catalogue::{Output, Source, examples, input_schema};
use crate::handler::{Handler, Service, Services};

/// Builds the registry that `sources` declare, or reports every problem. `instructions` replace those of the catalogue.
pub(crate) fn build(sources: &[Source], instructions: Option<Arc<str>>) -> Result<Registry, Diagnostics> {
    let mut problems = Vec::new();
    let documents: Vec<(&Source, Document)> =
        sources.iter().map(|source| (source, parse(source, &mut problems))).collect();
    let identity = declared_identity(&documents, instructions, &mut problems);
    let databases = declared_databases(&documents, &mut problems);
    let services = build_services(&documents, &mut problems);
    let mut tools: Vec<Tool> = Vec::new();
    let mut seen = HashSet::new();
    for (source, document) in documents {
        for Declared { at, mistaken, declaration: tool } in document.tools {
            let nameless = mistaken.iter().any(|key| key == "name");
            let key = if nameless { "tool".to_owned() } else { format!("tool.{}", tool.name) };
            if !nameless && !seen.insert(tool.name.clone()) {
                problems.push(source.problem(at, &key, "is declared twice"));
                continue;
            }
            match build_tool(tool, identity.instructions.as_ref(), &services) {
                Ok(tool) => tools.push(tool.declared_at(source.location(at))),
                Err(reasons) => {
                    let reasons = reasons.iter().filter(|reason| !follows(reason, &mistaken));
                    problems.extend(reasons.map(|reason| source.problem(at, &key, reason)));
                }
            }
        }
    }
    if let (true, true, Some(first)) = (tools.is_empty(), problems.is_empty(), sources.first()) {
        let reason = "no tool is declared; clients would find nothing to call (hint: is the file whole?)";
        problems.push(first.problem(0, "tool", reason));
    }
    if problems.is_empty() {
        let data = if sources.iter().any(Source::is_builtin) { Data::Demonstration } else { Data::OfItsOwn };
        Ok(Registry::new(tools, identity, databases, data))
    } else {
        Err(Diagnostics { problems, warnings: Vec::new() })
    }
}

/// Whether a reason only follows from a key that was removed because of a mistake.
fn follows(reason: &str, mistaken: &[String]) -> bool {
    const HANDLERS: [&str; 6] = ["text", "catalog", "server", "refuse", "sql", "http"];
    let names = |word: &str| {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        reason.split(|letter| !is_part(letter)).any(|part| part == word)
    };
    mistaken.iter().any(|key| {
        let outside = key.split('[').next().unwrap_or_default();
        let steps: Vec<&str> = outside.split('.').collect();
        let named = match steps.as_slice() {
            ["params"] => true,
            ["params", name, ..] | [_, "let", name, ..] => names(name),
            [handler, ..] => HANDLERS.contains(handler) && reason.starts_with("has no handler"),
            [] => false,
        };
        named || reason.starts_with(outside)
    })
}

/// The services of all files: a tool may use a service of another file, and two files may declare the same one.
fn build_services(documents: &[(&Source, Document)], problems: &mut Vec<Diagnostic>) -> Services {
    let mut services = Services::new();
    let mut seen: HashMap<&str, &ServiceFile> = HashMap::new();
    for (source, document) in documents {
        for Declared { at, mistaken, declaration: (name, file) } in &document.services {
            if !mistaken.is_empty() {
                // Keep the name, so that tools that use it are not reported as well.
                services.insert(name.clone(), Service::unknown(name));
                continue;
            }
            let key = format!("service.{name}");
            match seen.insert(name, file) {
                Some(before) if before != file => {
                    problems.push(source.problem(*at, &key, "is declared twice, and differently"));
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            match Service::build(name, file) {
                Ok(service) => {
                    services.insert(name.clone(), service);
                }
                Err(reasons) => {
                    problems.extend(reasons.iter().map(|reason| source.problem(*at, &key, reason)));
                }
            }
        }
    }
    services
}

fn build_tool(
    tool: ToolFile,
    instructions: Option<&Arc<str>>,
    services: &Services,
) -> Result<Tool, Vec<String>> {
    let mut reasons: Vec<String> = Vec::new();
    if let Err(reason) = check_name(&tool.name) {
        reasons.push(reason);
    }
    if tool.description.trim().is_empty() {
        reasons.push("description: is empty; a model chooses tools by it".into());
    }
    let output = tool.output_schema.as_deref().map(Output::compile);
    let output = output.transpose().map_err(|reason| reasons.push(reason));
    let input = input_schema(&tool).map_err(|more| reasons.extend(more));
    let examples = match &input {
        Ok(input) => examples(&tool.example, input).map_err(|more| reasons.extend(more)),
        Err(()) => Ok(Vec::new()),
    };
    let (name, description) = (tool.name.clone(), tool.description.clone());
    let (read_only, identity, annotations) = (tool.read_only, tool.identity, tool.annotations);
    let title = tool.title.clone();
    if title.as_ref().is_some_and(|title| title.trim().is_empty()) {
        reasons.push("title: is empty; clients show it (remove it, and they show the name)".into());
    }
    if read_only && (annotations.destructive.is_some() || annotations.idempotent.is_some()) {
        reasons.push(
            "annotations: destructive and idempotent have no meaning for a tool with read_only = true".into(),
        );
    }
    let declared = Handler::check_declared(&tool).map_err(|reason| reasons.push(reason));
    let handler = match (&input, declared) {
        (Ok(input), Ok(())) => {
            Handler::build(tool, input, instructions, services).map_err(|more| reasons.extend(more))
        }
        (_, _) => Err(()),
    };
    if let (Ok(Some(output)), Ok(handler)) = (&output, &handler) {
        reasons.extend(handler.contradiction(output));
    }
    match (output, input, handler, examples) {
        (Ok(output), Ok(input), Ok(handler), Ok(examples)) if reasons.is_empty() => {
            Ok(Tool::new(ToolParts {
                name,
                title,
                description,
                read_only,
                annotations,
                identity,
                input,
                output,
                examples,
                handler,
            }))
        }
        (_, _, _, _) => Err(reasons),
    }
}

/// The protocol's own rule for tool names, which clients build function names from.
fn check_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(legal) {
        return Err("name: must be 1 to 128 of A-Z a-z 0-9 _ - .".into());
    }
    Ok(())
}
