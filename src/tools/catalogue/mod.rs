//! Tool catalogues: TOML files that declare tools, read and judged as a whole.
//!
//! Every problem of every file is reported at once, with file, line, key and reason; a catalogue with a problem builds
//! nothing. Must not know the protocol or run a tool.

mod builtin;
mod file;
mod problem;
mod schema;

use std::path::PathBuf;
use std::sync::Arc;

pub(super) use builtin::{BUILTIN_INSTRUCTIONS, builtin_sources};
pub(super) use file::{ServerReport, TextSource, ToolFile};
pub(super) use problem::{Problem, Problems};
pub(super) use schema::{Arguments, Input};

use super::handler::Handler;
use super::registry::{Registry, Tool, ToolParts};

/// One catalogue file: where it came from, and its text.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// Reads a catalogue file.
    pub(super) fn read(path: &PathBuf) -> Result<Source, Problem> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Source { name: path.display().to_string(), text }),
            Err(error) => Err(Problem::unread(path.display().to_string(), &error)),
        }
    }
}

/// Builds the registry that `sources` declare, or says everything that is wrong with them.
pub(super) fn build(sources: &[Source], instructions: Arc<str>) -> Result<Registry, Problems> {
    let mut problems = Problems::default();
    let mut tools: Vec<Tool> = Vec::new();
    for source in sources {
        let declared = file::parse(source, &mut problems);
        for declaration in declared {
            let at = declaration.line;
            let name = declaration.tool.name.clone();
            if tools.iter().any(|tool| tool.name() == name) {
                problems.add(source, at, format!("tool.{name}"), "is declared twice".into());
                continue;
            }
            if let Some(tool) = build_tool(source, declaration, &instructions, &mut problems) {
                tools.push(tool);
            }
        }
    }
    problems.into_result(|| Registry::new(tools, instructions))
}

fn build_tool(
    source: &Source,
    declaration: file::Declared,
    instructions: &Arc<str>,
    problems: &mut Problems,
) -> Option<Tool> {
    let file::Declared { line, tool } = declaration;
    let key = format!("tool.{}", tool.name);
    let mut report = |reason: String| problems.add(source, line, key.clone(), reason);
    if let Err(reason) = check_name(&tool.name) {
        report(reason);
    }
    if tool.description.trim().is_empty() {
        report("description: is empty; a model chooses tools by it".into());
    }
    let input = match schema::input_schema(&tool) {
        Ok(input) => Some(input),
        Err(reasons) => {
            reasons.into_iter().for_each(&mut report);
            None
        }
    };
    let handler = match Handler::build(&tool, instructions) {
        Ok(handler) => Some(handler),
        Err(reasons) => {
            reasons.into_iter().for_each(&mut report);
            None
        }
    };
    let output_schema =
        match tool.output_schema.as_deref().map(|text| schema::parse_object(text, "output_schema")) {
            Some(Ok(schema)) => Some(schema),
            Some(Err(reason)) => {
                report(reason);
                None
            }
            None => None,
        };
    let ToolFile { name, description, read_only, .. } = tool;
    Some(Tool::new(ToolParts {
        name,
        description,
        read_only,
        input: input?,
        output_schema,
        handler: handler?,
    }))
}

/// The protocol's own rule for tool names, which clients build function names from.
fn check_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(legal) {
        return Err("name: must be 1 to 128 of A-Z a-z 0-9 _ - .".into());
    }
    Ok(())
}
