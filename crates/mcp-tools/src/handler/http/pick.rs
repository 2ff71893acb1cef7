//! `http.pick`: parts of a response, named by JSON Pointers (RFC 6901). Their numbers keep their digits.
//!
//! Must not know the service.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::json::Json;

/// Which parts of a response are the result.
#[derive(Debug, Clone)]
pub(crate) enum Pick {
    One(Pointer),
    /// An object with a part under each name.
    Many(IndexMap<String, Pointer>),
}

/// A JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pick {
    /// Reads `pick = "/data"` or `pick = { NAME = "/data/name" }`; every reason against it goes to `reasons`.
    pub(crate) fn parse(declared: &toml::Value, reasons: &mut Vec<String>) -> Option<Pick> {
        let hint = "must be a JSON Pointer such as \"/data/items\", or a table of names with one each";
        let mut pointer = |key: &str, value: &toml::Value| {
            let parsed = value.as_str().ok_or_else(|| hint.to_owned()).and_then(Pointer::parse);
            parsed.map_err(|reason| reasons.push(format!("{key}: {reason}"))).ok()
        };
        let Some(table) = declared.as_table() else { return pointer("http.pick", declared).map(Pick::One) };
        let parsed: Vec<_> = table
            .iter()
            .map(|(name, value)| Some((name.clone(), pointer(&format!("http.pick.{name}"), value)?)))
            .collect();
        if parsed.is_empty() {
            reasons.push(format!("http.pick: {hint}"));
        }
        parsed.into_iter().collect::<Option<_>>().map(Pick::Many)
    }

    /// The parts; the error is the pointer that leads to nothing. A part of several may be absent, and is null then.
    pub(crate) fn of(&self, json: &Json) -> Result<Json, &str> {
        match self {
            Pick::One(pointer) => pointer.find(json).ok_or(&pointer.text),
            Pick::Many(pointers) => {
                let parts: Vec<(&str, Json)> = pointers
                    .iter()
                    .map(|(name, pointer)| (name.as_str(), pointer.find(json).unwrap_or_else(Json::null)))
                    .collect();
                Ok(Json::object(parts.iter().map(|(name, part)| (*name, part))))
            }
        }
    }
}

impl Pointer {
    fn parse(text: &str) -> Result<Pointer, String> {
        if text.is_empty() {
            return Ok(Pointer { text: String::new(), steps: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is not a JSON Pointer (hint: it begins with /)"));
        };
        let steps = rest.split('/').map(|step| {
            let tildes = step.split('~').skip(1);
            if tildes.clone().all(|after| after.starts_with(['0', '1'])) {
                Ok(step.replace("~1", "/").replace("~0", "~"))
            } else {
                Err(format!("{text:?} is not a JSON Pointer (hint: ~ is written ~0, and / in a name ~1)"))
            }
        });
        Ok(Pointer { text: text.to_owned(), steps: steps.collect::<Result<_, _>>()? })
    }

    fn find(&self, json: &Json) -> Option<Json> {
        let mut at = json.as_str();
        for step in &self.steps {
            at = match at.trim_start().as_bytes().first()? {
                b'{' => serde_json::from_str::<IndexMap<String, &RawValue>>(at).ok()?.get(step)?.get(),
                b'[' => serde_json::from_str::<Vec<&RawValue>>(at).ok()?.get(place(step)?)?.get(),
                _ => return None,
            };
        }
        Json::parse(at)
    }
}

/// An index as RFC 6901 writes it: no sign, no leading zero.
fn place(step: &str) -> Option<usize> {
    let canonical = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6901, section 5.
    #[test]
    fn finds_what_the_examples_of_the_rfc_name() {
        let document = Json::parse(
            r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#,
        )
        .unwrap();
        for (pointer, expected) in [
            ("", Some(document.as_str())),
            ("/foo", Some(r#"["bar", "baz"]"#)),
            ("/foo/0", Some("\"bar\"")),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/i\\j", Some("5")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("/foo/2", None),
            ("/foo/00", None),
            ("/foo/-", None),
            ("/foo/+0", None),
            ("/foo/0/x", None),
            ("/none", None),
        ] {
            let found = Pointer::parse(pointer).unwrap().find(&document);
            assert_eq!(found.as_ref().map(Json::as_str), expected, "{pointer}");
        }
        for pointer in ["foo", "/a~", "/a~2b"] {
            assert!(Pointer::parse(pointer).is_err(), "{pointer}");
        }
    }

    #[test]
    fn several_parts_become_an_object_whose_numbers_keep_their_digits() {
        let mut reasons = Vec::new();
        let declared = toml::toml! { total = "/meta/total"
        first = "/items/0/id"
        none = "/no" };
        let pick = Pick::parse(&toml::Value::Table(declared), &mut reasons).unwrap();
        let json =
            Json::parse(r#"{"meta": {"total": 1.10}, "items": [{"id": 12345678901234567890123}]}"#).unwrap();
        assert_eq!(
            pick.of(&json).unwrap().as_str(),
            r#"{"total":1.10,"first":12345678901234567890123,"none":null}"#
        );
        assert!(reasons.is_empty());
        assert!(Pick::parse(&toml::Value::Integer(3), &mut reasons).is_none());
        assert!(Pick::parse(&toml::Value::Table(toml::Table::new()), &mut reasons).is_some());
        assert_eq!(reasons.len(), 2);
    }
}
