//! A cursor over a complete JSON text: members, strings, whole values, judged by the grammar of RFC 8259.
//!
//! A backend parses the same bytes with another parser, so every rule of the grammar is kept: what this file accepts
//! and a backend reads differently would be a way around the policy. It must not know what the keys mean.

use std::borrow::Cow;

use super::error::{DEPTH_MAX, ScanError};
use super::fold::folds_to_any;
use super::token::{literal_end, number_end, space_end, string_end, unescape};

/// A key: what stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'b> {
    raw: &'b [u8],
    escaped: bool,
}

/// A string that is a value: what stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'b> {
    raw: &'b str,
    escaped: bool,
}

/// A cursor over a JSON text.
pub(super) struct Lexer<'b> {
    text: &'b str,
    /// The bytes of `text`.
    bytes: &'b [u8],
    at: usize,
}

impl Key<'_> {
    /// Whether it stands for `name`; an error if only a careless decoder takes it for that.
    pub(super) fn is(self, name: &str) -> Result<bool, ScanError> {
        let is_name = self.find(|key| {
            (key == name.as_bytes()).then_some(true).or_else(|| folds_to_any(key, &[name]).then_some(false))
        });
        match is_name {
            Some(true) => Ok(true),
            Some(false) => Err(ScanError::FoldedKey),
            None => Ok(false),
        }
    }

    /// What `find` knows of the key.
    #[inline]
    pub(super) fn find<T>(self, find: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        if self.escaped { find(unescape(self.raw).as_bytes()) } else { find(self.raw) }
    }
}

impl<'b> Text<'b> {
    /// The value of the string; borrowed when no escape occurs in it.
    pub(super) fn decode(self) -> Cow<'b, str> {
        if self.escaped { Cow::Owned(unescape(self.raw.as_bytes())) } else { Cow::Borrowed(self.raw) }
    }

    /// Whether it stands for `wanted`.
    pub(super) fn is(self, wanted: &str) -> bool {
        if self.escaped { self.decode() == wanted } else { self.raw == wanted }
    }
}

impl<'b> Lexer<'b> {
    pub(super) fn new(text: &'b str) -> Lexer<'b> {
        Lexer { text, bytes: text.as_bytes(), at: 0 }
    }

    /// The first byte of the next token, or `None` at the end. White space is skipped.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.at = space_end(self.bytes, self.at);
        self.bytes.get(self.at).copied()
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        self.peek().map_or(Ok(()), |_| Err(ScanError::Syntax))
    }

    /// Reads the object at the cursor; `member` gets each key and must consume exactly its value.
    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Key<'b>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.expect(b'{')?;
        let mut next = self.peek();
        if next == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        while next == Some(b'"') {
            let (start, end, escaped) = self.string()?;
            let key = Key { raw: &self.bytes[start..end], escaped };
            self.expect(b':')?;
            member(self, key)?;
            let behind = self.peek();
            self.at += 1;
            match behind {
                Some(b',') => next = self.peek(),
                Some(b'}') => return Ok(()),
                _ => break,
            }
        }
        Err(ScanError::Syntax)
    }

    /// Reads the array at the cursor; `element` gets the index at which each element starts, and must consume exactly
    /// that. Returns the index behind the opening bracket and that of the closing one.
    pub(super) fn elements(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), ScanError>,
    ) -> Result<(usize, usize), ScanError> {
        self.expect(b'[')?;
        let start = self.at;
        if self.peek() != Some(b']') {
            loop {
                self.peek();
                let from = self.at;
                element(self, from)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    _ => break,
                }
            }
        }
        self.peek();
        let end = self.at;
        self.expect(b']').map(|()| (start, end))
    }

    /// The index of the next byte.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The string at the cursor, or `None` when another kind of value stands there; that value is skipped.
    pub(super) fn string_value(&mut self, depth: u32) -> Result<Option<Text<'b>>, ScanError> {
        if self.peek() == Some(b'"') {
            let (start, end, escaped) = self.string()?;
            // Cut at its quotes, so between characters.
            return Ok(self.text.get(start..end).map(|raw| Text { raw, escaped }));
        }
        self.skip_value(depth).map(|()| None)
    }

    /// The raw JSON of the string or number at the cursor, or `None` when another kind of value stands there.
    pub(super) fn id_value(&mut self, depth: u32) -> Result<Option<&'b [u8]>, ScanError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => self.at = string_end(self.bytes, start, &mut false)?,
            Some(b'-' | b'0'..=b'9') => self.at = number_end(self.bytes, start)?,
            _ => return self.skip_value(depth).map(|()| None),
        }
        Ok(Some(&self.bytes[start..self.at]))
    }

    /// Reads past one value of any kind. `depth` counts the containers that are open around it.
    pub(super) fn skip_value(&mut self, depth: u32) -> Result<(), ScanError> {
        let bytes = self.bytes;
        let floor = depth;
        let (mut at, mut depth) = (self.at, depth);
        // One bit for each container opened here, the innermost lowest: set for an object.
        let mut objects: u64 = 0;
        loop {
            at = space_end(bytes, at);
            let first = bytes.get(at);
            match first {
                Some(b'"') => at = string_end(bytes, at, &mut false)?,
                Some(b'-' | b'0'..=b'9') => at = number_end(bytes, at)?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(ScanError::Depth);
                    }
                    objects = objects << 1 | u64::from(first == Some(&b'{'));
                    at = space_end(bytes, at + 1);
                    match (objects & 1, bytes.get(at)) {
                        (1, Some(b'}')) | (0, Some(b']')) => {}
                        (1, _) => {
                            at = key_end(bytes, at)?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                _ => at = literal_end(bytes, at)?,
            }
            loop {
                if depth == floor {
                    self.at = at;
                    return Ok(());
                }
                at = space_end(bytes, at) + 1;
                match (objects & 1, bytes.get(at - 1)) {
                    (1, Some(b',')) => {
                        at = key_end(bytes, at)?;
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

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() != Some(byte) {
            return Err(ScanError::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    /// Reads the string whose opening quote is at the cursor: where it starts and ends between its quotes, and whether it
    /// holds an escape sequence.
    #[inline]
    fn string(&mut self) -> Result<(usize, usize, bool), ScanError> {
        let mut escaped = false;
        let start = self.at + 1;
        self.at = string_end(self.bytes, self.at, &mut escaped)?;
        Ok((start, self.at - 1, escaped))
    }
}

/// The index behind a key and its colon.
#[inline]
fn key_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    let at = space_end(bytes, at);
    if bytes.get(at) != Some(&b'"') {
        return Err(ScanError::Syntax);
    }
    let at = space_end(bytes, string_end(bytes, at, &mut false)?);
    if bytes.get(at) == Some(&b':') { Ok(at + 1) } else { Err(ScanError::Syntax) }
}
