//! One tool: what clients see of it, how its arguments are validated, and what it does.

use std::sync::Arc;
use std::time::Duration;

use mcp_host::diagnostics::{Diagnostic, Location};
use rmcp::model::{Tool as ListedTool, ToolAnnotations};
use serde_json::{Value, json};

use crate::call_log::Outcome;
use crate::catalogue::file::{AnnotationsFile, IdentityFile};
use crate::catalogue::{Arguments, Example, Input, Output, Sent};
use crate::handler::{CallInfo, Context, Handler, SelfDescription, ToolResult};
use crate::protocol::cached_responses::StaticResult;
use crate::protocol::headers::{ParamHeader, param_headers};

/// The least time limit of a whole call; the guard's default is 55 s.
const CALL_TIME_MAX: Duration = Duration::from_secs(50);
/// What a whole call may take beyond the time limit of its handler.
const OVERHEAD_MAX: Duration = Duration::from_secs(5);

/// A tool.
pub(crate) struct Tool {
    name: Arc<str>,
    listed: ListedTool,
    read_only: bool,
    identity: IdentityFile,
    input: Input,
    output: Option<Output>,
    param_headers: Vec<ParamHeader>,
    examples: Vec<Example>,
    handler: Handler,
    static_result: Option<StaticResult>,
    location: Option<Location>,
}

/// What a tool is declared with.
pub(crate) struct ToolParts {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    pub(crate) annotations: AnnotationsFile,
    pub(crate) identity: IdentityFile,
    pub(crate) input: Input,
    pub(crate) output: Option<Output>,
    pub(crate) examples: Vec<Example>,
    pub(crate) handler: Handler,
}

impl Tool {
    pub(crate) fn new(parts: ToolParts) -> Tool {
        let schema = Arc::clone(parts.input.schema());
        let param_headers = param_headers(&schema);
        let name = Arc::from(parts.name.as_str());
        let mut listed = ListedTool::new(parts.name, parts.description, schema);
        listed.output_schema = parts.output.as_ref().map(|output| Arc::clone(output.schema()));
        let mut annotations = ToolAnnotations::new().read_only(parts.read_only);
        // Clients before 2025-06-18 know the title of the annotations only.
        annotations.title.clone_from(&parts.title);
        annotations.destructive_hint = parts.annotations.destructive;
        annotations.idempotent_hint = parts.annotations.idempotent;
        annotations.open_world_hint = parts.annotations.open_world;
        listed.annotations = Some(annotations);
        listed.title = parts.title;
        let ToolParts { read_only, identity, input, output, examples, handler, .. } = parts;
        Tool {
            name,
            listed,
            read_only,
            identity,
            input,
            output,
            param_headers,
            examples,
            handler,
            static_result: None,
            location: None,
        }
    }

    pub(super) fn declared_at(self, location: Location) -> Tool {
        Tool { location: Some(location), ..self }
    }

