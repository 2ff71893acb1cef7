//! The arguments of a call: as a caller sent them, and as they passed the schema.
//!
//! A schema judges a tree, whose numbers have 64 bits; a number with more digits is kept beside it. Must not know what the
//! arguments are used for.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::exact::{Exact, may_be_rounded};
use crate::json::Json;

/// What a caller sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(super) values: Map<String, Value>,
    pub(super) exact: IndexMap<String, Exact>,
}

impl From<Map<String, Value>> for Sent {
    fn from(values: Map<String, Value>) -> Sent {
        Sent { values, exact: IndexMap::new() }
    }
}

impl Sent {
    /// `json` is the text of the object that was read as `values`.
    pub(crate) fn with_digits(values: Map<String, Value>, json: &str) -> Sent {
        let texts = if may_be_rounded(json) { serde_json::from_str(json).ok() } else { None };
        let texts: IndexMap<String, &RawValue> = texts.unwrap_or_default();
        let rounded = texts.into_iter().filter_map(|(name, text)| {
            let exact = rounded(values.get(&name)?, &Json::from_raw(text))?;
            Some((name, exact))
        });
        let exact = rounded.collect();
        Sent { values, exact }
    }

    /// The same where the object is the member `arguments` of `params`.
    pub(crate) fn within(values: Map<String, Value>, params: &str) -> Sent {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            arguments: Option<&'a RawValue>,
        }
        let read =
            if may_be_rounded(params) { serde_json::from_str::<Params<'_>>(params).ok() } else { None };
        match read.and_then(|params| params.arguments) {
            Some(arguments) => Sent::with_digits(values, arguments.get()),
            None => Sent::from(values),
        }
    }
}

/// The value of `json` with all digits, where `value`, which was read from it, lacks some.
pub(super) fn rounded(value: &Value, json: &Json) -> Option<Exact> {
    let exact = if may_be_rounded(json.as_str()) { Exact::of(json) } else { None };
    exact.filter(|exact| Exact::of(&Json::of(value)).as_ref() != Some(exact))
}

/// Arguments that passed the schema: known names only, defaults filled in, `null` where nothing was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments {
    pub(super) values: Map<String, Value>,
    /// Those whose numbers the values do not hold.
    pub(super) exact: IndexMap<String, Exact>,
}

impl Arguments {
    /// The value of a parameter; `null` when the caller left it out and it has no default.
    pub(crate) fn get(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or(&Value::Null)
    }

    /// The same with all digits of its numbers.
    pub(crate) fn argument(&self, name: &str) -> Argument<'_> {
        match self.exact.get(name) {
            Some(exact) => Argument::Exact(exact),
            None => Argument::Value(self.get(name)),
        }
    }

    /// Adds a value that the caller did not give.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.exact.shift_remove(name);
        self.values.insert(name.to_owned(), value);
    }
}

/// One argument, or an element of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument<'a> {
    Value(&'a Value),
    /// Its numbers have more digits than a value holds.
    Exact(&'a Exact),
}

impl<'a> Argument<'a> {
    pub(crate) fn is_null(self) -> bool {
        matches!(self, Argument::Value(Value::Null))
            || matches!(self, Argument::Exact(Exact::Word(word)) if word == "null")
    }

    /// The elements of a list.
    pub(crate) fn elements(self) -> Option<Vec<Argument<'a>>> {
        match self {
            Argument::Value(Value::Array(values)) => Some(values.iter().map(Argument::Value).collect()),
            Argument::Exact(Exact::List(values)) => Some(values.iter().map(Argument::Exact).collect()),
            Argument::Value(_) | Argument::Exact(_) => None,
        }
    }

    pub(crate) fn to_json(self) -> Json {
        match self {
            Argument::Value(value) => Json::of(value),
            Argument::Exact(exact) => exact.to_json(),
        }
    }

    /// For a reader: text without quotes, everything else as JSON.
    pub(crate) fn plain(self) -> String {
        match self {
            Argument::Value(Value::String(text)) | Argument::Exact(Exact::Text(text)) => text.clone(),
            Argument::Value(value) => value.to_string(),
            Argument::Exact(exact) => exact.to_json().as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &[(&str, &str)]) {
        let values: Map<String, Value> = serde_json::from_str(json).unwrap();
        let params = format!(r#"{{"name": "t", "arguments": {json}}}"#);
        for sent in [Sent::with_digits(values.clone(), json), Sent::within(values, &params)] {
            let exact: Vec<_> =
                sent.exact.iter().map(|(name, exact)| (name.clone(), exact.to_json())).collect();
            let exact: Vec<_> = exact.iter().map(|(name, exact)| (name.as_str(), exact.as_str())).collect();
            assert_eq!(exact, expected, "{json}");
        }
    }

    #[test]
    fn only_numbers_that_a_value_rounds_are_kept_beside_it() {
        check(r#"{"a": 1.5, "b": "12345678901234567890.5", "c": 9007199254740993, "d": 1e2}"#, &[]);
        check(r#"{"a": 12345678901234567890.5, "b": 1}"#, &[("a", "12345678901234567890.5")]);
        check(r#"{"a": {"b": [1, 18446744073709551616]}}"#, &[("a", r#"{"b":[1,18446744073709551616]}"#)]);
        // Of two members with one name, the last one counts for both readings.
        check(r#"{"a": 12345678901234567890.5, "a": 1}"#, &[]);
    }
}
