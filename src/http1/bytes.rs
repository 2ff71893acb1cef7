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

/// Where the first byte stands that may not be in a field value: a control other than tab. Eight bytes a step.
pub(super) fn control(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let controls = controls_in(u64::from_le_bytes(*word));
        if controls != 0 {
            let within = (controls.trailing_zeros() / 8) as usize;
            let at = index * 8 + within;
            if text[at] != b'\t' {
                return Some(at);
            }
            return Some(at + text[at..].iter().position(|&byte| !is_value_byte(byte))?);
        }
    }
    let at = words.len() * 8;
    Some(at + rest.iter().position(|&byte| !is_value_byte(byte))?)
}

/// The high bit of each byte that is below a space or DEL; bytes above the lowest such one may be marked in error.
fn controls_in(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below_space | (delete.wrapping_sub(ONES) & !delete)) & HIGH
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_control_is_found_wherever_it_stands(
            text in proptest::collection::vec(prop_oneof![4 => 0x20..0x7f_u8, 1 => any::<u8>()], 0..40),
        ) {
            prop_assert_eq!(control(&text), text.iter().position(|&byte| !is_value_byte(byte)));
        }
    }
}
