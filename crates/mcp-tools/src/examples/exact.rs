//! A JSON value whose numbers keep their digits, for a comparison.
//!
//! Must not know what it is compared with.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::json::Json;

/// Nesting at most, as in serde_json.
const DEPTH_MAX: usize = 127;

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
        read(json.as_str(), 0)
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

fn read(text: &str, depth: usize) -> Option<Exact> {
    let text = text.trim();
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match text.as_bytes().first()? {
        b'{' => {
            let object: IndexMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let made = object.into_iter().map(|(key, value)| Some((key, read(value.get(), depth + 1)?)));
            Exact::Object(made.collect::<Option<_>>()?)
        }
        b'[' => {
            let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Exact::List(values.iter().map(|value| read(value.get(), depth + 1)).collect::<Option<_>>()?)
        }
        b'"' => Exact::Text(serde_json::from_str(text).ok()?),
        b'n' | b't' | b'f' => Exact::Word(text.to_owned()),
        _ => Exact::Number(Number(text.to_owned())),
    })
}
