//! Reads the outcome of an answer from the bytes as they stream by, in bounded memory, at any size, SSE included.
//!
//! It watches: it must not delay, keep or change a byte, and its verdict never decides what the client gets. Hence it
//! checks the grammar only down to the members it reads; what lies deeper is only followed to its end.

mod events;
mod mask;
mod message;
mod skip;

use events::EventScan;
use message::{MessageScan, Seen};

/// What an answer's body says about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A JSON-RPC result, `isError` absent or false.
    Ok,
    /// `result.isError` is true.
    ToolError,
    /// A JSON-RPC error with this code.
    RpcError(i64),
    /// Not a JSON-RPC answer: garbage, HTML, a request, or cut short.
    NotRpc,
    /// No body (202 to a notification).
    Empty,
}

/// How the body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one JSON-RPC response.
    Json,
    /// `text/event-stream`: the last `data:` event that is a JSON-RPC response decides.
    EventStream,
    /// Anything else is not read.
    Opaque,
}

impl Format {
    /// The format that a `Content-Type` value announces; parameters and case do not matter.
    pub fn from_content_type(value: &[u8]) -> Format {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let essence = value[..end].trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/json") {
            Format::Json
        } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Format::EventStream
        } else {
            Format::Opaque
        }
    }
}

/// An incremental scan beside the stream. Feeding never fails and never needs the bytes to be kept.
#[derive(Debug)]
pub struct OutcomeScan {
    empty: bool,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Json(MessageScan),
    EventStream(EventScan),
    Opaque,
}

impl OutcomeScan {
    /// A scan for a body of this format.
    pub fn new(format: Format) -> OutcomeScan {
        let reader = match format {
            Format::Json => Reader::Json(MessageScan::default()),
            Format::EventStream => Reader::EventStream(EventScan::default()),
            Format::Opaque => Reader::Opaque,
        };
        OutcomeScan { empty: true, reader }
    }

    /// Sees the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.empty &= bytes.is_empty();
        match &mut self.reader {
            Reader::Json(message) => message.feed(bytes),
            Reader::EventStream(events) => events.feed(bytes),
            Reader::Opaque => {}
        }
    }

    /// The verdict once the body is complete.
    pub fn finish(self) -> Answer {
        if self.empty {
            return Answer::Empty;
        }
        let answer = match self.reader {
            Reader::Json(message) => match message.finish() {
                Seen::Answer(answer) => Some(answer),
                Seen::Call | Seen::Nothing => None,
            },
            Reader::EventStream(events) => events.finish(),
            Reader::Opaque => None,
        };
        answer.unwrap_or(Answer::NotRpc)
    }
}

#[cfg(test)]
mod tests;
