//! Results that are the same for every caller, serialized once for each registry.
//!
//! Every result is a model of the SDK, so clients of that SDK can read it. Must not know HTTP.

use bytes::Bytes;
use rmcp::model::{
    DiscoverResult, ExperimentalCapabilities, Implementation, InitializeRequestParams, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PromptsCapability, ProtocolVersion,
    ResourcesCapability, ServerCapabilities, ServerConfig, ServerResult, Tool as ListedTool, ToolsCapability,
};

use super::call_result::{ResultFrames, call_tool_result};
use super::era::{Era, serialize_for};
use super::message::json_of;
use super::reply::closed;
use crate::catalogue::Identity;
use crate::handler::ToolResult;

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

/// The results of methods that concern the whole server.
pub(crate) struct CachedResponses {
    pub(crate) tools: PerEra,
    pub(crate) prompts: PerEra,
    pub(crate) resources: PerEra,
    pub(crate) resource_templates: PerEra,
    pub(crate) discovered: Bytes,
    pub(crate) frames: ResultFrames,
    /// The result of `initialize` for each version that has a handshake, the newest last.
    initialized: Vec<(&'static str, Bytes)>,
}

impl CachedResponses {
    pub(crate) fn new(tools: Vec<ListedTool>, identity: &Identity) -> CachedResponses {
        let mut implementation = Implementation::new(&identity.name, &identity.version);
        implementation.title.clone_from(&identity.title);
        let mut config = ServerConfig::new(capabilities()).with_server_info(implementation);
        if let Some(instructions) = &identity.instructions {
            config = config.with_instructions(&**instructions);
        }
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
            frames: ResultFrames::new(),
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
