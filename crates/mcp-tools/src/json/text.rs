//! Writes single values as JSON at the end of a text. Must not know what they stand in.

use serde::Serialize;
use serde_json::value::RawValue;

/// Writes a text as a string of JSON.
pub(crate) fn push_string(text: &str, into: &mut String) {
    if is_plain(text) {
        into.reserve(text.len() + 2);
        into.push('"');
        into.push_str(text);
        into.push('"');
    } else {
        push(text, into);
    }
}

/// Writes a number without allocating one text for each.
pub(crate) fn push_integer(number: i64, into: &mut String) {
    into.push_str(itoa::Buffer::new().format(number));
}

/// A value as serde writes it; `null` for what JSON cannot hold, such as an infinite number.
pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Writes a value as serde writes it; `null` for what JSON cannot hold.
pub(crate) fn push<T: Serialize + ?Sized>(value: &T, into: &mut String) {
    into.push_str(&of(value));
}

/// Writes a text as it is if it is one JSON value, else as a string.
pub(crate) fn push_raw_or_string(text: &str, into: &mut String) {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => into.push_str(raw.get()),
        Err(_) => push_string(text, into),
    }
}

/// Whether no letter needs an escape. Reads to the end whatever it finds: a loop without a branch reads many bytes at once.
fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_string_is_written_as_serde_json_writes_it(text in "\\PC{0,20}|[\"\\\\\\x00-\\x20\\x7fa-c]{0,40}") {
            let mut written = String::new();
            push_string(&text, &mut written);
            proptest::prop_assert_eq!(written, serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn what_is_no_json_is_written_as_a_string() {
        for (text, expected) in [("{\"a\": 1.50}", "{\"a\": 1.50}"), ("{\"a\"", r#""{\"a\"""#), (" 1 ", "1")]
        {
            let mut written = String::new();
            push_raw_or_string(text, &mut written);
            assert_eq!(written, expected);
        }
    }
}
