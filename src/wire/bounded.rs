//! JSON of a backend within a budget of memory: a short text can make a large tree, so a text is weighed before it becomes
//! one, and a value before it is cloned.
//!
//! All weights are upper estimates in bytes of memory. Must not know what the JSON means.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The largest tree that is made of a backend's response.
pub const TREE_BYTES_MAX: usize = 8 << 20;
/// An element of a list or a member of an object, with the room that a growing list has to spare.
const VALUE_BYTES: usize = 2 * size_of::<Value>();
/// An object has a table from its first member on.
const OBJECT_BYTES: usize = 640;

/// Why a text does not become a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is no JSON, or nested too deeply.
    #[error("it is not JSON, or nested too deeply")]
    Malformed,
    /// Its tree would not fit into the budget.
    #[error("it would take more than {0} bytes of memory to read")]
    TooHeavy(usize),
}

/// Reads a text whose tree fits into this much memory.
pub fn parse_within(json: &[u8], bytes_max: usize) -> Result<Value, Unread> {
    if weigh_text(json) > bytes_max {
        return Err(Unread::TooHeavy(bytes_max));
    }
    serde_json::from_slice(json).map_err(|_| Unread::Malformed)
}

/// Reads a text whose tree is no larger than any response's may be.
pub fn parse(json: &[u8]) -> Result<Value, Unread> {
    parse_within(json, TREE_BYTES_MAX)
}

/// What the tree of this text weighs at most. The text need not be JSON.
pub fn weigh_text(json: &[u8]) -> usize {
    let (mut weight, mut rest) = (VALUE_BYTES + json.len(), json);
    // Outside of texts, every value but the first follows one of these signs.
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' => rest = after_text(rest),
            b'{' => weight += OBJECT_BYTES,
            b'[' | b',' | b':' => weight += VALUE_BYTES,
            _ => {}
        }
    }
    weight
}

/// What follows the text that has just begun.
fn after_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

/// What a value weighs; nothing if that is more than `bytes_max`, which bounds the time as well.
pub fn weigh(value: &Value, bytes_max: usize) -> Option<usize> {
    let mut left = bytes_max;
    take(value, &mut left)?;
    Some(bytes_max - left)
}

fn take(value: &Value, left: &mut usize) -> Option<()> {
    let own = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => VALUE_BYTES,
        Value::String(text) => VALUE_BYTES + text.len(),
        Value::Array(_) => VALUE_BYTES,
        Value::Object(map) => OBJECT_BYTES + map.keys().map(|key| VALUE_BYTES + key.len()).sum::<usize>(),
    };
    *left = left.checked_sub(own)?;
    match value {
        Value::Array(list) => list.iter().try_for_each(|inner| take(inner, left)),
        Value::Object(map) => map.values().try_for_each(|inner| take(inner, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(()),
    }
}

/// The members of an object that have these names, as their texts; of a repeated one the last. Nothing if it is no object.
pub fn members<'a, const N: usize>(json: &'a [u8], wanted: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let found = deserializer.deserialize_map(Members(wanted)).ok()?;
    deserializer.end().ok()?;
    Some(found)
}

struct Members<'w, const N: usize>([&'w str; N]);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(Key(key)) = map.next_key()? {
            match self.0.iter().zip(&mut found).find(|(name, _)| **name == key) {
                Some((_, place)) => *place = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Hands over the elements of a list as their texts, until `each` has had enough. False if it is no list.
pub fn elements<'a>(json: &'a [u8], each: impl FnMut(&'a RawValue) -> bool) -> bool {
    serde_json::Deserializer::from_slice(json).deserialize_seq(Elements(each)).is_ok()
}

struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut wanted = true;
        while let Some(element) = list.next_element::<&RawValue>()? {
            wanted = wanted && (self.0)(element);
        }
        Ok(())
    }
}

/// What stands here, as a text; nothing if it is something else.
pub fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_short_text_with_a_heavy_tree_is_not_read() {
        for piece in ["0,", "[],", "{},", "{\"\":0},", "[[[0]]],", "\"\","] {
            let list = format!("[{}0]", piece.repeat((1 << 20) / piece.len()));
            assert!(weigh_text(list.as_bytes()) > TREE_BYTES_MAX, "{piece}");
            assert_eq!(parse(list.as_bytes()), Err(Unread::TooHeavy(TREE_BYTES_MAX)), "{piece}");
        }
        let long = json!({"text": "x[{,:".repeat(1 << 19)}).to_string();
        assert!(parse(long.as_bytes()).is_ok(), "a long text is as light as it looks");
    }

    #[test]
    fn members_and_elements_are_found_however_they_are_written() {
        let json = br#" {"other": {"name": 1}, "n\u0061me": "a", "name": "b", "list": [1, {"x": []}, "s"]} "#;
        let [name, list, none] = members(json, ["name", "list", "none"]).expect("an object");
        assert_eq!(name.and_then(text).as_deref(), Some("b"), "the last one counts");
        assert!(none.is_none());
        let mut seen = Vec::new();
        assert!(elements(list.expect("there").get().as_bytes(), |element| {
            seen.push(element.get().to_owned());
            seen.len() < 2
        }));
        assert_eq!(seen, ["1", "{\"x\": []}"]);
        assert!(members(b"[1]", ["a"]).is_none() && members(b"{} x", ["a"]).is_none());
        assert!(!elements(b"{}", |_| true) && !elements(b"[1,]", |_| true));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i32>().prop_map(|n| json!(n)),
            ".{0,8}".prop_map(|t| json!(t))
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(|list| json!(list)),
                prop::collection::btree_map(".{0,4}", inner, 0..8).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_weighs_no_less_than_its_tree(value in any_json()) {
            let text = value.to_string();
            let tree = weigh(&value, usize::MAX).expect("it fits");
            prop_assert!(weigh_text(text.as_bytes()) + VALUE_BYTES >= tree, "{} {tree}", weigh_text(text.as_bytes()));
            prop_assert_eq!(weigh(&value, tree - 1), None);
            prop_assert_eq!(parse_within(text.as_bytes(), usize::MAX), Ok(value));
        }
    }
}
