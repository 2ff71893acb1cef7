//! Collects the names of a slot's tools from its own responses to `tools/list`: they are the only tool names that become
//! metric labels. Parsed after the response has been sent.

use std::collections::HashSet;

use crate::proxy::backend::slot::SlotState;
use crate::wire::bounded;
use crate::wire::envelope::Envelope;
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

/// The name of every tool; nothing if one has none.
fn names(message: &[u8]) -> Option<HashSet<String>> {
    let result = Envelope::read(message)?.result()?;
    let [list] = bounded::members(result.get().as_bytes(), ["tools"])?;
    let (mut names, mut nameless) = (HashSet::new(), false);
    let is_list = bounded::elements(list?.get().as_bytes(), |tool| {
        let name = bounded::members(tool.get().as_bytes(), ["name"]).and_then(|[name]| bounded::text(name?));
        nameless = name.is_none();
        names.extend(name);
        !nameless
    });
    (is_list && !nameless).then_some(names)
}
