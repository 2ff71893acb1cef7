//! What an operator has switched off for every client while the guard runs: tools by pattern, and clients.
//!
//! Part of the policy, so that a request reads it with its snapshot. Must not know where it is stored, nor why.

use super::ClientId;
use super::tools::{NAME_BYTES_MAX, Pattern, reads_one_way};

/// Tools and clients that are off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwitchedOff {
    tools: Vec<Pattern>,
    clients: Vec<ClientId>,
}

impl SwitchedOff {
    /// These tools and clients.
    pub fn new(tools: Vec<Pattern>, clients: Vec<ClientId>) -> SwitchedOff {
        SwitchedOff { tools, clients }
    }

    /// The patterns of tools that are off.
    pub(super) fn tools(&self) -> &[Pattern] {
        &self.tools
    }

    /// Whether any tool is off: then lists of tools are edited for every client.
    pub(super) fn hides_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    pub(super) fn has_client(&self, client: ClientId) -> bool {
        self.clients.contains(&client)
    }

    /// Whether a call of this tool is refused: its name matches, or a backend could read it as one that does. A call that
    /// names no tool could reach any.
    pub(super) fn has_tool(&self, name: Option<&str>) -> bool {
        if self.tools.is_empty() {
            return false;
        }
        name.is_none_or(|name| {
            name.len() > NAME_BYTES_MAX
                || !reads_one_way(name)
                || self.tools.iter().any(|pattern| pattern.matches_in_any_case(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_off_in_every_way_a_backend_may_read_its_name() {
        let off = SwitchedOff::new(vec![Pattern::new("jobs_kill*")], Vec::new());
        for name in ["jobs_kill", "jobs_kill_all", "Jobs_Kill", "jobs_kill ", "jobs\u{200b}_kill", "other\0"]
        {
            assert!(off.has_tool(Some(name)), "{name:?}");
        }
        assert!(off.has_tool(None) && !off.has_tool(Some("jobs_list")) && !off.has_tool(Some("a tool")));
        let on = SwitchedOff::default();
        assert!(!on.has_tool(None) && !on.has_tool(Some("jobs_kill")) && !on.hides_tools());
    }
}
