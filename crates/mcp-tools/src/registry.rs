//! The tools of one moment: immutable, shared, and the single source of `tools/list`, `swf_list_available_tools` and
//! of what can be called.
//!
//! A reload replaces the whole registry; a call that began on the old one finishes on it. Must not know how a request
//! arrives.

use std::collections::HashMap;
use std::sync::Arc;

use rmcp::model::{Tool as ListedTool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::cached_responses::{Fixed, Prepared};
use super::catalogue::Input;
use super::handler::Handler;
use super::mcp_headers::{Repeated, repeated};

/// A tool: what clients see of it, how its arguments are judged, and what it does.
pub(super) struct Tool {
    listed: ListedTool,
    read_only: bool,
    input: Input,
    repeated: Vec<Repeated>,
    handler: Handler,
    fixed: Option<Fixed>,
}

/// What a tool is declared with.
pub(super) struct ToolParts {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) read_only: bool,
    pub(super) input: Input,
    pub(super) output_schema: Option<Map<String, Value>>,
    pub(super) handler: Handler,
}

impl Tool {
    pub(super) fn new(parts: ToolParts) -> Tool {
        let schema = Arc::clone(parts.input.schema());
        let repeated = repeated(&schema);
        let mut listed = ListedTool::new(parts.name, parts.description, schema);
        listed.output_schema = parts.output_schema.map(Arc::new);
        listed.annotations = Some(ToolAnnotations::new().read_only(parts.read_only));
        let ToolParts { read_only, input, handler, .. } = parts;
        Tool { listed, read_only, input, repeated, handler, fixed: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.listed.name
    }

    pub(super) fn description(&self) -> &str {
        self.listed.description.as_deref().unwrap_or_default()
    }

    pub(super) fn read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn listed(&self) -> &ListedTool {
        &self.listed
    }

    pub(super) fn structured(&self) -> bool {
        self.listed.output_schema.is_some()
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    pub(super) fn handler(&self) -> &Handler {
        &self.handler
    }

    /// The parameters that a client must repeat in headers.
    pub(super) fn repeated(&self) -> &[Repeated] {
        &self.repeated
    }

    /// The answer, when it is the same for every call.
    pub(super) fn fixed(&self) -> Option<&Fixed> {
        self.fixed.as_ref()
    }

    /// The entry of `swf_list_available_tools`.
    fn self_description(&self) -> Value {
        let parameters: Vec<&str> = self.input.params().iter().map(|param| param.name.as_str()).collect();
        json!({ "name": self.name(), "description": self.description(), "parameters": parameters })
    }
}

/// Every tool, in the order of declaration.
pub(super) struct Registry {
    tools: Vec<Tool>,
    places: HashMap<String, usize>,
    self_descriptions: Vec<Value>,
    prepared: Prepared,
}

impl Registry {
    pub(super) fn new(mut tools: Vec<Tool>, instructions: &str) -> Registry {
        let places = tools.iter().enumerate().map(|(place, tool)| (tool.name().to_owned(), place)).collect();
        let self_descriptions: Vec<Value> = tools.iter().map(Tool::self_description).collect();
        for tool in &mut tools {
            let done = tool.handler.fixed(&self_descriptions);
            tool.fixed = done.map(|done| Fixed::new(done, tool.structured()));
        }
        let listed: Vec<ListedTool> = tools.iter().map(|tool| tool.listed.clone()).collect();
        let prepared = Prepared::new(listed, instructions);
        Registry { tools, places, self_descriptions, prepared }
    }

    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(*self.places.get(name)?)
    }

    pub(super) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The answers that are ready.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The answer of the tool that lists tools.
    pub(super) fn self_descriptions(&self) -> &[Value] {
        &self.self_descriptions
    }
}
