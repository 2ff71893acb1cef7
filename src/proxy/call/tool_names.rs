//! Learns the names of a slot's tools from its own answers to `tools/list`: they are the only tool names that become
//! metric labels. A copy beside the stream, bounded, parsed after the answer has gone out.

use std::collections::HashSet;

use serde::Deserialize;

use crate::proxy::backend::slot::SlotState;
use crate::wire::Method;
use crate::wire::response_scan::Format;

/// Lists beyond this are not learned from.
const LIST_BYTES_MAX: usize = 1 << 20;

/// What has been seen of a list.
pub(crate) enum Listing {
    /// Not a list, or too long, or learned a moment ago.
    NotWanted,
    Copying(Vec<u8>),
}

impl Listing {
    pub(crate) fn of(method: Method, slot: &SlotState) -> Listing {
        if method == Method::ToolsList && slot.wants_listing() {
            Listing::Copying(Vec::new())
        } else {
            Listing::NotWanted
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Listing::Copying(copy) = self {
            if copy.len() + bytes.len() > LIST_BYTES_MAX {
                *self = Listing::NotWanted;
            } else {
                copy.extend_from_slice(bytes);
            }
        }
    }

    /// The answer is complete: its names become labels.
    pub(crate) fn learn(self, slot: &SlotState, format: Format) {
        let Listing::Copying(copy) = self else { return };
        let names = match format {
            Format::Json => names(&copy),
            Format::EventStream => copy
                .split(|byte| *byte == b'\n')
                .filter_map(|line| line.strip_prefix(b"data:"))
                .find_map(names),
            Format::Opaque => None,
        };
        if let Some(names) = names {
            slot.learn_tools(names);
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
