//! The tools at one time: immutable, shared, and the single source of `tools/list`, of the tool that lists tools, and of
//! the tools that can be called.
//!
//! A reload replaces the whole registry; a call that started on the old one finishes on it. Must not know how a request
//! arrives.

use std::collections::HashMap;

use rmcp::model::Tool as ListedTool;

use super::databases::DeclaredDatabase;
use super::tool::Tool;
use crate::catalogue::Identity;
use crate::handler::SelfDescription;
use crate::protocol::cached_responses::CachedResponses;

/// Which data a server without a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// That of the built-in catalogue, for a trial.
    Demonstration,
    OfItsOwn,
}

/// Every tool, in the order of declaration.
pub(crate) struct Registry {
    tools: Vec<Tool>,
    positions: HashMap<String, usize>,
    self_description: SelfDescription,
    databases: Vec<DeclaredDatabase>,
    data: Data,
    cached: CachedResponses,
}

impl Registry {
    pub(crate) fn new(
        mut tools: Vec<Tool>,
        identity: Identity,
        databases: Vec<DeclaredDatabase>,
        data: Data,
    ) -> Registry {
        let positions =
            tools.iter().enumerate().map(|(index, tool)| (tool.name().to_owned(), index)).collect();
        let descriptions = tools.iter().map(Tool::description_entry).collect();
        let self_description = SelfDescription { identity, tools: descriptions };
        for tool in &mut tools {
            tool.prepare(&self_description);
        }
        let listed: Vec<ListedTool> = tools.iter().map(|tool| tool.listed().clone()).collect();
        let cached = CachedResponses::new(listed, &self_description.identity);
        Registry { tools, positions, self_description, databases, data, cached }
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(*self.positions.get(name)?)
    }

    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The results that are the same for every caller.
    pub(crate) fn cached(&self) -> &CachedResponses {
        &self.cached
    }

    /// The databases that the files declare.
    pub(crate) fn databases(&self) -> &[DeclaredDatabase] {
        &self.databases
    }

    pub(crate) fn data(&self) -> Data {
        self.data
    }

    /// What the handlers report about the server.
    pub(crate) fn self_description(&self) -> &SelfDescription {
        &self.self_description
    }
}
