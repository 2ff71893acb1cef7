//! Server-sent events: where a line and an event end, and which bytes are an event's data.
//!
//! Follows the WHATWG's rules for event streams: lines end in LF, CR or CRLF; an event ends at an empty line; its data is
//! its `data` lines joined by LF; an event without its empty line does not count. Must not know what the data says.

/// What an event stream holds, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'b> {
    /// A piece of the event's data. The LF that joins two `data` lines is a piece of its own.
    Data(&'b [u8]),
    /// The event ends.
    End {
        /// Clients of MCP read events of type `message` and of none; an empty type is none.
        is_message: bool,
    },
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Behind a whole event, or at the beginning.
    Between,
    /// In an event without data so far: an empty line ends it, and it says nothing.
    Blank,
    /// In an event with data.
    Inside,
}

/// Reads a stream that arrives in pieces, in bounded memory. No verdict depends on how the stream was cut.
#[derive(Debug, Default)]
pub struct Parser {
    line: LineState,
    /// The name of the field, then the value of an `event` field: as much as is needed to tell them apart.
    token: ShortText,
    /// The piece before ended in CR: an LF belongs to it.
    after_cr: bool,
    /// A line has ended: a byte order mark can no longer follow.
    past_first_line: bool,
    has_data: bool,
    /// A line, or the beginning of one, follows the last event.
    is_inside: bool,
    /// The event's data is not empty so far.
    has_content: bool,
    is_foreign: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum LineState {
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
struct ShortText {
    bytes: [u8; 8],
    length: usize,
}

impl ShortText {
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

pub(super) const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Parser {
    /// Takes bytes off `rest` up to the next part, or all of them.
    pub fn next<'b>(&mut self, rest: &mut &'b [u8]) -> Option<Part<'b>> {
        while let Some((&byte, behind)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                *rest = behind;
                continue;
            }
            self.is_inside = true;
            let part = match (self.line, byte) {
                (_, b'\r' | b'\n') => {
                    let has_lf = byte == b'\r' && behind.starts_with(b"\n");
                    *rest = if has_lf { &behind[1..] } else { behind };
                    self.after_cr = byte == b'\r' && behind.is_empty();
                    self.end_line()
                }
                (LineState::Name, b':') => {
                    *rest = behind;
                    let (field, part) = self.end_name();
                    self.line = LineState::Space(field);
                    part
                }
                (LineState::Name, _) => {
                    *rest = behind;
                    self.token.push(&[byte]);
                    None
                }
                (LineState::Space(field), _) => {
                    self.line = LineState::Value(field);
                    *rest = if byte == b' ' { behind } else { rest };
                    None
                }
                (LineState::Value(field), _) => {
                    let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (value, behind) = rest.split_at(end);
                    *rest = behind;
                    self.value(field, value)
                }
            };
            if part.is_some() {
                return part;
            }
        }
        None
    }

    /// Where the stream stands.
    pub fn boundary(&self) -> Boundary {
        match (self.is_inside, self.has_content) {
            (false, _) => Boundary::Between,
            (true, false) => Boundary::Blank,
            (true, true) => Boundary::Inside,
        }
    }

    fn name(&self) -> &[u8] {
        let name = self.token.text().unwrap_or(b"?");
        name.strip_prefix(BOM).filter(|_| !self.past_first_line).unwrap_or(name)
    }

    /// The field whose name is complete; its value starts. A second `data` line joins the first one.
    fn end_name(&mut self) -> (Field, Option<Part<'static>>) {
        let field = match self.name() {
            b"data" => Field::Data,
            b"event" => Field::Event,
            _ => Field::Other,
        };
        self.token = ShortText::default();
        self.is_foreign &= field != Field::Event;
        let joins = field == Field::Data && std::mem::replace(&mut self.has_data, true);
        (field, joins.then_some(Part::Data(b"\n")))
    }

    fn value<'b>(&mut self, field: Field, bytes: &'b [u8]) -> Option<Part<'b>> {
        match field {
            Field::Data => {
                self.has_content = true;
                return Some(Part::Data(bytes));
            }
            Field::Event => self.token.push(bytes),
            Field::Other => {}
        }
        None
    }

    fn end_line(&mut self) -> Option<Part<'static>> {
        let part = match std::mem::take(&mut self.line) {
            LineState::Name if self.name().is_empty() => Some(self.end_event()),
            // A field without a colon has an empty value.
            LineState::Name => self.end_name().1,
            LineState::Space(Field::Event) | LineState::Value(Field::Event) => {
                let token = std::mem::take(&mut self.token);
                self.is_foreign = token.text().is_none_or(|name| !name.is_empty() && name != b"message");
                None
            }
            LineState::Space(Field::Data | Field::Other) | LineState::Value(Field::Data | Field::Other) => {
                None
            }
        };
        self.past_first_line = true;
        part
    }

    fn end_event(&mut self) -> Part<'static> {
        let is_message = !self.is_foreign;
        let (after_cr, past_first_line) = (self.after_cr, true);
        *self = Parser { after_cr, past_first_line, ..Parser::default() };
        Part::End { is_message }
    }
}