    /// What is wrong with the declaration.
    pub(crate) fn problem(&self, reason: impl Into<String>) -> Diagnostic {
        let (location, key) = (self.location.clone(), format!("tool.{}", self.name));
        Diagnostic { location, key, reason: reason.into(), ..Diagnostic::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name, for a call that may outlive the registry.
    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
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
        self.output.is_some()
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn examples(&self) -> &[Example] {
        &self.examples
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
        // Only a call shows whether it has the identity that the tool needs.
        let fixed = self.identity == IdentityFile::default();
        let result = fixed.then(|| self.handler.static_result(server)).flatten();
        self.static_result = result.map(|result| StaticResult::new(result, self.structured()));
    }

    /// The result, if it is the same for every call.
    pub(crate) fn static_result(&self) -> Option<&StaticResult> {
        self.static_result.as_ref()
    }

    /// Validates the arguments of a call.
    pub(crate) fn accept(&self, sent: impl Into<Sent>) -> Result<Arguments, ToolResult> {
        self.input.accept(sent).map_err(|reason| {
            ToolResult::failed(Outcome::Invalid, format!("Invalid arguments for {}: {reason}", self.name()))
        })
    }

    /// Runs the handler within the time limit of a call.
    pub(crate) async fn run(
        &self,
        arguments: &Arguments,
        context: &Context,
        call: &CallInfo,
        server: &SelfDescription,
    ) -> ToolResult {
        if let Some(lacking) = self.lacking_identity(call) {
            return ToolResult::failed(Outcome::Refused, lacking);
        }
        if call.dry_run && !self.handler.can_be_undone() {
            let text =
                format!("{} acts outside of a database, so it cannot be tried without effect", self.name());
            return ToolResult::failed(Outcome::Refused, text);
        }
        // Pinned here, because a timeout that owns it would move all that a handler may need, once for each layer.
        let run = std::pin::pin!(self.handler.run(arguments, context, call, server));
        let time_max = call_time_max(self.handler.time_max());
        match tokio::time::timeout(time_max, run).await {
            Ok(result) => self.fitting(result, call),
            Err(_) => ToolResult::failed(Outcome::Timeout, unfinished(self.name(), self.read_only, time_max)),
        }
    }

    /// The result, or a failure if its structured content does not fit the output schema: a client would refuse it.
    fn fitting(&self, result: ToolResult, call: &CallInfo) -> ToolResult {
        let Some(output) = &self.output else { return result };
        let content = result.content.structured();
        let Some(misfit) = content.and_then(|content| output.misfit(content.as_str())) else { return result };
        call.log_event("output_misfit", &misfit);
        let text = format!(
            "the result of {} does not fit the tool's output schema, so it is not returned; the declaration of the tool is wrong, not this call",
            self.name()
        );
        ToolResult::failed(Outcome::Failed, text)
    }

    /// Which part of the caller's identity is needed and absent.
    fn lacking_identity(&self, call: &CallInfo) -> Option<String> {
        let (header, what) = if self.identity.client && call.caller.client.is_none() {
            ("X-MCP-Client", "client")
        } else if self.identity.subject && call.caller.subject.is_none() {
            ("X-MCP-Subject", "subject")
        } else {
            return None;
        };
        Some(format!(
            "{} needs the caller's {what}, and this call has none: it works through mcp-guard, which sends {header} on the Unix socket",
            self.name()
        ))
    }

    /// The entry of the tool that lists tools.
    pub(super) fn description_entry(&self) -> Value {
        let parameters: Vec<&str> = self.input.params().iter().map(|param| param.name.as_str()).collect();
        json!({ "name": self.name(), "description": self.description(), "parameters": parameters })
    }
}

fn call_time_max(of_handler: Option<Duration>) -> Duration {
    of_handler.map_or(CALL_TIME_MAX, |time_max| CALL_TIME_MAX.max(time_max + OVERHEAD_MAX))
}

/// The error of a call whose time is over.
fn unfinished(name: &str, read_only: bool, time_max: Duration) -> String {
    let outcome =
        if read_only { "" } else { "; whether it was carried out is unknown, check before you repeat it" };
    format!("{name} did not finish within {} s{outcome}", time_max.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A write may be in the middle of its COMMIT, and SQLite's runs on.
    #[test]
    fn a_write_that_did_not_finish_has_an_unknown_outcome() {
        let unknown = "whether it was carried out is unknown, check before you repeat it";
        assert!(unfinished("add", false, CALL_TIME_MAX).ends_with(unknown));
        assert_eq!(unfinished("count", true, CALL_TIME_MAX), "count did not finish within 50 s");
    }

    #[test]
    fn the_time_limit_of_a_call_is_never_shorter_than_that_of_its_handler() {
        let seconds = Duration::from_secs;
        for (of_handler, expected) in
            [(None, 50), (Some(seconds(10)), 50), (Some(seconds(45)), 50), (Some(seconds(600)), 605)]
        {
            assert_eq!(call_time_max(of_handler), seconds(expected), "{of_handler:?}");
        }
    }
}
