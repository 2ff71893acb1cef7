//! The response to `tools/list` with some of its tools left out, and every other byte as it was.
//!
//! Fails closed: what cannot be read without doubt is an error, so that no list passes by being odd. Must not know who is
//! shown what.

use super::error::{DEPTH_MAX, ScanError};
use super::lexer::Lexer;
use super::sse::{self, Part};

/// What became of a response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filtered {
    /// The new bytes; `None` if nothing was left out.
    pub bytes: Option<Vec<u8>>,
    /// Whether there was a response in it: a result or an error.
    pub is_response: bool,
}

/// Leaves out of one JSON-RPC message the tools that `visible` does not show.
pub fn filter_message(json: &[u8], visible: &dyn Fn(&str) -> bool) -> Result<Filtered, ScanError> {
    let text = str::from_utf8(json).map_err(|_| ScanError::Utf8)?;
    let mut lexer = Lexer::new(text);
    if lexer.peek() == Some(b'[') {
        return Err(ScanError::Batch);
    }
    let mut list = None;
    let (mut has_result, mut has_error) = (false, false);
    lexer.members(|lexer, key| {
        if key.is("result")? {
            once(&mut has_result)?;
            return result(lexer, visible, &mut list);
        }
        has_error |= key.is("error")?;
        lexer.skip_value(1)
    })?;
    lexer.end()?;
    let bytes = list.filter(ToolSpans::any_removed).map(|list| list.apply(json));
    Ok(Filtered { bytes, is_response: has_result || has_error })
}

/// The same for the events of a `text/event-stream` that arrives in pieces and is kept by the caller. Each event is read once,
/// when it is whole. One whose data is filtered keeps its other lines.
#[derive(Debug, Default)]
pub struct EventFilter {
    parser: sse::Parser,
    out: Vec<u8>,
    /// Up to where the stream's events are in `out`.
    done: usize,
    /// Up to where the stream has been searched for the end of an event.
    scanned: usize,
    is_response: bool,
    /// Bytes of events that have been read.
    #[cfg(test)]
    parsed: usize,
}

impl EventFilter {
    /// Edits the events that have become whole. `stream` is all that has arrived, its beginning the same as before.
    pub fn feed(&mut self, stream: &[u8], visible: &dyn Fn(&str) -> bool) -> Result<(), ScanError> {
        // The CR that ended an event may have been half of a CRLF.
        if self.done == self.scanned
            && stream[..self.done].ends_with(b"\r")
            && stream[self.done..].starts_with(b"\n")
        {
            self.out.push(b'\n');
            self.done += 1;
            #[cfg(test)]
            {
                self.parsed += 1;
            }
        }
        let mut rest = stream.get(self.scanned..).unwrap_or_default();
        while let Some(part) = self.parser.next(&mut rest) {
            if matches!(part, Part::End { .. }) {
                self.write_up_to(stream.len() - rest.len(), stream, visible)?;
            }
        }
        self.scanned = stream.len();
        Ok(())
    }

    /// Whether an event was a response.
    pub fn is_response(&self) -> bool {
        self.is_response
    }

    /// What became of the stream. Nothing that matters follows a response; before one, an event without its empty line counts,
    /// too: clients drop it, and one that does not is served just as well.
    pub fn finish(mut self, stream: &[u8], visible: &dyn Fn(&str) -> bool) -> Result<Filtered, ScanError> {
        if !self.is_response && self.done < stream.len() {
            self.write_up_to(stream.len(), stream, visible)?;
        }
        let EventFilter { out, is_response, .. } = self;
        Ok(Filtered { bytes: (out != stream).then_some(out), is_response })
    }

    fn write_up_to(
        &mut self,
        end: usize,
        stream: &[u8],
        visible: &dyn Fn(&str) -> bool,
    ) -> Result<(), ScanError> {
        let mut event = &stream[self.done..end];
        #[cfg(test)]
        {
            self.parsed += event.len();
        }
        if self.done == 0
            && let Some(behind) = event.strip_prefix(sse::BOM)
        {
            self.out.extend_from_slice(sse::BOM);
            event = behind;
        }
        self.done = end;
        self.is_response |= write_event(event, visible, &mut self.out)?;
        Ok(())
    }
}

