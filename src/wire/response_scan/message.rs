//! One JSON-RPC message, pushed through in pieces: is it a response, and does it report an error?
//!
//! Looks at the members of the message, of `result` and of `error`, and follows everything else to its end. Of equal
//! keys the last one counts, as in the parsers of Python and JavaScript: the client will read it that way.

use std::borrow::Cow;

use super::id::Expected;
use super::kind::ResponseKind;
use super::skip::Skip;
use crate::wire::lexer::Lexer;
use crate::wire::token::{literal_end, number_end, short_string_end, space_end};

/// What a complete message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// A JSON-RPC response.
    Response(ResponseKind),
    /// A JSON-RPC request or notification.
    Call,
    /// Anything else, an incomplete message, or a response to another call.
    Other,
}

/// The scan of one message.
#[derive(Debug, Default)]
pub(super) struct MessageScan<'i> {
    /// The id of the call: only a response with it counts.
    expected: Expected<'i>,
    state: ScanState,
    object: Object,
    /// The member whose value comes next.
    member: Member,
    /// How far the value of no interest has been followed, in [`ScanState::Skipping`].
    skip: Skip,
    /// The token that an earlier piece began.
    token: RawToken,
    facts: MemberFacts,
}

#[derive(Debug, Clone, Copy, Default)]
enum ScanState {
    /// Before the opening brace.
    #[default]
    Start,
    /// Behind an opening brace: a key or the end.
    FirstKey,
    /// Behind a comma.
    Key,
    /// Inside a key that did not end with its piece, or has an escape.
    InKey,
    Colon,
    Value,
    /// The same of a string that is kept.
    InText,
    /// Inside a number or literal that may not have ended with its piece.
    InScalar,
    /// Inside a value of no interest.
    Skipping,
    /// Behind a value: a comma or the end.
    Next,
    /// Behind the closing brace: white space only.
    End,
    Broken,
}

/// The object whose members are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Object {
    #[default]
    Message,
    Result,
    Error,
}

/// A member that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    #[default]
    Other,
    Jsonrpc,
    Id,
    Method,
    Result,
    Error,
    IsError,
    Code,
}

#[derive(Debug, Default)]
struct MemberFacts {
    is_version_2: bool,
    id: IdMember,
    has_method: bool,
    has_result: bool,
    is_error: bool,
    error: ErrorMember,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum IdMember {
    #[default]
    Absent,
    Expected,
    Other,
}

impl IdMember {
    fn of(is_expected: bool) -> IdMember {
        if is_expected { IdMember::Expected } else { IdMember::Other }
    }
}

#[derive(Debug, Clone, Copy, Default)]
enum ErrorMember {
    /// Not there, or null: JSON-RPC 1.0 servers send that beside a result.
    #[default]
    Absent,
    /// An object, with its code so far.
    Object(Option<i64>),
    /// Something that JSON-RPC does not know.
    Malformed,
}

/// The raw text of a short key or scalar. Longer ones match nothing that is looked for.
#[derive(Debug)]
struct RawToken {
    bytes: [u8; RawToken::LENGTH_MAX],
    length: usize,
    /// The byte before was a backslash that was not escaped itself.
    escaped: bool,
    /// There is a backslash in it: its text is not what it stands for.
    has_escape: bool,
}

impl RawToken {
    /// Room for `jsonrpc`, the longest key, with every character as a `\u` escape.
    const LENGTH_MAX: usize = 48;

    fn clear(&mut self) {
        self.length = 0;
        self.escaped = false;
        self.has_escape = false;
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// The raw text, if it fitted.
    fn raw(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }

    /// What the raw text of a string stands for, if it fitted and does.
    fn text(&self) -> Option<Cow<'_, [u8]>> {
        let raw = self.raw()?;
        if !self.has_escape {
            return Some(Cow::Borrowed(raw));
        }
        let quoted = format!("\"{}\"", str::from_utf8(raw).ok()?);
        let text = Lexer::new(&quoted).string_value(0).ok()??;
        Some(Cow::Owned(text.decode().into_owned().into_bytes()))
    }