/// Assembles the data of each event. The caller bounds the bytes.
#[derive(Debug, Default)]
pub struct Events {
    parser: Parser,
    data: Vec<u8>,
}

impl Events {
    /// Calls `event` with the data of each event that these bytes complete, whatever its type.
    pub fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&[u8])) {
        while let Some(part) = self.parser.next(&mut bytes) {
            match part {
                Part::Data(piece) => self.data.extend_from_slice(piece),
                Part::End { .. } => {
                    if !self.data.is_empty() {
                        event(&self.data);
                    }
                    self.data.clear();
                }
            }
        }
    }
}

/// Appends this text as `data` lines that end in `end`.
pub fn write_data(out: &mut Vec<u8>, data: &[u8], end: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        for part in [b"data: ", line, end] {
            out.extend_from_slice(part);
        }
    }
}

/// The lines of a part of a stream, each with what ends it: LF, CR, CRLF, or the end of the bytes.
pub fn lines(mut rest: &[u8]) -> impl Iterator<Item = RawLine<'_>> {
    std::iter::from_fn(move || {
        let at = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(at);
        let (end, behind) =
            behind.split_at(if behind.starts_with(b"\r\n") { 2 } else { behind.len().min(1) });
        let is_line = !rest.is_empty();
        rest = behind;
        is_line.then_some(RawLine { text, end })
    })
}

/// One line of an event stream.
#[derive(Debug, Clone, Copy)]
pub struct RawLine<'s> {
    /// The line without its end.
    pub text: &'s [u8],
    /// What ends it.
    pub end: &'s [u8],
}

impl<'s> RawLine<'s> {
    /// The value, if this is a `data` field.
    pub fn data(&self) -> Option<&'s [u8]> {
        if self.text == b"data" {
            return Some(b"");
        }
        let value = self.text.strip_prefix(b"data:")?;
        Some(value.strip_prefix(b" ").unwrap_or(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expect: &[&str]) {
        for step in [1, 3, input.len().max(1)] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for part in input.chunks(step) {
                events.feed(part, |data| found.push(String::from_utf8_lossy(data).into_owned()));
            }
            assert_eq!(found, expect, "in steps of {step}");
        }
    }

    // WHATWG HTML, 9.2.6 "Interpreting an event stream".
    #[test]
    fn sse_events_are_the_same_however_the_bytes_are_cut() {
        check(b"data: {\"a\":1}\n\n", &["{\"a\":1}"]);
        check(b"event: message\r\ndata: a\r\ndata: b\r\n\r\n: ping\r\n\r\ndata:c\r\r", &["a\nb", "c"]);
        check(b"id: 1\nretry: 5\n\n", &[]);
        check(b"data\n\ndata: unfinished", &[]);
        check(b"data: a\r\r\ndata: b\n\r\n\n", &["a", "b"]);
        check(b"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\ndatax: c\n\ndata : d\n\n", &["a"]);
        check(b"\xEF\xBB\xBF\ndata:  a\ndata\ndata:\n\n", &[" a\n\n"]);
    }

    #[test]
    fn sse_types_tell_messages_from_other_events() {
        let types = |stream: &str| {
            let (mut parser, mut rest, mut found) = (Parser::default(), stream.as_bytes(), Vec::new());
            while let Some(part) = parser.next(&mut rest) {
                if let Part::End { is_message } = part {
                    found.push(is_message);
                }
            }
            found
        };
        assert_eq!(types("data: 1\n\nevent\n\nevent: message\n\nevent:\n\n"), [true; 4]);
        assert_eq!(
            types("event: x\ndata: 1\n\nevent: messages\n\n\nevent: x\nevent\n\n"),
            [false, false, true, true]
        );
    }

    #[test]
    fn sse_data_is_written_line_by_line() {
        let mut out = Vec::new();
        write_data(&mut out, b"a\nb", b"\r\n");
        assert_eq!(out, b"data: a\r\ndata: b\r\n");
    }
}
