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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_names_are_those_of_a_list_in_which_every_tool_has_one() {
        let read = |result: &str| {
            let names = names(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).as_bytes())?;
            let mut names: Vec<String> = names.into_iter().collect();
            names.sort_unstable();
            Some(names.join(" "))
        };
        let listed = read(r#"{"tools":[{"name":"b","description":"x"},{"title":"t","name":"a"}]}"#);
        assert_eq!(listed.as_deref(), Some("a b"));
        assert_eq!(read(r#"{"tools":[]}"#).as_deref(), Some(""));
        for other in
            [r#"{"tools":[{"name":"a"},{}]}"#, r#"{"tools":[{"name":1}]}"#, r#"{"tools":{}}"#, "{}", "[]"]
        {
            assert_eq!(read(other), None, "{other}");
        }
        assert!(names(b"{\"result\":").is_none());
    }
}
