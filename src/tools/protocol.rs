//! MCP through rmcp: each question is answered from one registry.
//!
//! Must not know sockets, files or how a tool does its work.

use std::sync::Arc;
use std::time::Instant;

use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestMethod, CompleteRequestParams,
    CompleteResult, ContentBlock, CustomRequest, CustomResult, ErrorCode, ErrorData, GetPromptRequestParams,
    GetPromptResponse, Implementation, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, Tool as ListedTool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use super::call_log;
use super::handler::{self, Answer, Done, Host};
use super::registry::Registry;

/// The name clients and checks know this server by.
pub(super) const SERVER_NAME: &str = "swf-testbed";

/// One request's view: the registry of the moment it arrived, and the process.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) registry: Arc<Registry>,
    pub(super) host: Arc<Host>,
}

impl ServerHandler for Service {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(capabilities())
            .with_server_info(Implementation::new(SERVER_NAME, env!("CARGO_PKG_VERSION")))
            .with_instructions(self.registry.instructions().to_string())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.registry.listed().to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<ListedTool> {
        self.registry.tool(name).map(|tool| tool.listed().clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.registry.tool(&request.name) else {
            return Err(ErrorData::invalid_params(format!("Unknown tool: {}", request.name), None));
        };
        let begun = Instant::now();
        let sent = request.arguments.unwrap_or_default();
        let done = handler::call(tool, sent, &self.host, &self.registry).await;
        call_log::record(tool.name(), tool.read_only(), begun.elapsed(), &done);
        Ok(result_of(done, tool.structured()).into())
    }

    // rmcp answers an empty completion by default, although the capability is not declared.
    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn get_prompt(
        &self,
        _request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Err(ErrorData::invalid_params("Unknown prompt", None))
    }

    async fn read_resource(
        &self,
        _request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Err(ErrorData::resource_not_found("Resource not found", None))
    }

    // rmcp hands us here what it knows by name but could not read, too: that is a mistake in the parameters.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        const SERVED: [&str; 5] = ["initialize", "tools/call", "tools/list", "prompts/get", "resources/read"];
        if SERVED.contains(&request.method.as_str()) {
            return Err(ErrorData::invalid_params(
                format!("Invalid parameters for {}", request.method),
                None,
            ));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found", None))
    }
}

/// The shape FastMCP advertises, which clients compare: prompts and resources exist, and are empty.
fn capabilities() -> ServerCapabilities {
    let mut capabilities = ServerCapabilities::builder()
        .enable_experimental()
        .enable_prompts()
        .enable_resources()
        .enable_tools()
        .build();
    if let Some(prompts) = &mut capabilities.prompts {
        prompts.list_changed = Some(false);
    }
    if let Some(resources) = &mut capabilities.resources {
        resources.subscribe = Some(false);
        resources.list_changed = Some(false);
    }
    if let Some(tools) = &mut capabilities.tools {
        tools.list_changed = Some(false);
    }
    capabilities
}

/// A finished call in the form clients know: text blocks of JSON indented by two.
pub(super) fn result_of(done: Done, structured: bool) -> CallToolResult {
    let (blocks, value) = match done.answer {
        Answer::Failure(told) => return CallToolResult::error(vec![ContentBlock::text(told)]),
        Answer::Text(text) => (vec![text.clone()], json!({ "result": text })),
        Answer::Value(value) => (vec![indented(&value)], value),
        Answer::List(values) => (values.iter().map(indented).collect(), json!({ "result": values })),
    };
    let mut result = CallToolResult::success(blocks.into_iter().map(ContentBlock::text).collect());
    result.structured_content = structured.then_some(value);
    result
}

/// JSON indented by two, as the old server writes it.
pub(super) fn indented(value: &Value) -> String {
    format!("{value:#}")
}