    /// Takes the bytes of a string up to its closing quote; returns how many, and whether the quote was among them.
    fn take_text(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, &byte) in bytes.iter().enumerate() {
            let escaped = std::mem::take(&mut self.escaped);
            match byte {
                b'"' if !escaped => return (index + 1, true),
                b'\\' => {
                    self.escaped = !escaped;
                    self.has_escape = true;
                }
                _ => {}
            }
            self.push(byte);
        }
        (bytes.len(), false)
    }

    /// Takes the bytes of a number or literal; returns how many.
    fn take_scalar(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.iter().take_while(|byte| is_scalar(byte));
        taken.map(|byte| self.push(*byte)).count()
    }
}

impl Default for RawToken {
    fn default() -> RawToken {
        RawToken { bytes: [0; RawToken::LENGTH_MAX], length: 0, escaped: false, has_escape: false }
    }
}

impl Member {
    /// The member of this object that has this key.
    #[inline]
    fn of(object: Object, key: &[u8]) -> Member {
        match (object, key) {
            (Object::Message, b"jsonrpc") => Member::Jsonrpc,
            (Object::Message, b"id") => Member::Id,
            (Object::Message, b"method") => Member::Method,
            (Object::Message, b"result") => Member::Result,
            (Object::Message, b"error") => Member::Error,
            (Object::Result, b"isError") => Member::IsError,
            (Object::Error, b"code") => Member::Code,
            (Object::Message | Object::Result | Object::Error, _) => Member::Other,
        }
    }
}

/// The bytes that numbers and literals consist of.
#[inline]
fn is_scalar(byte: &u8) -> bool {
    matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E')
}

/// The index behind the number or literal at `at`, if it is one by the grammar.
#[inline]
fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = match bytes.get(at) {
        Some(b'-' | b'0'..=b'9') => number_end(bytes, at),
        _ => literal_end(bytes, at),
    };
    end.ok()
}

impl<'i> MessageScan<'i> {
    pub(super) fn new(expected: Expected<'i>) -> MessageScan<'i> {
        MessageScan { expected, ..MessageScan::default() }
    }

    /// The scan of another message for the same call.
    pub(super) fn again(&self) -> MessageScan<'i> {
        MessageScan::new(self.expected.again())
    }

    /// Whether what has been seen is the beginning of the response to the call.
    pub(super) fn is_begun(&self) -> bool {
        let MemberFacts { is_version_2, has_method, .. } = self.facts;
        is_version_2 && self.is_to_call() && self.has_outcome() && !has_method && !self.is_broken()
    }

    /// Whether what has been seen is the beginning of no JSON object, or of a response to another call.
    pub(super) fn is_other(&self) -> bool {
        let is_to_another = self.facts.id == IdMember::Other && !self.expected.is_any();
        self.is_broken() || is_to_another && self.has_outcome()
    }

    fn has_outcome(&self) -> bool {
        self.facts.has_result || !matches!(self.facts.error, ErrorMember::Absent)
    }

    fn is_broken(&self) -> bool {
        matches!(self.state, ScanState::Broken)
    }

    fn is_to_call(&self) -> bool {
        self.expected.is_any() || self.facts.id == IdMember::Expected
    }

