//! The tools at one time: immutable, shared, and the single source of `tools/list`, of the tool that lists tools, and of
//! the tools that can be called.
//!
//! A reload replaces the whole registry; a call that started on the old one finishes on it. Must not know how a request
//! arrives.

use std::collections::HashMap;

use rmcp::model::Tool as ListedTool;
use serde_json::Value;

use super::tool::Tool;
use crate::protocol::cached_responses::CachedResponses;

/// Every tool, in the order of declaration.
pub(crate) struct Registry {
    tools: Vec<Tool>,
    places: HashMap<String, usize>,
    self_descriptions: Vec<Value>,
    cached: CachedResponses,
}

impl Registry {
    pub(crate) fn new(mut tools: Vec<Tool>, instructions: &str) -> Registry {
        let places = tools.iter().enumerate().map(|(place, tool)| (tool.name().to_owned(), place)).collect();
        let self_descriptions: Vec<Value> = tools.iter().map(Tool::self_description).collect();
        for tool in &mut tools {
            tool.prepare(&self_descriptions);
        }
        let listed: Vec<ListedTool> = tools.iter().map(|tool| tool.listed().clone()).collect();
        let cached = CachedResponses::new(listed, instructions);
        Registry { tools, places, self_descriptions, cached }
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(*self.places.get(name)?)
    }

    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The results that are the same for every caller.
    pub(crate) fn cached(&self) -> &CachedResponses {
        &self.cached
    }

    /// The result of the tool that lists tools.
    pub(crate) fn self_descriptions(&self) -> &[Value] {
        &self.self_descriptions
    }
}
