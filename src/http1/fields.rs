//! Header fields: spans into the head's bytes, with the names this program acts on recognised once.
//!
//! Judges the syntax of field lines and of `Connection`. Must not know start lines or body lengths.

use std::fmt;
use std::ops::Range;

use super::bytes::{colon_and_control, is_space, is_token, is_token_byte, is_value_byte, trim};
use super::error::FramingError;
use super::head_end::HeadLimits;
use super::known::KnownField;
use super::relied_on::is_relied_on;

/// More connection options than this in one head are an attack on the bookkeeping.
const CONNECTION_OPTIONS_MAX: usize = 32;

/// Field lines of an ordinary head, and then some.
const FIELDS_USUAL: usize = 16;

/// Reusable storage for the spans of one head's fields.
#[derive(Debug)]
pub struct FieldSpans {
    spans: Vec<Span>,
    first: [u16; KnownField::COUNT],
    count: [u16; KnownField::COUNT],
    connection: ConnectionOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    name: (u32, u32),
    value: (u32, u32),
    known: KnownField,
    nominated: bool,
    /// It says what another line says already.
    copy: bool,
}

/// What the `Connection` fields say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// A field that the guard relies on is named as an option of the connection.
    pub(super) nominates_relied: bool,
}

/// The fields of one head: a view over the head's bytes and the spans found in them.
#[derive(Clone, Copy)]
pub struct Fields<'b> {
    block: &'b [u8],
    spans: &'b FieldSpans,
}

/// One field line: name as sent, value without surrounding white space.
#[derive(Clone, Copy)]
pub struct Field<'b> {
    /// The name, recognised.
    pub known: KnownField,
    /// The name as sent.
    pub name: &'b [u8],
    /// The value, trimmed.
    pub value: &'b [u8],
    /// Whether `Connection` names this field: it is hop-by-hop and not forwarded.
    pub nominated: bool,
}

/// How often a known field occurs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Occurs<'b> {
    /// The field is absent.
    Never,
    /// The field is present once, with this value.
    Once(&'b [u8]),
    /// More than once; the value of the first is not to be trusted for anything.
    Repeated,
}

impl<'b> Fields<'b> {
    pub(super) fn new(block: &'b [u8], spans: &'b FieldSpans) -> Fields<'b> {
        Fields { block, spans }
    }

    /// All fields in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Field<'b>> + use<'b> {
        let block = self.block;
        self.spans.spans.iter().filter(|span| !span.copy).map(move |span| span.field(block))
    }

    /// Appends the lines of the fields that pass, each as `name: value` and CRLF. Neighbours that were sent like that are
    /// copied in one go.
    pub fn append_lines(&self, out: &mut Vec<u8>, passes: impl Fn(&Field<'b>) -> bool) {
        let mut run = 0..0;
        for span in &self.spans.spans {
            let field = span.field(self.block);
            let line = match span.canonical(self.block) {
                _ if span.copy || !passes(&field) => continue,
                Some(line) => line,
                None => {
                    out.extend_from_slice(&self.block[std::mem::take(&mut run)]);
                    for part in [field.name, b": ", field.value, b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                    continue;
                }
            };
            if line.start == run.end {
                run.end = line.end;
            } else {
                out.extend_from_slice(&self.block[std::mem::replace(&mut run, line)]);
            }
        }
        out.extend_from_slice(&self.block[run]);
    }

    /// How often `known` occurs; constant time. [`KnownField::Other`] is no name and never occurs.
    pub fn occurs(&self, known: KnownField) -> Occurs<'b> {
        if known == KnownField::Other {
            return Occurs::Never;
        }
        match self.spans.count[known as usize] {
            0 => Occurs::Never,
            1 => {
                let first = self.spans.first[known as usize] as usize;
                self.spans
                    .spans
                    .get(first)
                    .map_or(Occurs::Never, |span| Occurs::Once(span.field(self.block).value))
            }
            _ => Occurs::Repeated,
        }
    }

    /// The number of field lines.
    pub fn len(&self) -> usize {
        self.spans.spans.len()
    }

    /// Whether there is no field line.
    pub fn is_empty(&self) -> bool {
        self.spans.spans.is_empty()
    }
}

