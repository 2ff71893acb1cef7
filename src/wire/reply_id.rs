//! The id and the method of a body that is refused, so that the refusal reaches the call that waits for it.
//!
//! Reads bytes as they come, in bounded memory, and reads on past what is wrong with them: depth, size, UTF-8, values that
//! are no JSON. An id that two parsers could read differently is no id. Must not know why the body is refused.

use super::fold::folds_to_any;
use super::token::{number_end, string_end, unescape};
use crate::wire::method::Method;

/// A longer id is not kept.
pub const ID_BYTES_MAX: usize = 64 * 1024;
/// What a key or a method that is looked for may take, all of it escaped.
const NAME_BYTES_MAX: usize = 256;

/// The request that a refusal belongs to, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialRequest {
    /// Raw JSON of the id: a string or a number.
    pub id: Option<Vec<u8>>,
    /// The method, if it can be read.
    pub method: Option<Method>,
    /// Where the id starts in the body.
    id_at: usize,
}

/// What is known of a member that must be there once.
#[derive(Debug)]
enum Unique<T> {
    Absent,
    Known(T),
    /// It stands there twice, in another spelling, or as no value that it may have.
    Unreadable,
}

/// What a member of the message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Id,
    Method,
    Other,
}

/// Where in the message the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadState {
    Start,
    /// A key or the end of the message comes next.
    Key,
    InKey,
    Colon,
    Value,
    InString,
    InScalar,
    InContainer,
    InContainerString,
    /// A comma or the end of the message comes next.
    Next,
    End,
    /// The message is not built as JSON is: nothing further is believed.
    Stopped,
}

/// Reads one body.
#[derive(Debug)]
pub struct IdReader {
    state: ReadState,
    /// The byte before was the backslash of a string.
    escaped: bool,
    /// Containers open inside the message.
    depth: u64,
    /// Bytes read so far.
    read: usize,
    role: Role,
    /// The key or value that is being kept; `None` once it is too long.
    text: Option<Vec<u8>>,
    text_at: usize,
    id: Unique<(usize, Vec<u8>)>,
    method: Unique<Method>,
    /// A result or an error is there: the id is one of the server's own.
    answers: bool,
}

impl Default for IdReader {
    fn default() -> IdReader {
        IdReader {
            state: ReadState::Start,
            escaped: false,
            depth: 0,
            read: 0,
            role: Role::Other,
            text: None,
            text_at: 0,
            id: Unique::Absent,
            method: Unique::Absent,
            answers: false,
        }
    }
}

/// Reads a whole body; the id is a part of it.
pub fn read(body: &[u8]) -> (Option<&[u8]>, Option<Method>) {
    let mut reader = IdReader::default();
    reader.feed(body);
    let PartialRequest { id, method, id_at } = reader.finish();
    (id.and_then(|id| body.get(id_at..id_at + id.len())), method)
}

