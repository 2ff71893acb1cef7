//! Results that are the same for every caller, serialized once for each registry.
//!
//! Every result is a model of the SDK, so clients of that SDK can read it. Must not know HTTP.

use bytes::Bytes;
use rmcp::model::{
    CallToolResult, ContentBlock, DiscoverResult, ExperimentalCapabilities, Implementation,
    InitializeRequestParams, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PromptsCapability, ProtocolVersion, ResourcesCapability, ServerCapabilities,
    ServerConfig, ServerResult, Tool as ListedTool, ToolsCapability,
};
use serde_json::{Value, json};

use super::message::json_of;
use super::reply::closed;
use crate::catalogue::Identity;
use crate::handler::{Content, ToolResult};
use crate::json::Json;

/// How a client declares its protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Agreed once, by `initialize`.
    Handshake,
    /// Declared by each request: 2026-07-28 and later.
    PerRequest,
}

impl Era {
    pub(crate) fn of(version: Option<&ProtocolVersion>) -> Era {
        match version {
            Some(version) if !version.has_initialize() => Era::PerRequest,
            Some(_) | None => Era::Handshake,
        }
    }
}

/// One result, serialized for each era.
pub(crate) struct PerEra {
    handshake: Bytes,
    per_request: Bytes,
}

impl PerEra {
    pub(crate) fn get(&self, era: Era) -> Bytes {
        match era {
            Era::Handshake => self.handshake.clone(),
            Era::PerRequest => self.per_request.clone(),
        }
    }

    fn new(result: &ServerResult) -> PerEra {
        let render = |era| closed(serialize_for(result.clone(), era));
        PerEra { handshake: render(Era::Handshake), per_request: render(Era::PerRequest) }
    }
}

/// The result of a tool that always returns the same.
pub(crate) struct StaticResult {
    pub(crate) wire: PerEra,
    pub(crate) rows: Option<usize>,
}

impl StaticResult {
    pub(crate) fn new(result: ToolResult, structured: bool) -> StaticResult {
        StaticResult { rows: result.rows, wire: PerEra::new(&call_tool_result(result, structured).into()) }
    }
}

/// Serializes a result for clients of an era, by the SDK's rules.
pub(crate) fn serialize_for(mut result: ServerResult, era: Era) -> String {
    match era {
        Era::Handshake => result.strip_result_type_for_legacy_peer(),
        Era::PerRequest => result.fill_missing_cache_hints(),
    }
    json_of(&result)
}

/// The results of methods that concern the whole server.
pub(crate) struct CachedResponses {
    pub(crate) tools: PerEra,
    pub(crate) prompts: PerEra,
    pub(crate) resources: PerEra,
    pub(crate) resource_templates: PerEra,
    pub(crate) discovered: Bytes,
    /// The result of `initialize` for each version that has a handshake, the newest last.
    initialized: Vec<(&'static str, Bytes)>,
}

impl CachedResponses {
    pub(crate) fn new(tools: Vec<ListedTool>, identity: &Identity) -> CachedResponses {
        let mut implementation = Implementation::new(&identity.name, &identity.version);
        implementation.title.clone_from(&identity.title);
        let config = ServerConfig::new(capabilities())
            .with_server_info(implementation)
            .with_instructions(&*identity.instructions);
        let versions = ProtocolVersion::KNOWN_VERSIONS;
        let initialized = |version: &'static ProtocolVersion| {
            let mut result = config.clone();
            result.protocol_version = version.clone();
            (version.as_str(), closed(json_of(&result)))
        };
        CachedResponses {
            tools: PerEra::new(&ListToolsResult::with_all_items(tools).into()),
            prompts: PerEra::new(&ListPromptsResult::default().into()),
            resources: PerEra::new(&ListResourcesResult::default().into()),
            resource_templates: PerEra::new(&ListResourceTemplatesResult::default().into()),
            discovered: closed(json_of(&DiscoverResult::from_server_info(versions.to_vec(), config.clone()))),
            initialized: versions
                .iter()
                .filter(|version| version.has_initialize())
                .map(initialized)
                .collect(),
        }
    }

    /// The result for the requested version if it has a handshake, else for the newest that has one.
    pub(crate) fn initialized(&self, method: &InitializeRequestParams) -> Bytes {
        let method = method.protocol_version.as_str();
        let same = self.initialized.iter().find(|(version, _)| *version == method);
        same.or(self.initialized.last()).map(|(_, result)| result.clone()).unwrap_or_default()
    }
}

/// The capabilities that FastMCP advertises, which clients compare: prompts and resources exist and are empty.
fn capabilities() -> ServerCapabilities {
    let mut prompts = PromptsCapability::default();
    prompts.list_changed = Some(false);
    let mut resources = ResourcesCapability::default();
    resources.subscribe = Some(false);
    resources.list_changed = Some(false);
    let mut tools = ToolsCapability::default();
    tools.list_changed = Some(false);
    let mut capabilities = ServerCapabilities::default();
    capabilities.experimental = Some(ExperimentalCapabilities::default());
    capabilities.prompts = Some(prompts);
    capabilities.resources = Some(resources);
    capabilities.tools = Some(tools);
    capabilities
}

/// A finished call as MCP's result: text blocks of JSON indented by two, which clients expect.
pub(crate) fn call_tool_result(result: ToolResult, structured: bool) -> CallToolResult {
    let (blocks, value) = match result.content {
        Content::Failure(text) => return CallToolResult::error(vec![ContentBlock::text(text)]),
        Content::Text(text) => (vec![text.clone()], json!({ "result": text })),
        Content::Value(value) => (vec![indented(&value)], value),
        Content::List(values) => (values.iter().map(indented).collect(), json!({ "result": values })),
        // The SDK's model cannot hold their numbers: `call_tool_response` adds the structured content as text.
        Content::Json(value) => return success(vec![value.indented()]),
        Content::JsonList(values) => return success(values.iter().map(Json::indented).collect()),
    };
    let mut result = success(blocks);
    result.structured_content = structured.then_some(value);
    result
}

fn success(blocks: Vec<String>) -> CallToolResult {
    CallToolResult::success(blocks.into_iter().map(ContentBlock::text).collect())
}

/// A finished call as the JSON text of MCP's result, with numbers as the handler gave them.
pub(crate) fn call_tool_response(result: ToolResult, structured: bool, era: Era) -> String {
    let value = match &result.content {
        Content::Json(value) if structured => Some(value.clone()),
        Content::JsonList(values) if structured => Some(Json::object([("result", &Json::array(values))])),
        Content::Json(_)
        | Content::JsonList(_)
        | Content::Text(_)
        | Content::Value(_)
        | Content::List(_)
        | Content::Failure(_) => None,
    };
    let mut made = serialize_for(call_tool_result(result, structured).into(), era);
    if let (Some(value), Some('}')) = (value, made.pop()) {
        made.push_str(",\"structuredContent\":");
        made.push_str(value.as_str());
    }
    made.push('}');
    made
}

/// JSON indented by two, as the old server writes it.
pub(crate) fn indented(value: &Value) -> String {
    // The same bytes as `{value:#}`, without a formatter.
    serde_json::to_string_pretty(value).unwrap_or_default()
}
