//! Collects the names of a slot's tools from its own responses to `tools/list`: they are the only tool names that become
//! metric labels. Parsed after the response has been sent.

use std::collections::HashSet;

use serde::Deserialize;

use crate::proxy::backend::slot::SlotState;
use crate::wire::response_scan::Format;
use crate::wire::sse::Events;

/// A longer list is not parsed.
pub(crate) const LIST_BYTES_MAX: usize = 1 << 20;

/// The names in a slot's whole response to `tools/list` become labels.
pub(crate) fn add(slot: &SlotState, format: Format, list: &[u8]) {
    let names = match format {
        Format::Json => names(list),
        Format::EventStream => {
            let mut found = None;
            Events::default().feed(list, |data| found = found.take().or_else(|| names(data)));
            found
        }
        Format::Opaque => None,
    };
    if let Some(names) = names {
        slot.add_tool_names(names);
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
