//! Where JSON tokens end, by the grammar of RFC 8259: white space, strings, numbers, literals, and strings' values.
//!
//! Functions of bytes and an index, which the compiler keeps in registers: this is the inner loop of the scan. They must
//! not know what a token is for.

use super::error::ScanError;

const WORD: usize = size_of::<u64>();
/// Most strings are this short, or the pieces between their escapes are: longer ones are worth a look at whole blocks.
const SHORT: usize = 4 * WORD;

/// The index of the first byte at or behind `at` that is not white space, or the length.
#[inline]
pub(super) fn space_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        // Most tokens follow each other directly, and all of them start above the space.
        if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            break;
        }
        at += 1;
    }
    at
}

/// The index behind the string whose opening quote is at `at`. Sets `escaped` when it holds an escape sequence.
#[inline]
pub(super) fn string_end(bytes: &[u8], at: usize, escaped: &mut bool) -> Result<usize, ScanError> {
    match short_string_end(bytes, at + 1) {
        Ok(quote) => Ok(quote + 1),
        Err(seen) => long_string_end(bytes, at + 1, seen, escaped),
    }
}

/// The index of the quote that ends the string whose inside starts at `start`, if a few words show it and the string is
/// plain. Otherwise up to where it is known to be plain; that decides nothing.
#[inline]
pub(super) fn short_string_end(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let at = plain_words_end(bytes, start);
    if bytes.get(at) == Some(&b'"') { Ok(at) } else { Err(at) }
}

/// Up to where a string is plain, as far as a few words show it. Nearly all keys and most values end there.
///
/// Called, not inlined: its constants would push what its many callers hold out of the registers.
#[inline(never)]
fn plain_words_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    let (words, _) = bytes.get(start..).unwrap_or_default().as_chunks::<WORD>();
    for word in words.iter().take(SHORT / WORD) {
        let stops = stops_in_word(u64::from_le_bytes(*word));
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    at
}

/// The index behind the string whose inside starts at `start` and is plain up to `at`.
#[inline(never)]
fn long_string_end(
    bytes: &[u8],
    start: usize,
    mut at: usize,
    escaped: &mut bool,
) -> Result<usize, ScanError> {
    let mut blocks_from = start + SHORT;
    loop {
        at = plain_end(bytes, at, blocks_from);
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(bytes, at)?,
            _ => return Err(ScanError::Syntax),
        }
        *escaped = true;
        blocks_from = at + SHORT;
    }
}

/// The index behind the number at `at`.
///
/// A digit after a leading zero is left over: no token starts with it where the value ends.
#[inline]
pub(super) fn number_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    let mut at = at + usize::from(bytes.get(at) == Some(&b'-'));
    at = match bytes.get(at) {
        Some(b'0') => at + 1,
        _ => digits_end(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits_end(bytes, at + 1 + usize::from(signed))?;
    }
    Ok(at)
}

/// The index behind the `true`, `false` or `null` at `at`.
#[inline]
pub(super) fn literal_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    // Compared as words of fixed length: a table of rows has many of these.
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(b"true" | b"null") => Ok(at + 4),
        Some(b"fals") if bytes.get(at + 4) == Some(&b'e') => Ok(at + 5),
        _ => Err(ScanError::Syntax),
    }
}

/// The end of the digits that start at `at`; at least one is needed.
#[inline]
fn digits_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    let mut end = at;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    if end == at { Err(ScanError::Syntax) } else { Ok(end) }
}

/// Sets the top bit of each byte that stops a string. Bits above the lowest one set may be wrong (borrows run upwards).
#[inline]
fn stops_in_word(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    // Flipping 0x02 makes the quote 0x20 and keeps control characters below it: one comparison finds both.
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & (ONES << 7)
}

/// The index of the next byte that a string may not hold plainly (quote, backslash, control), or the length. Goes by
/// words, but from `blocks_from` on, should it get there, by blocks.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize, blocks_from: usize) -> usize {
    const BLOCK: usize = 64;
    const LARGE_BLOCK: usize = 4 * BLOCK;
    loop {
        if at == blocks_from {
            // A large block costs less for each byte, and more where the string ends in it.
            at = blocks_end::<BLOCK>(bytes, at, LARGE_BLOCK / BLOCK);
            if at == blocks_from + LARGE_BLOCK {
                at = blocks_end::<LARGE_BLOCK>(bytes, at, usize::MAX);
                at = blocks_end::<BLOCK>(bytes, at, LARGE_BLOCK / BLOCK);
            }
        }
        let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<WORD>()) else { break };
        let stops = stops_in_word(u64::from_le_bytes(*word));
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    while let Some(&byte) = bytes.get(at) {
        if is_stop(byte) {
            break;
        }
        at += 1;
    }
    at
}

