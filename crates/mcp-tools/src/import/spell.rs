//! Values in TOML, as a person would write them.
//!
//! The text reads back as exactly the same value. Must not know what the values mean.

use serde_json::Value;

/// A key, quoted where it must be.
pub(crate) fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { text(name) }
}

/// A text on one line.
pub(crate) fn text(text: &str) -> String {
    let mut spelled = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\n' => spelled.push_str("\\n"),
            '\t' => spelled.push_str("\\t"),
            '"' => spelled.push_str("\\\""),
            other => push(&mut spelled, other),
        }
    }
    spelled + "\""
}

/// A text over several lines where it has several.
pub(crate) fn long_text(given: &str) -> String {
    if !given.trim_end_matches('\n').contains('\n') {
        return text(given);
    }
    let mut spelled = String::from("\"\"\"\n");
    let mut quotes = 0;
    let mut letters = given.chars().peekable();
    while let Some(letter) = letters.next() {
        quotes = if letter == '"' { quotes + 1 } else { 0 };
        match letter {
            '\n' | '\t' => spelled.push(letter),
            // Three quotes would end the text, and so would one at its end join those that do.
            '"' if quotes == 3 || letters.peek().is_none() => {
                spelled.push_str("\\\"");
                quotes = 0;
            }
            '"' => spelled.push('"'),
            other => push(&mut spelled, other),
        }
    }
    spelled + "\"\"\""
}

fn push(spelled: &mut String, letter: char) {
    match letter {
        '\\' => spelled.push_str("\\\\"),
        '\r' => spelled.push_str("\\r"),
        control if control.is_control() => spelled.push_str(&format!("\\u{:04X}", u32::from(control))),
        other => spelled.push(other),
    }
}

/// A text that holds many quotes, as JSON does: without escapes where TOML allows that.
pub(crate) fn json(given: &str) -> String {
    let is_plain = |letter: char| letter != '\'' && (letter == '\t' || !letter.is_control());
    if given.chars().all(is_plain) { format!("'{given}'") } else { text(given) }
}

/// A value on one line; nothing for one that TOML lacks (null, a number beyond 64 bits).
pub(crate) fn value(given: &Value) -> Option<String> {
    Some(match given {
        Value::Null => return None,
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) if number.is_f64() => float(number.as_f64()?),
        Value::Number(number) => number.as_i64()?.to_string(),
        Value::String(text) => self::text(text),
        Value::Array(values) => {
            let spelled: Option<Vec<String>> = values.iter().map(value).collect();
            format!("[{}]", spelled?.join(", "))
        }
        Value::Object(object) => {
            if object.is_empty() {
                return Some("{}".to_owned());
            }
            let pairs = object.iter().map(|(name, held)| Some(format!("{} = {}", key(name), value(held)?)));
            let pairs: Option<Vec<String>> = pairs.collect();
            format!("{{ {} }}", pairs?.join(", "))
        }
    })
}

fn float(number: f64) -> String {
    let spelled = format!("{number:?}");
    // `1e21` is a float in TOML, `1` is not.
    if spelled.contains(['.', 'e']) { spelled } else { format!("{spelled}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn reads_back(spelled: &str, expected: &Value) {
        let table: toml::Table = format!("v = {spelled}").parse().unwrap();
        assert_eq!(serde_json::to_value(&table["v"]).unwrap(), *expected, "{spelled}");
    }

    #[test]
    fn every_value_reads_back_as_itself() {
        for given in [
            json!(true),
            json!(-3),
            json!(1.0),
            json!(1e300),
            json!(0.1),
            json!("a \"b\" \\ \n\t\r \u{0} \u{7f} \u{85} é 𝄞"),
            json!([1, [2], {"a b": "c", "": 1}]),
            json!({}),
            json!({ "a": { "b": [] } }),
        ] {
            reads_back(&value(&given).unwrap(), &given);
        }
        assert_eq!(value(&json!({ "a": [null] })), None);
        assert_eq!(value(&json!(u64::MAX)), None);
    }

    proptest::proptest! {
        #[test]
        fn every_text_reads_back_as_itself(text in "[\"'\\\\\n\r\ta \\PC]{0,20}") {
            reads_back(&super::text(&text), &json!(text));
            reads_back(&long_text(&text), &json!(text));
            reads_back(&json(&text), &json!(text));
        }
    }
}