    /// Sees the next bytes of the message.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at = match self.state {
                ScanState::Skipping => {
                    let taken = self.skip.feed(&bytes[at..]);
                    if self.skip.done() {
                        self.state = ScanState::Next;
                    }
                    at + taken
                }
                ScanState::InKey | ScanState::InText => self.string_rest(bytes, at),
                ScanState::InScalar => self.scalar_rest(bytes, at),
                ScanState::Broken => return,
                ScanState::Start
                | ScanState::FirstKey
                | ScanState::Key
                | ScanState::Colon
                | ScanState::Value
                | ScanState::Next
                | ScanState::End => self.token_start(bytes, at),
            };
        }
    }

    /// What the message was, given that it is complete.
    pub(super) fn seen(&self) -> MessageKind {
        let MemberFacts { is_version_2, has_method, has_result, is_error, error, .. } = self.facts;
        if !matches!(self.state, ScanState::End) || !is_version_2 {
            return MessageKind::Other;
        }
        if has_method {
            return MessageKind::Call;
        }
        if !self.is_to_call() {
            return MessageKind::Other;
        }
        match error {
            ErrorMember::Object(Some(code)) => MessageKind::Response(ResponseKind::RpcError(code)),
            ErrorMember::Absent if has_result && is_error => MessageKind::Response(ResponseKind::ToolError),
            ErrorMember::Absent if has_result => MessageKind::Response(ResponseKind::Ok),
            ErrorMember::Absent | ErrorMember::Object(None) | ErrorMember::Malformed => MessageKind::Other,
        }
    }

    /// Takes the token that starts at or, with white space before it, behind `at`, and those that usually follow. Returns
    /// the index behind what was taken.
    #[inline]
    fn token_start(&mut self, bytes: &[u8], at: usize) -> usize {
        let at = space_end(bytes, at);
        let Some(&byte) = bytes.get(at) else { return at };
        self.state = match (self.state, byte) {
            (ScanState::Start, b'{') => ScanState::FirstKey,
            (ScanState::FirstKey | ScanState::Key, b'"') => return self.key(bytes, at + 1),
            (ScanState::Colon, b':') => return self.value(bytes, at + 1),
            (ScanState::Value, _) => return self.value(bytes, at),
            (ScanState::Next, b',') => ScanState::Key,
            (ScanState::FirstKey | ScanState::Next, b'}') => match std::mem::take(&mut self.object) {
                Object::Message => ScanState::End,
                Object::Result | Object::Error => ScanState::Next,
            },
            _ => ScanState::Broken,
        };
        at + 1
    }

    /// The key whose inside starts at `start`: usually short, plain and in one piece, its colon and value behind it.
    #[inline]
    fn key(&mut self, bytes: &[u8], start: usize) -> usize {
        let Ok(end) = short_string_end(bytes, start) else {
            self.token.clear();
            self.state = ScanState::InKey;
            return start;
        };
        self.member = Member::of(self.object, &bytes[start..end]);
        self.state = ScanState::Colon;
        let at = space_end(bytes, end + 1);
        if bytes.get(at) == Some(&b':') { self.value(bytes, at + 1) } else { at }
    }

    /// The member's value, which starts at or, with white space before it, behind `at`. What an earlier member of that
    /// name said is forgotten.
    #[inline]
    fn value(&mut self, bytes: &[u8], at: usize) -> usize {
        let at = space_end(bytes, at);
        let Some(&byte) = bytes.get(at) else {
            self.state = ScanState::Value;
            return at;
        };
        let facts = &mut self.facts;
        match self.member {
            Member::Jsonrpc => facts.is_version_2 = false,
            Member::Id => facts.id = IdMember::Absent,
            Member::Method => facts.has_method = true,
            Member::Result => {
                facts.has_result = true;
                facts.is_error = false;
            }
            Member::Error => facts.error = ErrorMember::Malformed,
            Member::IsError => facts.is_error = false,
            Member::Code => facts.error = ErrorMember::Object(None),
            Member::Other => {}
        }
        let inside = at + 1;
        self.state = match (byte, self.member) {
            (b'{', Member::Result) => {
                self.object = Object::Result;
                ScanState::FirstKey
            }
            (b'{', Member::Error) => {
                facts.error = ErrorMember::Object(None);
                self.object = Object::Error;
                ScanState::FirstKey
            }
            (b'"', member) => {
                if let Ok(end) = short_string_end(bytes, inside) {
                    self.text(&bytes[at..=end]);
                    self.state = ScanState::Next;
                    return end + 1;
                }
                if member == Member::Jsonrpc || member == Member::Id {
                    self.token.clear();
                    self.expected.begin();
                    ScanState::InText
                } else {
                    self.skip = Skip::string();
                    ScanState::Skipping
                }
            }
            (b'{' | b'[', member) => {
                if member == Member::Id {
                    facts.id = IdMember::Other;
                }
                self.skip = Skip::container();
                ScanState::Skipping
            }
            (b'-' | b'0'..=b'9' | b't' | b'f' | b'n', _) => {
                if let Some(end) = scalar_end(bytes, at)
                    && bytes.get(end).is_some_and(|next| !is_scalar(next))
                {
                    self.scalar(&bytes[at..end]);
                    return end;
                }
                self.token.clear();
                self.state = ScanState::InScalar;
                return at;
            }
            _ => ScanState::Broken,
        };
        inside
    }

    /// The value is this plain string, its quotes included.
    #[inline]
    fn text(&mut self, quoted: &[u8]) {
        if self.member == Member::Jsonrpc {
            self.facts.is_version_2 = quoted == br#""2.0""#;
        } else if self.member == Member::Id {
            self.facts.id = IdMember::of(self.expected.is(quoted));
        }
    }

    /// More of a key, of the version or of the id, the only strings that are kept.
    #[cold]
    fn string_rest(&mut self, bytes: &[u8], at: usize) -> usize {
        let (taken, closed) = self.token.take_text(&bytes[at..]);
        let is_id = self.member == Member::Id && matches!(self.state, ScanState::InText);
        if is_id {
            self.expected.keep(&bytes[at..at + taken]);
        }
        if closed && is_id {
            self.facts.id = IdMember::of(self.expected.is_in_pieces());
            self.state = ScanState::Next;
        } else if closed {
            let text = self.token.text();
            let text = text.as_deref().unwrap_or_default();
            if matches!(self.state, ScanState::InKey) {
                self.member = Member::of(self.object, text);
                self.state = ScanState::Colon;
            } else {
                self.facts.is_version_2 = text == b"2.0";
                self.state = ScanState::Next;
            }
        }
        at + taken
    }

    /// More of a number or literal, or what looks like one.
    #[cold]
    fn scalar_rest(&mut self, bytes: &[u8], at: usize) -> usize {
        let taken = self.token.take_scalar(&bytes[at..]);
        if self.member == Member::Id {
            self.expected.keep(&bytes[at..at + taken]);
        }
        if at + taken < bytes.len() {
            let token = std::mem::take(&mut self.token);
            let is_expected = self.member == Member::Id && self.expected.is_in_pieces();
            match token.raw() {
                Some(raw) if scalar_end(raw, 0) != Some(raw.len()) => self.state = ScanState::Broken,
                Some(raw) => self.scalar(raw),
                // A number too long to keep is of no interest, unless it is the id.
                None => {
                    if is_expected {
                        self.facts.id = IdMember::Expected;
                    }
                    self.state = ScanState::Next;
                }
            }
        }
        at + taken
    }

    /// The value is this number or literal.
    #[inline]
    fn scalar(&mut self, raw: &[u8]) {
        self.state = ScanState::Next;
        match self.member {
            Member::IsError => self.facts.is_error = raw == b"true",
            Member::Code => {
                let code = str::from_utf8(raw).ok().and_then(|code| code.parse().ok());
                self.facts.error = ErrorMember::Object(code);
            }
            Member::Id => self.facts.id = IdMember::of(self.expected.is(raw)),
            Member::Error if raw == b"null" => self.facts.error = ErrorMember::Absent,
            Member::Error | Member::Other | Member::Jsonrpc | Member::Method | Member::Result => {}
        }
    }
}