/// The index behind the blocks that follow each other from `at` on and hold no byte that stops a string, at most so many.
#[inline]
fn blocks_end<const BLOCK: usize>(bytes: &[u8], mut at: usize, count: usize) -> usize {
    let (blocks, _) = bytes.get(at..).unwrap_or_default().as_chunks::<BLOCK>();
    for block in blocks.iter().take(count) {
        // No early exit in this loop, and only least values: that is what lets the compiler use vector instructions.
        let (least, nearest) = block.iter().fold((u8::MAX, u8::MAX), |(least, nearest), &byte| {
            // Flipping 0x02 makes the quote 0x20 and keeps control characters below it: one comparison finds both.
            (least.min(byte ^ 0x02), nearest.min(byte ^ b'\\'))
        });
        if least <= 0x20 || nearest == 0 {
            break;
        }
        at += BLOCK;
    }
    at
}

#[inline]
fn is_stop(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The index behind the escape sequence at `at`. Half a surrogate pair is legal (RFC 8259, 8.2), though it stands for no
/// character.
#[inline]
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') if hex4(bytes, at + 2).is_some() => Ok(at + 6),
        _ => Err(ScanError::Syntax),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

/// The second half of a surrogate pair, if one is escaped at `at`.
fn low_surrogate(raw: &[u8], at: usize) -> Option<u32> {
    let is_escape = raw.get(at..at + 2) == Some(br"\u");
    hex4(raw, at + 2).filter(|code| is_escape && matches!(code, 0xDC00..=0xDFFF))
}

/// The value of a string whose escapes have been judged. Half a surrogate pair becomes U+FFFD.
#[cold]
pub(super) fn unescape(raw: &[u8]) -> String {
    let mut value = Vec::with_capacity(raw.len());
    let mut plain = 0;
    while let Some(offset) = memchr::memchr(b'\\', &raw[plain..]) {
        let at = plain + offset;
        value.extend_from_slice(&raw[plain..at]);
        let (character, length) = match raw.get(at + 1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => match (hex4(raw, at + 2).unwrap_or(0), low_surrogate(raw, at + 6)) {
                (high @ 0xD800..=0xDBFF, Some(low)) => {
                    let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                }
                (code, _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
            },
            Some(&byte) => (char::from(byte), 2),
            None => break,
        };
        value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        plain = at + length;
    }
    value.extend_from_slice(&raw[plain..]);
    String::from_utf8(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by the rules, one byte at a time.
    fn oracle(bytes: &[u8], at: usize) -> Result<(usize, bool), ScanError> {
        let (mut at, mut escaped) = (at + 1, false);
        loop {
            match bytes.get(at) {
                Some(b'"') => return Ok((at + 1, escaped)),
                Some(b'\\') => {
                    escaped = true;
                    at = escape_end(bytes, at)?;
                }
                Some(0x20..) => at += 1,
                Some(..0x20) | None => return Err(ScanError::Syntax),
            }
        }
    }

    /// Plain stretches of every length around those at which words and blocks begin, and what may stop them.
    fn stretch() -> impl Strategy<Value = Vec<u8>> {
        let stops: Vec<&[u8]> =
            vec![b"\"", b"\\\"", b"\\n", b"\\u00e9", b"\\x", b"\\", b"\x1F", b"\n", b"\0", b"", b"", b""];
        let plain = prop_oneof![Just(b'a'), Just(b' '), Just(b'!'), Just(b'#'), Just(0x7F), 0x80..=0xFFu8];
        let length = prop_oneof![3 => 0..140usize, 1 => 300..900usize];
        let plain = length.prop_flat_map(move |length| prop::collection::vec(plain.clone(), length));
        (plain, prop::sample::select(stops)).prop_map(|(plain, stop)| [&plain, stop].concat())
    }

    proptest! {
        #[test]
        fn a_string_ends_where_single_bytes_say(
            stretches in prop::collection::vec(stretch(), 1..4),
            closed: bool,
            start in 0usize..9,
        ) {
            let mut bytes = [vec![b'x'; start], vec![b'"'], stretches.concat()].concat();
            if closed {
                bytes.extend(b"\",1]");
            }
            let mut escaped = false;
            let end = string_end(&bytes, start, &mut escaped);
            prop_assert_eq!(end.map(|end| (end, escaped)), oracle(&bytes, start));
            if let Ok(quote) = short_string_end(&bytes, start + 1) {
                prop_assert_eq!((end, escaped), (Ok(quote + 1), false));
            }
        }
    }
}
