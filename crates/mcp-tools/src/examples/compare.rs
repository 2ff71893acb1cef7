//! Whether a JSON value contains an expected part.
//!
//! An object may have more keys than expected; a list has exactly the expected elements in their order, each compared in
//! the same way. Must not know where the values come from.

use serde_json::{Number, Value};

const SHOWN_LETTERS_MAX: usize = 120;

/// The first place where `got` does not contain `expected`, and what stands there.
pub(crate) fn difference(expected: &Value, got: &Value) -> Option<String> {
    differs(expected, got, &mut String::new())
}

fn differs(expected: &Value, got: &Value, place: &mut String) -> Option<String> {
    let same = match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            return expected.iter().find_map(|(key, value)| {
                let name = if place.is_empty() { key.clone() } else { format!(".{key}") };
                let Some(found) = got.get(key) else {
                    let keys: Vec<&str> = got.keys().map(String::as_str).collect();
                    return Some(format!("{place}{name} is missing; there is {}", listed(&keys)));
                };
                within(place, &name, |place| differs(value, found, place))
            });
        }
        (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => {
            return expected.iter().zip(got).enumerate().find_map(|(index, (expected, got))| {
                within(place, &format!("[{index}]"), |place| differs(expected, got, place))
            });
        }
        (Value::Array(expected), Value::Array(got)) => {
            let (wanted, found) = (expected.len(), got.len());
            return Some(format!("{}expected a list of {wanted}, got one of {found}", before(place)));
        }
        (Value::Number(expected), Value::Number(got)) => is_same_number(expected, got),
        (_, _) => expected == got,
    };
    (!same).then(|| format!("{}expected {}, got {}", before(place), shown(expected), shown(got)))
}

/// `1` and `1.0` are one number; digits that a float would lose still count.
fn is_same_number(one: &Number, other: &Number) -> bool {
    let fraction = |number: &Number| number.is_f64();
    one == other || (fraction(one) != fraction(other) && one.as_f64() == other.as_f64())
}

fn within<T>(place: &mut String, step: &str, run: impl FnOnce(&mut String) -> T) -> T {
    let length = place.len();
    place.push_str(step);
    let result = run(place);
    place.truncate(length);
    result
}

fn before(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!("{place}: ") }
}

fn listed(keys: &[&str]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { cut(&keys.join(", ")) }
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_LETTERS_MAX) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(expected: Value, got: Value, difference_expected: &str) {
        assert_eq!(difference(&expected, &got).unwrap_or_default(), difference_expected);
    }

    #[test]
    fn an_example_expects_a_part_of_an_object_and_the_whole_of_a_list() {
        check(json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), "");
        check(json!({ "a": [{ "b": 1 }] }), json!({ "a": [{ "b": 1, "c": 2 }] }), "");
        check(json!({}), json!({ "a": 1 }), "");
        check(json!({ "a": 1.0 }), json!({ "a": 1 }), "");
        check(json!({ "a": null }), json!({ "a": null }), "");
        check(json!({ "a": 1 }), json!({ "b": 1 }), "a is missing; there is b");
        check(json!({ "a": { "b": 1 } }), json!({ "a": {} }), "a.b is missing; there is nothing");
        check(json!({ "a": [1] }), json!({ "a": [1, 2] }), "a: expected a list of 1, got one of 2");
        check(json!([1, { "b": "x" }]), json!([1, { "b": "y" }]), "[1].b: expected \"x\", got \"y\"");
        check(json!({ "a": "1" }), json!({ "a": 1 }), "a: expected \"1\", got 1");
        check(json!({}), json!([]), "expected {}, got []");
        check(
            json!(9007199254740993_i64),
            json!(9007199254740992_i64),
            "expected 9007199254740993, got 9007199254740992",
        );
    }
}
