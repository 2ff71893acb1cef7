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

/// Where the name of a field line ends, and its content: its first colon, and the first control behind that. Eight bytes a
/// step. `None` if there is no such line in `text`, or a control before the colon.
pub(super) fn colon_and_control(text: &[u8]) -> Option<(usize, usize)> {
    let (words, rest) = text.as_chunks::<8>();
    let mut colon = None;
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        if colon.is_none() {
            colon = first(equal(word, b':')).map(|within| index * 8 + within);
        }
        if let Some(within) = first(controls(word)) {
            let control = index * 8 + within;
            return colon.filter(|colon| *colon < control).map(|colon| (colon, control));
        }
    }
    let at = words.len() * 8;
    let control = at + rest.iter().position(|&byte| byte < b' ' || byte == 0x7f)?;
    let colon = colon.or_else(|| rest.iter().position(|&byte| byte == b':').map(|within| at + within));
    colon.filter(|colon| *colon < control).map(|colon| (colon, control))
}

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// The index of the lowest byte that is marked in its high bit.
fn first(marks: u64) -> Option<usize> {
    (marks != 0).then(|| (marks.trailing_zeros() / 8) as usize)
}

/// Marks each byte that is `wanted`; bytes above the lowest such one may be marked in error.
fn equal(word: u64, wanted: u8) -> u64 {
    let zeros = word ^ (ONES * u64::from(wanted));
    zeros.wrapping_sub(ONES) & !zeros & HIGH
}

/// Marks each byte that is below a space or DEL; bytes above the lowest such one may be marked in error.
fn controls(word: u64) -> u64 {
    let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    below_space | equal(word, 0x7f)
}

/// A word of text in lower case: ASCII letters only.
pub(super) const fn lower_case(word: u64) -> u64 {
    let low = word & !HIGH;
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let above_z = low + ONES * (0x7f - b'Z' as u64);
    word | ((from_a & !above_z & !word & HIGH) >> 2)
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
        fn colon_and_control_are_found_wherever_they_stand(
            text in proptest::collection::vec(prop_oneof![6 => 0x20..0x80_u8, 1 => Just(b':'), 1 => any::<u8>()], 0..40),
        ) {
            let control = text.iter().position(|&byte| byte < b' ' || byte == 0x7f);
            let colon = text.iter().position(|&byte| byte == b':');
            let expected = colon.zip(control).filter(|(colon, control)| colon < control);
            prop_assert_eq!(colon_and_control(&text), expected);
        }

        #[test]
        fn a_word_in_lower_case_is_its_bytes_in_lower_case(bytes: [u8; 8]) {
            let lower = lower_case(u64::from_le_bytes(bytes)).to_le_bytes();
            prop_assert_eq!(lower, bytes.map(|byte| byte.to_ascii_lowercase()));
        }
    }
}
