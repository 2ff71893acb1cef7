//! One JSON-RPC message, pushed through in pieces: is it a response, and does it report an error?
//!
//! Looks at the members of the message, of `result` and of `error`, and follows everything else to its end. Of equal
//! keys the last one counts, as in the parsers of Python and JavaScript: the client will read it that way.

use super::Answer;
use super::skip::Skip;
use crate::wire::lexer::Lexer;

/// What a complete message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A JSON-RPC response.
    Answer(Answer),
    /// A JSON-RPC request or notification.
    Call,
    /// Anything else, or an incomplete message.
    Nothing,
}

/// The scan of one message.
#[derive(Debug, Default)]
pub(super) struct MessageScan {
    state: State,
    object: Object,
    /// The member whose value comes next.
    member: Member,
    token: Token,
    facts: Facts,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Before the opening brace.
    #[default]
    Start,
    /// Behind an opening brace: a key or the end.
    FirstKey,
    /// Behind a comma.
    Key,
    /// Inside a key.
    InKey,
    Colon,
    Value,
    /// Inside a string that is kept.
    InText,
    /// Inside a number or literal.
    InScalar,
    /// Inside a value of no interest.
    Skipping(Skip),
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
    Method,
    Result,
    Error,
    IsError,
    Code,
}

#[derive(Debug, Default)]
struct Facts {
    is_version_2: bool,
    has_method: bool,
    has_result: bool,
    is_error: bool,
    error: ErrorMember,
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
struct Token {
    bytes: [u8; Token::LENGTH_MAX],
    length: usize,
    /// The byte before was a backslash that was not escaped itself.
    escaped: bool,
    /// There is a backslash in it: its text is not what it stands for.
    has_escape: bool,
}

impl Token {
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
        let is_scalar = |byte: &u8| matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E');
        let taken = bytes.iter().take_while(|byte| is_scalar(byte));
        taken.map(|byte| self.push(*byte)).count()
    }
}

impl Default for Token {
    fn default() -> Token {
        Token { bytes: [0; Token::LENGTH_MAX], length: 0, escaped: false, has_escape: false }
    }
}

/// Whether the raw text of a string stands for `wanted`.
fn is_text(token: &Token, wanted: &str) -> bool {
    let Some(raw) = token.raw() else { return false };
    if !token.has_escape {
        return raw == wanted.as_bytes();
    }
    let Ok(raw) = str::from_utf8(raw) else { return false };
    Lexer::new(&format!("\"{raw}\""))
        .string_value(0)
        .is_ok_and(|text| text.is_some_and(|text| text.decode() == wanted))
}

impl MessageScan {
    /// Sees the next bytes of the message.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += match self.state {
                State::Skipping(mut skip) => {
                    let taken = skip.feed(&bytes[at..]);
                    self.state = if skip.done() { State::Next } else { State::Skipping(skip) };
                    taken
                }
                State::InKey => {
                    let (taken, closed) = self.token.take_text(&bytes[at..]);
                    if closed {
                        self.member = self.member_of_key();
                        self.state = State::Colon;
                    }
                    taken
                }
                State::InText => {
                    let (taken, closed) = self.token.take_text(&bytes[at..]);
                    if closed {
                        self.end_text();
                    }
                    taken
                }
                State::InScalar => {
                    let taken = self.token.take_scalar(&bytes[at..]);
                    if at + taken < bytes.len() {
                        self.end_scalar();
                    }
                    taken
                }
                State::Broken => return,
                State::Start
                | State::FirstKey
                | State::Key
                | State::Colon
                | State::Value
                | State::Next
                | State::End => {
                    if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                        self.state = self.token_start(byte);
                    }
                    1
                }
            };
        }
    }

    /// What the message was, given that it is complete.
    pub(super) fn finish(self) -> Seen {
        let Facts { is_version_2, has_method, has_result, is_error, error } = self.facts;
        if !matches!(self.state, State::End) || !is_version_2 {
            return Seen::Nothing;
        }
        if has_method {
            return Seen::Call;
        }
        match error {
            ErrorMember::Object(Some(code)) => Seen::Answer(Answer::RpcError(code)),
            ErrorMember::Absent if has_result && is_error => Seen::Answer(Answer::ToolError),
            ErrorMember::Absent if has_result => Seen::Answer(Answer::Ok),
            ErrorMember::Absent | ErrorMember::Object(None) | ErrorMember::Malformed => Seen::Nothing,
        }
    }

    /// A byte that is neither white space nor inside a token.
    fn token_start(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (State::Start, b'{') => State::FirstKey,
            (State::FirstKey | State::Key, b'"') => {
                self.token.clear();
                State::InKey
            }
            (State::Colon, b':') => State::Value,
            (State::Value, _) => self.value_start(byte),
            (State::Next, b',') => State::Key,
            (State::FirstKey | State::Next, b'}') => match std::mem::take(&mut self.object) {
                Object::Message => State::End,
                Object::Result | Object::Error => State::Next,
            },
            _ => State::Broken,
        }
    }

    /// The first byte of the member's value. What an earlier member of that name said is forgotten.
    fn value_start(&mut self, byte: u8) -> State {
        let facts = &mut self.facts;
        match self.member {
            Member::Jsonrpc => facts.is_version_2 = false,
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
        match (byte, self.member) {
            (b'{', Member::Result) => {
                self.object = Object::Result;
                State::FirstKey
            }
            (b'{', Member::Error) => {
                facts.error = ErrorMember::Object(None);
                self.object = Object::Error;
                State::FirstKey
            }
            (b'"', Member::Jsonrpc) => {
                self.token.clear();
                State::InText
            }
            (b'"', _) => State::Skipping(Skip::string()),
            (b'{' | b'[', _) => State::Skipping(Skip::container()),
            (b'-' | b'0'..=b'9' | b't' | b'f' | b'n', _) => {
                self.token.clear();
                self.token.push(byte);
                State::InScalar
            }
            _ => State::Broken,
        }
    }

    fn member_of_key(&self) -> Member {
        let members: &[(&str, Member)] = match self.object {
            Object::Message => &[
                ("jsonrpc", Member::Jsonrpc),
                ("method", Member::Method),
                ("result", Member::Result),
                ("error", Member::Error),
            ],
            Object::Result => &[("isError", Member::IsError)],
            Object::Error => &[("code", Member::Code)],
        };
        members
            .iter()
            .find(|(name, _)| is_text(&self.token, name))
            .map_or(Member::Other, |(_, member)| *member)
    }

    /// The only string that is kept is the version.
    fn end_text(&mut self) {
        self.facts.is_version_2 = is_text(&self.token, "2.0");
        self.state = State::Next;
    }

    fn end_scalar(&mut self) {
        self.state = State::Next;
        // A number too long to keep is a number of no interest.
        let Some(raw) = self.token.raw().and_then(|raw| str::from_utf8(raw).ok()) else { return };
        let mut lexer = Lexer::new(raw);
        if lexer.skip_value(0).and_then(|()| lexer.end()).is_err() {
            self.state = State::Broken;
            return;
        }
        match self.member {
            Member::IsError => self.facts.is_error = raw == "true",
            Member::Code => self.facts.error = ErrorMember::Object(raw.parse().ok()),
            Member::Error if raw == "null" => self.facts.error = ErrorMember::Absent,
            Member::Error | Member::Other | Member::Jsonrpc | Member::Method | Member::Result => {}
        }
    }
}
