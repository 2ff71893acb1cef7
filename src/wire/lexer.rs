//! JSON tokens of a complete text, judged by the grammar of RFC 8259: strings, numbers, literals, members, whole values.
//!
//! A backend parses the same bytes with another parser, so every rule of the grammar is kept: what this file accepts
//! and a backend reads differently would be a way around the policy. It must not know what the keys mean.

use std::borrow::Cow;

use super::scan::{DEPTH_MAX, ScanError};

/// A string token: what stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'b> {
    raw: &'b str,
    escaped: bool,
}

/// What kind of number a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Integer,
    /// Written with a fraction or an exponent.
    Fraction,
}

/// A cursor over a JSON text.
pub(super) struct Lexer<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Text<'b> {
    /// The value of the string; borrowed when no escape occurs in it.
    pub(super) fn decode(self) -> Cow<'b, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }

    /// The value, if it has at most `length_max` bytes of ASCII: enough for a known key, and no long key is copied.
    pub(super) fn decode_key(self, length_max: usize) -> Option<Cow<'b, str>> {
        const LONGEST_ESCAPE: usize = r"\u0000".len();
        (self.raw.len() <= length_max * LONGEST_ESCAPE).then(|| self.decode())
    }
}

impl<'b> Lexer<'b> {
    pub(super) fn new(text: &'b str) -> Lexer<'b> {
        Lexer { text, at: 0 }
    }

    /// The first byte of the next token, or `None` at the end. White space is skipped.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        self.peek().map_or(Ok(()), |_| Err(ScanError::Syntax))
    }

    /// Reads the object at the cursor; `member` gets each key and must consume exactly its value.
    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Text<'b>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            return self.expect(b'}');
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.expect(b'}'),
                _ => return Err(ScanError::Syntax),
            }
        }
    }

    /// The string at the cursor, or `None` when another kind of value stands there; that value is skipped.
    pub(super) fn string_value(&mut self, depth: u32) -> Result<Option<Text<'b>>, ScanError> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        self.skip_value(depth).map(|()| None)
    }

    /// The raw JSON of the string or integer at the cursor, or `None` when another kind of value stands there.
    pub(super) fn id_value(&mut self, depth: u32) -> Result<Option<&'b str>, ScanError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => {
                if self.number()? == Number::Fraction {
                    return Ok(None);
                }
            }
            _ => return self.skip_value(depth).map(|()| None),
        }
        Ok(Some(&self.text[start..self.at]))
    }

    /// Reads past one value of any kind. `depth` counts the containers that are open around it.
    pub(super) fn skip_value(&mut self, depth: u32) -> Result<(), ScanError> {
        let floor = depth;
        let mut depth = depth;
        // One bit for each container opened here, the innermost lowest: set for an object.
        let mut objects: u64 = 0;
        loop {
            let opener = self.peek();
            match opener {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(ScanError::Depth);
                    }
                    self.at += 1;
                    objects = objects << 1 | u64::from(opener == Some(b'{'));
                    match (objects & 1, self.peek()) {
                        (1, Some(b'}')) | (0, Some(b']')) => {}
                        (1, _) => {
                            self.key()?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                _ => self.literal()?,
            }
            loop {
                if depth == floor {
                    return Ok(());
                }
                let separator = self.peek();
                self.at += 1;
                match (objects & 1, separator) {
                    (1, Some(b',')) => {
                        self.key()?;
                        break;
                    }
                    (0, Some(b',')) => break,
                    (1, Some(b'}')) | (0, Some(b']')) => {
                        objects >>= 1;
                        depth -= 1;
                    }
                    _ => return Err(ScanError::Syntax),
                }
            }
        }
    }

    /// A key and its colon.
    #[inline]
    fn key(&mut self) -> Result<Text<'b>, ScanError> {
        if self.peek() != Some(b'"') {
            return Err(ScanError::Syntax);
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() != Some(byte) {
            return Err(ScanError::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    /// The string whose opening quote is at the cursor.
    #[inline]
    fn string(&mut self) -> Result<Text<'b>, ScanError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = plain_end(bytes, at);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = escape_end(bytes, at)?,
                _ => return Err(ScanError::Syntax),
            }
            escaped = true;
        }
        self.at = at + 1;
        let raw = &self.text[start..at];
        Ok(Text { raw, escaped })
    }

    fn number(&mut self) -> Result<Number, ScanError> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + usize::from(bytes.get(self.at) == Some(&b'-'));
        let mut kind = Number::Integer;
        // A digit after a leading zero is left over, and no separator: refused where the value ends.
        at = match bytes.get(at) {
            Some(b'0') => at + 1,
            _ => digits_end(bytes, at)?,
        };
        if bytes.get(at) == Some(&b'.') {
            kind = Number::Fraction;
            at = digits_end(bytes, at + 1)?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            kind = Number::Fraction;
            let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
            at = digits_end(bytes, at + 1 + usize::from(signed))?;
        }
        self.at = at;
        Ok(kind)
    }

    fn literal(&mut self) -> Result<(), ScanError> {
        let rest = &self.text.as_bytes()[self.at..];
        let literal: &[u8] = match rest.first() {
            Some(b't') => b"true",
            Some(b'f') => b"false",
            _ => b"null",
        };
        if !rest.starts_with(literal) {
            return Err(ScanError::Syntax);
        }
        self.at += literal.len();
        Ok(())
    }
}