impl IdReader {
    /// Reads on.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.state != ReadState::Stopped {
            let used = self.step(rest).min(rest.len());
            self.read += used;
            rest = &rest[used..];
        }
    }

    /// What was found.
    pub fn finish(self) -> PartialRequest {
        match (self.answers, self.id, self.method) {
            (false, Unique::Known((id_at, id)), method) => {
                PartialRequest { id: Some(id), method: method.known(), id_at }
            }
            (false, _, method) => PartialRequest { id: None, method: method.known(), id_at: 0 },
            (true, ..) => PartialRequest::default(),
        }
    }

    /// Reads some bytes of `rest`, at least one, and returns how many.
    fn step(&mut self, rest: &[u8]) -> usize {
        match self.state {
            ReadState::InKey | ReadState::InString | ReadState::InContainerString => self.string(rest),
            ReadState::InScalar => self.scalar(rest),
            ReadState::InContainer => self.container(rest),
            ReadState::Start
            | ReadState::Key
            | ReadState::Colon
            | ReadState::Value
            | ReadState::Next
            | ReadState::End => self.token(rest[0]),
            ReadState::Stopped => rest.len(),
        }
    }

    /// Reads a byte between tokens. Returns zero if the byte belongs to the value that starts with it.
    fn token(&mut self, byte: u8) -> usize {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return 1;
        }
        self.state = match (self.state, byte) {
            (ReadState::Start, b'{') => ReadState::Key,
            (ReadState::Key, b'"') => {
                self.text = Some(vec![b'"']);
                ReadState::InKey
            }
            // Also behind a comma that is one too many.
            (ReadState::Key, b'}') => ReadState::End,
            (ReadState::Colon, b':') => ReadState::Value,
            (ReadState::Value, b'{' | b'[') => {
                (self.depth, self.text) = (1, None);
                ReadState::InContainer
            }
            (ReadState::Value, b'"') => {
                self.begin_value();
                self.keep(b"\"");
                ReadState::InString
            }
            (ReadState::Value, _) => {
                self.begin_value();
                self.state = ReadState::InScalar;
                return 0;
            }
            (ReadState::Next, b',' | b'}') => {
                self.end_value();
                if byte == b',' { ReadState::Key } else { ReadState::End }
            }
            // Another message behind this one: whose id would it be?
            (ReadState::End, b'"' | b'{' | b'[') => {
                self.id = Unique::Unreadable;
                ReadState::Stopped
            }
            (ReadState::End, _) => ReadState::End,
            _ => ReadState::Stopped,
        };
        1
    }

    fn string(&mut self, rest: &[u8]) -> usize {
        if std::mem::take(&mut self.escaped) {
            self.keep(&rest[..1]);
            return 1;
        }
        let end = memchr::memchr2(b'"', b'\\', rest);
        let used = end.map_or(rest.len(), |end| end + 1);
        let closes = end.is_some_and(|end| rest[end] == b'"');
        self.escaped = end.is_some() && !closes;
        self.keep(&rest[..used]);
        let is_key = self.state == ReadState::InKey;
        if closes {
            self.state = if is_key {
                self.end_key();
                ReadState::Colon
            } else if self.state == ReadState::InContainerString {
                ReadState::InContainer
            } else {
                ReadState::Next
            };
        }
        used
    }

    fn scalar(&mut self, rest: &[u8]) -> usize {
        let ends =
            |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'{' | b'[' | b':' | b'"') || *byte <= b' ';
        let end = rest.iter().position(ends);
        let used = end.unwrap_or(rest.len());
        self.keep(&rest[..used]);
        if end.is_some() {
            self.state = ReadState::Next;
        }
        used
    }

    fn container(&mut self, rest: &[u8]) -> usize {
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => self.state = ReadState::InContainerString,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => continue,
            }
            if self.depth == 0 {
                self.state = ReadState::Next;
            }
            if self.state != ReadState::InContainer {
                return at + 1;
            }
        }
        rest.len()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let is_id = self.role == Role::Id && self.state != ReadState::InKey;
        let bytes_max = if is_id { ID_BYTES_MAX } else { NAME_BYTES_MAX };
        match &mut self.text {
            Some(text) if text.len() + bytes.len() <= bytes_max => text.extend_from_slice(bytes),
            _ => self.text = None,
        }
    }

    fn end_key(&mut self) {
        let key = self.text.take().and_then(|raw| decoded(&raw)).unwrap_or_default();
        let is = |name: &str| folds_to_any(key.as_bytes(), &[name]);
        self.role = Role::Other;
        if is("id") {
            self.role = Role::Id;
            self.id.enter(key == "id");
        } else if is("method") {
            self.role = Role::Method;
            self.method.enter(key == "method");
        } else {
            self.answers |= is("result") || is("error");
        }
    }

    fn begin_value(&mut self) {
        self.text = (self.role != Role::Other).then(Vec::new);
        self.text_at = self.read;
    }

    /// The value is complete, and what follows belongs behind one.
    fn end_value(&mut self) {
        let text = self.text.take();
        match self.role {
            Role::Id => {
                let at = self.text_at;
                self.id.set(text.filter(|raw| is_id(raw)).map(|raw| (at, raw)));
            }
            Role::Method => {
                self.method.set(text.and_then(|raw| decoded(&raw)).map(|name| Method::from_name(&name)));
            }
            Role::Other => {}
        }
    }
}

impl<T> Unique<T> {
    /// The key is there.
    fn enter(&mut self, as_spelled: bool) {
        let is_first = matches!(self, Unique::Absent);
        // Until its value is read.
        *self = Unique::Unreadable;
        if is_first && as_spelled {
            *self = Unique::Absent;
        }
    }

    /// The value is there, if it is one that the member may have.
    fn set(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Unique::Absent, Some(value)) => Unique::Known(value),
            _ => Unique::Unreadable,
        };
    }

    fn known(self) -> Option<T> {
        match self {
            Unique::Known(value) => Some(value),
            Unique::Absent | Unique::Unreadable => None,
        }
    }
}

fn is_id(raw: &[u8]) -> bool {
    match raw.first() {
        Some(b'-' | b'0'..=b'9') => number_end(raw, 0) == Ok(raw.len()),
        _ => decoded(raw).is_some(),
    }
}

/// The value of a string with its quotes, if it is one.
fn decoded(raw: &[u8]) -> Option<String> {
    let inside = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_string = string_end(raw, 0, &mut false) == Ok(raw.len()) && str::from_utf8(raw).is_ok();
    is_string.then(|| unescape(inside))
}

#[cfg(test)]
#[path = "reply_id_tests.rs"]
mod tests;