// Values may be tokens, cookies or a user's data, so what is shown for debugging is names and lengths.

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.name.escape_ascii(), self.value.len())
    }
}

impl fmt::Debug for Occurs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Occurs::Never => f.write_str("Never"),
            Occurs::Once(value) => write!(f, "Once({} bytes)", value.len()),
            Occurs::Repeated => f.write_str("Repeated"),
        }
    }
}

impl Span {
    fn field<'b>(&self, block: &'b [u8]) -> Field<'b> {
        let cut = |(start, end): (u32, u32)| &block[start as usize..end as usize];
        Field { known: self.known, name: cut(self.name), value: cut(self.value), nominated: self.nominated }
    }

    /// The whole line, if it was sent as `name: value` and CRLF.
    fn canonical(&self, block: &[u8]) -> Option<Range<usize>> {
        let colon = self.name.1 as usize..self.value.0 as usize;
        let end = self.value.1 as usize + 2;
        let as_written = block[colon] == *b": " && block.get(self.value.1 as usize..end)? == b"\r\n";
        as_written.then_some(self.name.0 as usize..end)
    }
}

impl Default for FieldSpans {
    fn default() -> Self {
        FieldSpans {
            spans: Vec::new(),
            first: [0; KnownField::COUNT],
            count: [0; KnownField::COUNT],
            connection: ConnectionOptions::default(),
        }
    }
}

impl FieldSpans {
    /// Reads the field lines of `block` from `start` to the empty line that must end it.
    pub(super) fn read(
        &mut self,
        block: &[u8],
        start: usize,
        limits: &HeadLimits,
    ) -> Result<(), FramingError> {
        self.spans.clear();
        // Room for what most heads hold, in one allocation instead of three.
        self.spans.reserve(FIELDS_USUAL.min(limits.fields_max as usize));
        self.count = [0; KnownField::COUNT];
        self.connection = ConnectionOptions::default();
        let mut at = start;
        loop {
            if let Some((span, next)) = field_line(block, at) {
                if self.spans.len() >= limits.fields_max as usize {
                    return Err(FramingError::TooManyFields);
                }
                self.add(span);
                at = next;
                continue;
            }
            let (end, next) = line(block, at)?;
            if end != at {
                if self.spans.len() >= limits.fields_max as usize {
                    return Err(FramingError::TooManyFields);
                }
                let error = fault(&block[at..end]);
                // There is nothing before the first line that it could continue.
                let first = error == FramingError::ObsFold && at == start;
                return Err(if first { FramingError::SpaceBeforeColon } else { error });
            }
            // The caller hands over exactly one head: bytes behind its empty line would go unchecked.
            if next != block.len() {
                return Err(FramingError::StartLine);
            }
            self.fold_copies(block);
            return self.read_connection(block);
        }
    }

    pub(super) fn connection(&self) -> ConnectionOptions {
        self.connection
    }

    /// The number of lines of this name.
    pub(super) fn count(&self, known: KnownField) -> u16 {
        self.count[known as usize]
    }

