//! JSON as text. A number of a database or a service keeps its digits, which a tree of `f64` would lose.
//!
//! Must not know where the text comes from.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::RawValue;

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
        serde_json::to_string(value).map_or_else(|_| Json::null(), Json)
    }

    /// The text, if it is one JSON value.
    pub(crate) fn parse(text: &str) -> Option<Json> {
        serde_json::from_str::<&RawValue>(text).ok().map(Json::from_raw)
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
            text.push_str(&Json::of(name).0);
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

    /// At least the length of [`Json::indented`]. Each line begins with two blanks a level, so a few bytes may grow
    /// beyond all bounds.
    pub(crate) fn indented_size(&self, depth_max: usize) -> Result<usize, TooDeep> {
        let (mut depth, mut size, mut inside, mut escaped) = (0_usize, self.0.len(), false, false);
        for byte in self.0.bytes() {
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

    /// Indented by two, in the layout of `serde_json::to_string_pretty`.
    pub(crate) fn indented(&self) -> String {
        let mut writer = Indenter { made: String::with_capacity(self.0.len() * 2), depth: 0, opened: false };
        let mut rest = self.0.as_str();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => string_length(rest),
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            writer.write(first, token);
            rest = after;
        }
        writer.made
    }
}

struct Indenter {
    made: String,
    depth: usize,
    /// Whether nothing stands yet between the last opening bracket and here.
    opened: bool,
}

impl Indenter {
    fn write(&mut self, first: char, token: &str) {
        match first {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                self.before_value();
                self.made.push(first);
                self.depth += 1;
                self.opened = true;
            }
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                if !self.opened {
                    self.new_line();
                }
                self.opened = false;
                self.made.push(first);
            }
            ',' => {
                self.made.push(',');
                self.new_line();
            }
            ':' => self.made.push_str(": "),
            _ => {
                self.before_value();
                self.made.push_str(token);
            }
        }
    }

    fn before_value(&mut self) {
        if self.opened {
            self.new_line();
            self.opened = false;
        }
    }

    fn new_line(&mut self) {
        self.made.push('\n');
        for _ in 0..self.depth {
            self.made.push_str("  ");
        }
    }
}

/// The length of the string that begins here, with its quotes.
pub(crate) fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
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
            proptest::prop_assert!(Json::of(&value).indented_size(DEPTH_MAX).is_ok_and(|size| size >= expected.len()));
            // Whitespace of the text itself has no effect.
            proptest::prop_assert_eq!(&Json::parse(&expected).unwrap().indented(), &expected);
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&expected).unwrap(), value);
        }
    }
}
