//! The key `include`: the other files of a catalogue.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The files that a catalogue wants read beside itself, each with its offset. None of a text that is not TOML, or where
/// they are not spelled as such: [`super::parse`] reports that.
pub(crate) fn includes(text: &str) -> Vec<(usize, String)> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let names = table.into_inner().into_iter().find(|(key, _)| key.get_ref() == "include");
    match names.map(|(_, value)| value.into_inner()) {
        Some(DeValue::Array(names)) => included(names).unwrap_or_default(),
        Some(_) | None => Vec::new(),
    }
}

/// Every name with its offset, if they all are one.
pub(crate) fn included(names: DeArray<'_>) -> Option<Vec<(usize, String)>> {
    let name = |name: Spanned<DeValue<'_>>| match (name.span().start, name.into_inner()) {
        (at, DeValue::String(name)) if !name.is_empty() => Some((at, name.into_owned())),
        (_, _) => None,
    };
    names.into_iter().map(name).collect()
}