    /// The values of the lines of this name.
    pub(super) fn lines_of<'b>(&self, block: &'b [u8], known: KnownField) -> impl Iterator<Item = &'b [u8]> {
        self.spans.iter().filter(move |span| span.known == known).map(move |span| span.field(block).value)
    }

    /// Leaves one line of this name, with the first `length` bytes of its value.
    pub(super) fn keep_one(&mut self, known: KnownField, length: usize) {
        let mut lines = self.spans.iter_mut().filter(|span| span.known == known);
        if let Some(first) = lines.next() {
            first.value.1 = first.value.0 + offset(length);
        }
        lines.for_each(|span| span.copy = true);
        self.count[known as usize] = 1;
    }

    /// Takes the one line of this name for several.
    pub(super) fn mark_repeated(&mut self, known: KnownField) {
        self.count[known as usize] = self.count[known as usize].max(2);
    }

    fn add(&mut self, span: Span) {
        let index = span.known as usize;
        if self.count[index] == 0 {
            self.first[index] = u16::try_from(self.spans.len()).unwrap_or(u16::MAX);
        }
        self.count[index] = self.count[index].saturating_add(1);
        self.spans.push(span);
    }

    fn read_connection(&mut self, block: &[u8]) -> Result<(), FramingError> {
        if self.count[KnownField::Connection as usize] == 0 {
            return Ok(());
        }
        let mut options = 0;
        for index in 0..self.spans.len() {
            if self.spans[index].known != KnownField::Connection {
                continue;
            }
            for option in self.spans[index].field(block).value.split(|&byte| byte == b',').map(trim) {
                // RFC 9110, 5.6.1.2: empty list elements are to be ignored.
                if option.is_empty() {
                    continue;
                }
                options += 1;
                if options > CONNECTION_OPTIONS_MAX || !is_token(option) {
                    return Err(FramingError::Nomination);
                }
                self.take_option(block, option);
            }
        }
        Ok(())
    }

    fn take_option(&mut self, block: &[u8], option: &[u8]) {
        if option == b"keep-alive" {
            // What nearly every backend says. It is a field's name, too, and no other field's.
            self.connection.keep_alive = true;
            for span in &mut self.spans {
                span.nominated |= span.known == KnownField::KeepAlive;
            }
            return;
        }
        if option.eq_ignore_ascii_case(b"close") {
            self.connection.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            self.connection.keep_alive = true;
        }
        self.connection.nominates_relied |= is_relied_on(option);
        for span in &mut self.spans {
            span.nominated |= option.eq_ignore_ascii_case(span.field(block).name);
        }
    }
}

/// The end of the content of the line at `at`, and the start of the next line. The line must end in CRLF.
pub(super) fn line(block: &[u8], at: usize) -> Result<(usize, usize), FramingError> {
    let rest = block.get(at..).unwrap_or_default();
    let lf = at + memchr::memchr(b'\n', rest).ok_or(FramingError::StartLine)?;
    if lf == at || block[lf - 1] != b'\r' {
        return Err(FramingError::BareLf);
    }
    Ok((lf - 1, lf + 1))
}

/// The field line at `at`, CRLF included, and the start of the next one, in a single pass. `None` if it is none: [`fault`] then
/// says why, unless it is the empty line.
// Without it every line of a head returns its span through memory: 27 instructions a line, and callgrind counts them.
#[inline(always)]
pub(super) fn field_line(block: &[u8], at: usize) -> Option<(Span, usize)> {
    let rest = block.get(at..)?;
    let (colon, mut end) = colon_and_control(rest)?;
    if rest[end] == b'\t' {
        // The one control that a value may hold.
        end += rest[end..].iter().position(|&byte| !is_value_byte(byte))?;
    }
    if rest.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    let (name, raw) = (&rest[..colon], &rest[colon + 1..end]);
    let known = KnownField::recognise(name);
    // A known name is a token.
    if known == KnownField::Other && !is_token(name) {
        return None;
    }
    let lead = raw.iter().position(|&byte| !is_space(byte)).unwrap_or(raw.len());
    let value_start = at + colon + 1 + lead;
    let value_length = raw[lead..].iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1);
    let span = Span {
        name: (offset(at), offset(at + colon)),
        value: (offset(value_start), offset(value_start + value_length)),
        known,
        nominated: false,
        copy: false,
    };
    Some((span, at + end + 2))
}

/// Why this line, without its CRLF, is no field line. A line that starts with white space is `ObsFold`.
#[cold]
pub(super) fn fault(content: &[u8]) -> FramingError {
    let name_end = content.iter().position(|&byte| !is_token_byte(byte));
    let Some((name_length, behind)) = name_end.map(|at| (at, content[at])) else {
        return FramingError::FieldName;
    };
    match behind {
        b' ' | b'\t' if name_length == 0 => FramingError::ObsFold,
        b' ' | b'\t' => FramingError::SpaceBeforeColon,
        b':' if name_length > 0 && content.contains(&b'\r') => FramingError::BareCr,
        b':' if name_length > 0 => FramingError::ControlByte,
        b'\r' => FramingError::BareCr,
        byte if !is_value_byte(byte) => FramingError::ControlByte,
        _ => FramingError::FieldName,
    }
}

/// Offsets fit: a head is never longer than `HeadLimits::bytes_max`, which is a `u32`.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