/// Writes an event, filtered where need be. Whether it was a response.
fn write_event(event: &[u8], visible: &dyn Fn(&str) -> bool, out: &mut Vec<u8>) -> Result<bool, ScanError> {
    let data = sse::lines(event).filter_map(|line| line.data()).collect::<Vec<_>>().join(b"\n".as_slice());
    // An event without data is not delivered, such as the one that only carries an id.
    let is_silent = data.iter().all(u8::is_ascii_whitespace);
    let filtered = if is_silent { Filtered::default() } else { filter_message(&data, visible)? };
    let mut due = filtered.bytes.as_deref();
    for line in sse::lines(event) {
        match (line.data(), &filtered.bytes) {
            (Some(_), Some(_)) => {
                // All of it takes the place of the first line of data.
                if let Some(bytes) = due.take() {
                    sse::write_data(out, bytes, line.end);
                }
            }
            (None, _) | (_, None) => {
                out.extend_from_slice(line.text);
                out.extend_from_slice(line.end);
            }
        }
    }
    Ok(filtered.is_response)
}

/// The elements of `result.tools`: where each is, and whether it stays.
struct ToolSpans {
    /// Behind the opening bracket.
    start: usize,
    /// At the closing bracket.
    end: usize,
    tools: Vec<(usize, usize, bool)>,
}

impl ToolSpans {
    fn any_removed(&self) -> bool {
        self.tools.iter().any(|(_, _, stays)| !stays)
    }

    /// Each tool that stays keeps the comma and the white space before it; the first one has no comma.
    fn apply(&self, json: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(json.len());
        out.extend_from_slice(&json[..self.start]);
        let (mut before, mut first) = (self.start, true);
        let lead = self.tools.first().map_or(self.start, |(start, ..)| *start);
        for (start, end, stays) in &self.tools {
            if *stays {
                let gap = if first { self.start..lead } else { before..*start };
                out.extend_from_slice(&json[gap]);
                out.extend_from_slice(&json[*start..*end]);
                first = false;
            }
            before = *end;
        }
        if first {
            out.extend_from_slice(&json[self.start..lead]);
        }
        out.extend_from_slice(&json[before..self.end]);
        out.extend_from_slice(&json[self.end..]);
        out
    }
}

fn result(
    lexer: &mut Lexer<'_>,
    visible: &dyn Fn(&str) -> bool,
    list: &mut Option<ToolSpans>,
) -> Result<(), ScanError> {
    if lexer.peek() != Some(b'{') {
        return lexer.skip_value(1);
    }
    let mut has_tools = false;
    lexer.members(|lexer, key| {
        if !key.is("tools")? {
            return lexer.skip_value(2);
        }
        once(&mut has_tools)?;
        if lexer.peek() != Some(b'[') {
            return lexer.skip_value(2);
        }
        let mut tools = Vec::new();
        let (start, end) = lexer.elements(|lexer, start| {
            // A tool without a name cannot be called.
            let stays = name(lexer)?.is_some_and(|name| visible(&name));
            tools.push((start, lexer.position(), stays));
            Ok(())
        })?;
        *list = Some(ToolSpans { start, end, tools });
        Ok(())
    })
}

/// The name of the tool at the cursor, which is read past.
fn name(lexer: &mut Lexer<'_>) -> Result<Option<String>, ScanError> {
    const DEPTH: u32 = 4;
    const _: () = assert!(DEPTH < DEPTH_MAX);
    if lexer.peek() != Some(b'{') {
        lexer.skip_value(DEPTH - 1)?;
        return Ok(None);
    }
    let (mut name, mut has_name) = (None, false);
    lexer.members(|lexer, key| {
        if !key.is("name")? {
            return lexer.skip_value(DEPTH);
        }
        once(&mut has_name)?;
        name = lexer.string_value(DEPTH)?.map(|text| text.decode().into_owned());
        Ok(())
    })?;
    Ok(name)
}

/// Parsers differ in which of two equal keys they take: one of them would show what another leaves out.
fn once(seen: &mut bool) -> Result<(), ScanError> {
    if std::mem::replace(seen, true) { Err(ScanError::DuplicateKey) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