/// The end of the digits that start at `at`; at least one is needed.
fn digits_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    let count = bytes[at.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(ScanError::Syntax) } else { Ok(at + count) }
}

/// The index of the next byte that a string may not hold plainly (quote, backslash, control), or the length.
#[inline]
fn plain_end(bytes: &[u8], start: usize) -> usize {
    const WORD: usize = size_of::<u64>();
    const BLOCK: usize = 64;
    let mut at = start;
    // Most strings are short: look at four words exactly before paying for blocks.
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<WORD>()) {
        let stops = stops_in_word(u64::from_le_bytes(*word));
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += WORD;
        if at >= start + 4 * WORD {
            while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
                // No early exit in this loop: that is what lets the compiler use vector instructions.
                if block.iter().fold(false, |stop, &byte| stop | is_stop(byte)) {
                    break;
                }
                at += BLOCK;
            }
        }
    }
    while let Some(&byte) = bytes.get(at) {
        if is_stop(byte) {
            break;
        }
        at += 1;
    }
    at
}

#[inline]
fn is_stop(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Sets the top bit of each byte that stops a string. Bits above the lowest one set may be wrong (borrows run upwards).
#[inline]
fn stops_in_word(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let equals =
        |byte: u8| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES) & !(word ^ (ONES * u64::from(byte)));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (equals(b'"') | equals(b'\\') | control) & (ONES << 7)
}

/// The index behind the escape sequence at `at`. Half a surrogate pair is refused: it stands for no character.
#[inline]
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex4(bytes, at + 2) {
            Some(0xD800..=0xDBFF) => match (bytes.get(at + 6), bytes.get(at + 7), hex4(bytes, at + 8)) {
                (Some(b'\\'), Some(b'u'), Some(0xDC00..=0xDFFF)) => Ok(at + 12),
                _ => Err(ScanError::Syntax),
            },
            Some(0xDC00..=0xDFFF) | None => Err(ScanError::Syntax),
            Some(_) => Ok(at + 6),
        },
        _ => Err(ScanError::Syntax),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

/// The value of a string whose escapes have been judged.
fn unescape(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut value = String::with_capacity(raw.len());
    let mut plain = 0;
    while let Some(offset) = memchr::memchr(b'\\', &bytes[plain..]) {
        let at = plain + offset;
        value.push_str(&raw[plain..at]);
        let (character, length) = match bytes.get(at + 1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => match (hex4(bytes, at + 2).unwrap_or(0), hex4(bytes, at + 8)) {
                (high @ 0xD800..=0xDBFF, Some(low)) => {
                    let code = 0x10000 + ((high - 0xD800) << 10) + (low & 0x3FF);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                }
                (code, _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
            },
            Some(&byte) => (char::from(byte), 2),
            None => break,
        };
        value.push(character);
        plain = at + length;
    }
    value.push_str(&raw[plain..]);
    value
}
