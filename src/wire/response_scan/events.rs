//! A `text/event-stream` in pieces: finds the events, and the last one that is a JSON-RPC response decides.
//!
//! Follows the WHATWG's rules for event streams: lines end in LF, CR or CRLF; an event ends at an empty line; its data
//! is its `data` lines joined by LF; an event without its empty line does not count.

use super::id::Expected;
use super::message::{MessageScan, Seen};
use super::{Answer, Boundary};

/// The scan of one event stream.
#[derive(Debug, Default)]
pub(super) struct EventScan<'i> {
    line: Line,
    /// The name of the field, then the value of an `event` field: as much as is needed to tell them apart.
    token: Token,
    /// The line before ended in CR: an LF belongs to it.
    after_cr: bool,
    /// A line was seen: a byte order mark can no longer come.
    past_first_line: bool,
    has_data: bool,
    /// A line, or the beginning of one, was seen since the last event ended.
    is_inside: bool,
    /// There is something in the data of the event so far.
    has_content: bool,
    is_foreign: bool,
    message: MessageScan<'i>,
    last: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Line {
    /// In the field's name.
    #[default]
    Name,
    /// Behind the colon: one space may follow.
    Space(Field),
    Value(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    /// A comment, `id`, `retry`, or unknown.
    Other,
}

/// The start of a short text, and how long the text is.
#[derive(Debug, Default)]
struct Token {
    bytes: [u8; 8],
    length: usize,
}

impl Token {
    fn push(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *place = *byte;
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    /// The text, or nothing if it was too long to keep.
    fn text(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

impl<'i> EventScan<'i> {
    pub(super) fn new(expected: Expected<'i>) -> EventScan<'i> {
        EventScan { message: MessageScan::new(expected), ..EventScan::default() }
    }

    /// Sees the next bytes of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            self.is_inside = true;
            at += match (self.line, byte) {
                (_, b'\r' | b'\n') => {
                    self.end_line();
                    self.after_cr = byte == b'\r';
                    1
                }
                (Line::Name, b':') => {
                    self.line = Line::Space(self.field());
                    1
                }
                (Line::Name, _) => {
                    self.token.push(&[byte]);
                    1
                }
                (Line::Space(field), _) => {
                    self.line = Line::Value(field);
                    usize::from(byte == b' ')
                }
                (Line::Value(field), _) => {
                    let rest = &bytes[at..];
                    let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    self.value(field, &rest[..length]);
                    length
                }
            };
        }
    }

    /// The verdict of the stream, if it had one.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.last
    }

    /// Where the stream stands.
    pub(super) fn boundary(&self) -> Boundary {
        match (self.is_inside, self.has_content) {
            (false, _) => Boundary::Between,
            (true, false) => Boundary::Blank,
            (true, true) => Boundary::Inside,
        }
    }

    /// The field whose name is complete; its value starts.
    fn field(&mut self) -> Field {
        let token = std::mem::take(&mut self.token);
        let name = token.text().unwrap_or_default();
        let name = name.strip_prefix(b"\xEF\xBB\xBF").filter(|_| !self.past_first_line).unwrap_or(name);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.message.feed(b"\n");
                }
                Field::Data
            }
            b"event" => {
                self.is_foreign = false;
                Field::Event
            }
            _ => Field::Other,
        }
    }

    fn value(&mut self, field: Field, bytes: &[u8]) {
        match field {
            Field::Data => {
                self.has_content |= !bytes.is_empty();
                self.message.feed(bytes);
            }
            Field::Event => self.token.push(bytes),
            Field::Other => {}
        }
    }

    fn end_line(&mut self) {
        match std::mem::take(&mut self.line) {
            Line::Name if self.token.length == 0 => self.end_event(),
            // A field without a colon has an empty value.
            Line::Name => {
                self.field();
            }
            Line::Space(Field::Event) | Line::Value(Field::Event) => {
                // Clients of MCP take events of this type and of none; no type is the same as an empty one.
                let token = std::mem::take(&mut self.token);
                self.is_foreign = token.text().is_none_or(|name| !name.is_empty() && name != b"message");
            }
            Line::Space(Field::Data | Field::Other) | Line::Value(Field::Data | Field::Other) => {}
        }
        self.past_first_line = true;
    }

    fn end_event(&mut self) {
        if let Seen::Answer(answer) = self.message.seen()
            && !self.is_foreign
        {
            self.last = Some(answer);
        }
        if std::mem::take(&mut self.has_data) {
            self.message = self.message.again();
        }
        (self.is_inside, self.has_content) = (false, false);
        self.is_foreign = false;
    }
}
