//! Text as the value of an MCP header field: as it is, or as `=?base64?…?=` (2026-07-28, Streamable HTTP, Value Encoding).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const START: &str = "=?base64?";
const END: &str = "?=";

/// Whether the value stands for `text`, plainly or encoded.
pub(super) fn is(value: &[u8], text: &[u8]) -> bool {
    let encoded = value.strip_prefix(START.as_bytes()).and_then(|rest| rest.strip_suffix(END.as_bytes()));
    match encoded {
        // The strict engine takes canonical base64 only, as the SDKs do: one name has one encoding.
        Some(encoded) => STANDARD.decode(encoded).is_ok_and(|decoded| decoded == text),
        // "visible ASCII characters (0x21-0x7E), space (0x20), and horizontal tab (0x09)": the rest must be encoded.
        None => value == text && value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')),
    }
}

/// The value that carries `text`: encoded only where it must be.
pub fn encode(text: &str) -> Cow<'_, str> {
    let plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if plain && text.trim() == text && !text.starts_with(START) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{START}{}{END}", STANDARD.encode(text)))
    }
}
