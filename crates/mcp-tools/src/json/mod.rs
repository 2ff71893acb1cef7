//! JSON as text. A number of a database or a service keeps its digits, which a tree of `f64` would lose.
//!
//! Must not know where the text comes from.

mod indent;
mod text;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) use indent::{string_length, write_plain_in_string};
pub(crate) use text::{push, push_integer, push_raw_or_string, push_string};

/// JSON that is nested deeper than this is refused, as serde_json does.
pub(crate) const DEPTH_MAX: usize = 127;

/// JSON is nested deeper than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooDeep;

/// The text of one valid JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Json(String);

impl Json {
    pub(crate) fn null() -> Json {
        Json("null".to_owned())
    }

    /// The value as serde writes it; `null` for what JSON cannot hold, such as an infinite number.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Json {
        Json(text::of(value))
    }

    /// The text, if it is one JSON value.
    pub(crate) fn parse(text: &str) -> Option<Json> {
        serde_json::from_str::<&RawValue>(text).ok().map(Json::from_raw)
    }

    /// Text that is known to be one value.
    pub(crate) fn written(text: String) -> Json {
        Json(text)
    }

    pub(crate) fn from_raw(raw: &RawValue) -> Json {
        Json(raw.get().to_owned())
    }

    pub(crate) fn object<'a>(entries: impl IntoIterator<Item = (&'a str, &'a Json)>) -> Json {
        let mut text = String::from("{");
        for (name, value) in entries {
            if text.len() > 1 {
                text.push(',');
            }
            push_string(name, &mut text);
            text.push(':');
            text.push_str(&value.0);
        }
        text.push('}');
        Json(text)
    }

    pub(crate) fn array<'a>(values: impl IntoIterator<Item = &'a Json>) -> Json {
        let mut text = String::from("[");
        for value in values {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&value.0);
        }
        text.push(']');
        Json(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The members of an object; none of another value.
    pub(crate) fn members(&self) -> Vec<(String, Json)> {
        let members: IndexMap<String, &RawValue> = serde_json::from_str(&self.0).unwrap_or_default();
        members.into_iter().map(|(name, value)| (name, Json::from_raw(value))).collect()
    }

    /// What the value holds, if it is a string.
    pub(crate) fn string(&self) -> Option<String> {
        if self.0.starts_with('"') { serde_json::from_str(&self.0).ok() } else { None }
    }

    /// Indented by two, in the layout of `serde_json::to_string_pretty`.
    pub(crate) fn indented(&self) -> String {
        let mut made = String::with_capacity(self.0.len() * 2);
        indent::write(&self.0, indent::Place::Text, 0, &mut made);
        made
    }

    /// Writes [`Json::indented`] as a part of a string of JSON, without the quotes around it.
    pub(crate) fn write_indented_in_string(&self, into: &mut String) {
        write_indented_in_string(&self.0, 0, into);
    }
}

/// Writes the value of a text, indented, as a part of a string of JSON. `depth` is that of the value it stands in.
pub(crate) fn write_indented_in_string(json: &str, depth: usize, into: &mut String) {
    indent::write(json, indent::Place::InString, depth, into);
}

/// At least the length of the value of this text once it is indented. Each line begins with two blanks a level, so a few bytes
/// may grow beyond all bounds.
pub(crate) fn indented_size(json: &str, depth_max: usize) -> Result<usize, TooDeep> {
    let (mut depth, mut size, mut inside, mut escaped) = (0_usize, json.len(), false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ if inside => {}
            b'{' | b'[' => {
                depth += 1;
                size += 2 * depth + 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                size += 2 * depth + 1;
            }
            b',' => size += 2 * depth + 1,
            b':' => size += 1,
            _ => {}
        }
        if depth > depth_max {
            return Err(TooDeep);
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn digits_survive() {
        for text in ["12345678901234567890.1234567891", "[1.50,1e400]", "9223372036854775808"] {
            assert_eq!(Json::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "1 2", "{", "NaN", "'a'"] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_object_and_an_array_are_written_in_order() {
        let (one, word) = (Json::of(&1), Json::of("a \"b\""));
        let object = Json::object([("x\"", &one), ("y", &word)]);
        assert_eq!(object.as_str(), r#"{"x\"":1,"y":"a \"b\""}"#);
        assert_eq!(Json::array([&object, &one]).as_str(), r#"[{"x\"":1,"y":"a \"b\""},1]"#);
        assert_eq!((word.string(), one.string()), (Some("a \"b\"".to_owned()), None));
    }

    proptest::proptest! {
        #[test]
        fn the_layout_is_that_of_serde_json(
            words in proptest::collection::vec("\\PC{0,6}|[\"\\\\:,{}\\[\\] \\n\\t]{0,4}", 0..5),
            depth in 0_usize..4,
        ) {
            let mut value = serde_json::json!({ "list": words, "none": [], "empty": {}, "n": 1.5, "t": null });
            for word in words.iter().take(depth) {
                value = serde_json::json!([{ word: value }, [], [true]]);
            }
            let expected = serde_json::to_string_pretty(&value).unwrap();
            proptest::prop_assert_eq!(&Json::of(&value).indented(), &expected);
            let size = indented_size(Json::of(&value).as_str(), DEPTH_MAX);
            proptest::prop_assert!(size.is_ok_and(|size| size >= expected.len()));
            let mut in_string = String::from("\"");
            Json::of(&value).write_indented_in_string(&mut in_string);
            in_string.push('"');
            proptest::prop_assert_eq!(in_string, serde_json::to_string(&expected).unwrap());
            // Whitespace of the text itself has no effect.
            proptest::prop_assert_eq!(&Json::parse(&expected).unwrap().indented(), &expected);
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&expected).unwrap(), value);
        }
    }
}
