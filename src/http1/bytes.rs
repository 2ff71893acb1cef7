//! Character classes of RFC 9110 and RFC 3986, as the parsers of this module use them.
//!
//! Tables and predicates only; must not know messages.

/// `tchar` of RFC 9110, section 5.6.2.
const TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~");

/// What may stand in a request target besides `%XX`: `pchar`, `/` and `?` of RFC 3986.
const TARGET: [bool; 256] = class(b"-._~!$&'()*+,;=:@/?");

const fn class(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// Whether `byte` may stand in a method, a field name or another token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether `text` is a token: not empty, token bytes only.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand for itself in the path or query of a target.
pub(super) fn is_target_byte(byte: u8) -> bool {
    TARGET[byte as usize]
}

/// Whether `byte` may stand in a field value: visible ASCII, obs-text, space and tab.
pub(super) fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether every byte of `text` may stand in a field value. No early exit, so that the compiler vectorises it.
pub(super) fn is_value(text: &[u8]) -> bool {
    text.iter().fold(true, |fine, &byte| fine & is_value_byte(byte))
}

/// `text` without the optional white space (space, tab) around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|&byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Space or tab.
pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
