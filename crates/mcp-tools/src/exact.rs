//! A JSON value as a tree whose numbers keep their digits.
//!
//! Must not know where the value comes from.

use indexmap::IndexMap;

use crate::json::{DEPTH_MAX, Json, string_length};

/// A JSON value. Two are equal when their numbers have the same value, however it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exact {
    /// `null`, `true` or `false`.
    Word(String),
    Text(String),
    Number(Number),
    List(Vec<Exact>),
    Object(IndexMap<String, Exact>),
}

/// A number as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Number(String);

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.0 == other.0 || self.parts().is_some_and(|parts| other.parts() == Some(parts))
    }
}

impl Number {
    pub(crate) fn of(number: &serde_json::Number) -> Number {
        Number(number.to_string())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a float holds it: 17 digits are enough for each float, and it is not so small that it would be zero.
    pub(crate) fn fits_float(&self) -> bool {
        const DIGITS_MAX: usize = 17;
        let float = self.0.parse::<f64>().ok().filter(|float| float.is_finite());
        match (self.parts(), float) {
            (Some((_, digits, _)), Some(float)) => {
                digits.len() <= DIGITS_MAX && (digits.is_empty() || float != 0.0)
            }
            (_, _) => false,
        }
    }

    /// The sign, the digits without zeros around them, and the exponent of the last digit; nothing for an exponent that no
    /// integer holds.
    fn parts(&self) -> Option<(bool, String, i64)> {
        let (negative, plain) = match self.0.strip_prefix('-') {
            Some(plain) => (true, plain),
            None => (false, self.0.as_str()),
        };
        let (mantissa, exponent) = plain.split_once(['e', 'E']).unwrap_or((plain, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let trimmed = digits.trim_end_matches('0');
        let shift = i64::try_from(digits.len() - trimmed.len()).ok()?;
        let exponent: i64 = exponent.parse().ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(shift)?;
        match trimmed.trim_start_matches('0') {
            "" => Some((false, String::new(), 0)),
            digits => Some((negative, digits.to_owned(), exponent)),
        }
    }
}

impl Exact {
    /// The value; nothing where it is nested too deeply.
    pub(crate) fn of(json: &Json) -> Option<Exact> {
        Reader { rest: json.as_str() }.value(0)
    }

    pub(crate) fn text(text: &str) -> Exact {
        Exact::Text(text.to_owned())
    }

    pub(crate) fn to_json(&self) -> Json {
        match self {
            Exact::Word(written) | Exact::Number(Number(written)) => {
                Json::parse(written).unwrap_or_else(Json::null)
            }
            Exact::Text(text) => Json::of(text),
            Exact::List(values) => Json::array(&values.iter().map(Exact::to_json).collect::<Vec<_>>()),
            Exact::Object(object) => {
                let made: Vec<(&str, Json)> =
                    object.iter().map(|(key, value)| (key.as_str(), value.to_json())).collect();
                Json::object(made.iter().map(|(key, value)| (*key, value)))
            }
        }
    }
}

/// Reads valid JSON in one pass.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Exact> {
        if depth > DEPTH_MAX {
            return None;
        }
        Some(match self.next()? {
            b'{' => {
                let mut object = IndexMap::new();
                self.items(b'}', |reader| {
                    let key = reader.text()?;
                    reader.next()?;
                    reader.take(1)?;
                    object.insert(key, reader.value(depth + 1)?);
                    Some(())
                })?;
                Exact::Object(object)
            }
            b'[' => {
                let mut list = Vec::new();
                self.items(b']', |reader| {
                    list.push(reader.value(depth + 1)?);
                    Some(())
                })?;
                Exact::List(list)
            }
            b'"' => Exact::Text(self.text()?),
            b'n' | b't' | b'f' => Exact::Word(self.word()?.to_owned()),
            _ => Exact::Number(Number(self.word()?.to_owned())),
        })
    }

    /// The items of a list or an object, from its opening bracket to its closing one.
    fn items(&mut self, close: u8, mut item: impl FnMut(&mut Reader<'a>) -> Option<()>) -> Option<()> {
        self.take(1)?;
        while self.next()? != close {
            item(self)?;
            if self.next()? == b',' {
                self.take(1)?;
            }
        }
        self.take(1).map(|_| ())
    }

    fn text(&mut self) -> Option<String> {
        self.next()?;
        let quoted = self.take(string_length(self.rest))?;
        serde_json::from_str(quoted).ok()
    }

    fn word(&mut self) -> Option<&'a str> {
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
        let length = self.rest.bytes().position(ends).unwrap_or(self.rest.len());
        self.take(length)
    }

    /// The first byte of the next token.
    fn next(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next()
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Whether JSON may hold a number that a tree of `i64`, `u64` and `f64` would round: a quick look, which takes some texts for
/// numbers.
pub(crate) fn may_be_rounded(json: &str) -> bool {
    const DIGITS_SAFE: usize = 15;
    let (mut length, mut has_digit, mut has_exponent) = (0, false, false);
    json.bytes().any(|byte| {
        match byte {
            b'0'..=b'9' => has_digit = true,
            b'e' | b'E' => has_exponent = true,
            b'.' | b'+' | b'-' => {}
            _ => {
                (length, has_digit, has_exponent) = (0, false, false);
                return false;
            }
        }
        length += 1;
        length > DIGITS_SAFE || has_digit && has_exponent
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_are_equal_by_value_and_keep_their_digits() {
        let number = |text: &str| Exact::of(&Json::parse(text).unwrap()).unwrap();
        for (one, other) in [("1.50", "15e-1"), ("100", "1E2"), ("-0", "0.0"), ("1e-400", "10e-401")] {
            assert_eq!(number(one), number(other), "{one} {other}");
        }
        for (one, other) in
            [("9007199254740993", "9007199254740992.0"), ("1", "-1"), ("0.1", "0.10000000000000001")]
        {
            assert_ne!(number(one), number(other), "{one} {other}");
        }
        assert_eq!(number("[1.50,{\"a\":-1e400}]").to_json().as_str(), "[1.50,{\"a\":-1e400}]");
    }

    #[test]
    fn only_long_numbers_and_exponents_may_be_rounded() {
        for json in ["{\"a\": 123456789012345, \"b\": [1.5, true]}", "{\"e\": \"text\"}", "[]"] {
            assert!(!may_be_rounded(json), "{json}");
        }
        for json in ["1234567890123456", "[1e400]", "{\"a\": -0.1234567890123456}"] {
            assert!(may_be_rounded(json), "{json}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            "\\PC{0,8}|[\"\\\\{}\\[\\],: \\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map("\\PC{0,4}", inner, 0..5)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_tree_is_that_of_serde_json(value in values()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let exact = Exact::of(&Json::parse(&text).unwrap()).unwrap();
                let again: Value = serde_json::from_str(exact.to_json().as_str()).unwrap();
                prop_assert_eq!(again, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
