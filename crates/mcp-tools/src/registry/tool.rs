//! One tool: what clients see of it, how its arguments are validated, and what it does.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{Tool as ListedTool, ToolAnnotations};
use serde_json::{Map, Value, json};

use crate::call_log::Outcome;
use crate::catalogue::{Arguments, Input};
use crate::handler::{Context, Handler, SelfDescription, ToolResult};
use crate::protocol::cached_responses::StaticResult;
use crate::protocol::headers::{ParamHeader, param_headers};

/// A call never takes longer, whatever its handler allows: the guard gives up at 55 s.
const CALL_TIME_MAX: Duration = Duration::from_secs(50);

/// A tool.
pub(crate) struct Tool {
    listed: ListedTool,
    read_only: bool,
    input: Input,
    param_headers: Vec<ParamHeader>,
    handler: Handler,
    static_result: Option<StaticResult>,
}

/// What a tool is declared with.
pub(crate) struct ToolParts {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    pub(crate) input: Input,
    pub(crate) output_schema: Option<Map<String, Value>>,
    pub(crate) handler: Handler,
}

impl Tool {
    pub(crate) fn new(parts: ToolParts) -> Tool {
        let schema = Arc::clone(parts.input.schema());
        let param_headers = param_headers(&schema);
        let mut listed = ListedTool::new(parts.name, parts.description, schema);
        listed.output_schema = parts.output_schema.map(Arc::new);
        listed.annotations = Some(ToolAnnotations::new().read_only(parts.read_only));
        let ToolParts { read_only, input, handler, .. } = parts;
        Tool { listed, read_only, input, param_headers, handler, static_result: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.listed.name
    }

    pub(crate) fn description(&self) -> &str {
        self.listed.description.as_deref().unwrap_or_default()
    }

    pub(crate) fn read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn listed(&self) -> &ListedTool {
        &self.listed
    }

    pub(crate) fn structured(&self) -> bool {
        self.listed.output_schema.is_some()
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn handler(&self) -> &Handler {
        &self.handler
    }

    /// The parameters that a client must repeat in headers.
    pub(crate) fn param_headers(&self) -> &[ParamHeader] {
        &self.param_headers
    }

    /// Serializes the result in advance, if it is the same for every call.
    pub(super) fn prepare(&mut self, server: &SelfDescription) {
        let result = self.handler.static_result(server);
        self.static_result = result.map(|result| StaticResult::new(result, self.structured()));
    }

    /// The result, if it is the same for every call.
    pub(crate) fn static_result(&self) -> Option<&StaticResult> {
        self.static_result.as_ref()
    }

    /// Validates the arguments of a call.
    pub(crate) fn accept(&self, sent: Map<String, Value>) -> Result<Arguments, ToolResult> {
        self.input.accept(sent).map_err(|reason| {
            ToolResult::failed(Outcome::Invalid, format!("Invalid arguments for {}: {reason}", self.name()))
        })
    }

    /// Runs the handler within the time limit of a call.
    pub(crate) async fn run(
        &self,
        arguments: &Arguments,
        context: &Context,
        server: &SelfDescription,
    ) -> ToolResult {
        match tokio::time::timeout(CALL_TIME_MAX, self.handler.run(arguments, context, server)).await {
            Ok(result) => result,
            Err(_) => {
                let text = format!("{} did not finish within {} s", self.name(), CALL_TIME_MAX.as_secs());
                ToolResult::failed(Outcome::Timeout, text)
            }
        }
    }

    /// The entry of the tool that lists tools.
    pub(super) fn description_entry(&self) -> Value {
        let parameters: Vec<&str> = self.input.params().iter().map(|param| param.name.as_str()).collect();
        json!({ "name": self.name(), "description": self.description(), "parameters": parameters })
    }
}
