//! Whether a JSON value contains an expected part.
//!
//! An object may have more keys than expected; a list has exactly the expected elements in their order, each compared in
//! the same way. Numbers are compared by their digits. Must not know where the values come from.

use crate::exact::Exact;

const SHOWN_LETTERS_MAX: usize = 120;

/// The first place where `got` does not contain `expected`, and what stands there.
pub(crate) fn difference(expected: &Exact, got: &Exact) -> Option<String> {
    differs(expected, got, &mut String::new())
}

fn differs(expected: &Exact, got: &Exact, place: &mut String) -> Option<String> {
    match (expected, got) {
        (Exact::Object(expected), Exact::Object(got)) => {
            return expected.iter().find_map(|(key, value)| {
                let name = if place.is_empty() { key.clone() } else { format!(".{key}") };
                let Some(found) = got.get(key) else {
                    let keys: Vec<&str> = got.keys().map(String::as_str).collect();
                    return Some(format!("{place}{name} is missing; there is {}", listed(&keys)));
                };
                within(place, &name, |place| differs(value, found, place))
            });
        }
        (Exact::List(expected), Exact::List(got)) if expected.len() == got.len() => {
            return expected.iter().zip(got).enumerate().find_map(|(index, (expected, got))| {
                within(place, &format!("[{index}]"), |place| differs(expected, got, place))
            });
        }
        (Exact::List(expected), Exact::List(got)) => {
            let (wanted, found) = (expected.len(), got.len());
            return Some(format!("{}expected a list of {wanted}, got one of {found}", before(place)));
        }
        (_, _) => {}
    }
    let differ = expected != got;
    differ.then(|| format!("{}expected {}, got {}", before(place), shown(expected), shown(got)))
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

fn shown(value: &Exact) -> String {
    cut(value.to_json().as_str())
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
    use serde_json::{Value, json};

    use crate::json::Json;

    #[track_caller]
    fn check(expected: Value, got: Value, difference_expected: &str) {
        check_texts(&expected.to_string(), &got.to_string(), difference_expected);
    }

    #[track_caller]
    fn check_texts(expected: &str, got: &str, difference_expected: &str) {
        let [expected, got] = [expected, got].map(|text| Exact::of(&Json::parse(text).unwrap()).unwrap());
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
        check_texts("12345678901234567890.1299", "12345678901234567890.12990", "");
        check_texts("1e2", "100.0", "");
        check_texts("-0", "0.00", "");
        check_texts("1e400", "1e400", "");
        check_texts(
            "12345678901234567890.1299",
            "12345678901234567890.1235",
            "expected 12345678901234567890.1299, got 12345678901234567890.1235",
        );
        check_texts("[1e400]", "[1e401]", "[0]: expected 1e400, got 1e401");
        check_texts("-1", "1", "expected -1, got 1");
        check(
            json!(9007199254740993_i64),
            json!(9007199254740992_i64),
            "expected 9007199254740993, got 9007199254740992",
        );
    }
}
