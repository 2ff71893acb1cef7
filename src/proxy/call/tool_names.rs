//! Collects the names of a slot's tools from its own responses to `tools/list`: they are the only tool names that become
//! metric labels. A bounded copy, parsed after the response has been sent.

use std::collections::HashSet;

use serde::Deserialize;

use crate::proxy::backend::slot::SlotState;
use crate::wire::Method;
use crate::wire::response_scan::Format;
use crate::wire::sse::Events;

/// A longer list is not parsed.
const LIST_BYTES_MAX: usize = 1 << 20;

/// A `tools/list` response that passes.
pub(crate) enum ToolNames {
    /// It is no list, or too long, or one was parsed a moment ago.
    Skip,
    Collect(Vec<u8>),
}

impl ToolNames {
    pub(crate) fn of(method: Method, slot: &SlotState) -> ToolNames {
        if method == Method::ToolsList && slot.needs_tool_names() {
            ToolNames::Collect(Vec::new())
        } else {
            ToolNames::Skip
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let ToolNames::Collect(copy) = self {
            if copy.len() + bytes.len() > LIST_BYTES_MAX {
                *self = ToolNames::Skip;
            } else {
                copy.extend_from_slice(bytes);
            }
        }
    }

    /// The response is complete: its names become labels.
    pub(crate) fn finish(self, slot: &SlotState, format: Format) {
        let ToolNames::Collect(copy) = self else { return };
        let names = match format {
            Format::Json => names(&copy),
            Format::EventStream => {
                let mut found = None;
                Events::default().feed(&copy, |data| found = found.take().or_else(|| names(data)));
                found
            }
            Format::Opaque => None,
        };
        if let Some(names) = names {
            slot.add_tool_names(names);
        }
    }
}

#[derive(Deserialize)]
struct Message {
    result: ToolList,
}

#[derive(Deserialize)]
struct ToolList {
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
}

fn names(json: &[u8]) -> Option<HashSet<String>> {
    let message: Message = serde_json::from_slice(json).ok()?;
    Some(message.result.tools.into_iter().map(|tool| tool.name).collect())
}
