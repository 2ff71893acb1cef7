//! Reads the outcome of a response from the bytes as they stream by, in bounded memory, at any size, SSE included.
//!
//! It watches: it must not delay, keep or change a byte, and its verdict never decides what the client gets. Hence it
//! checks the grammar only down to the members it reads; what lies deeper is only followed to its end.

mod byte_mask;
mod events;
mod id;
mod kind;
mod message;
mod skip;

use events::EventScan;
use id::Expected;
pub use kind::ResponseKind;
use message::{MessageKind, MessageScan};

use crate::wire::sse::Boundary;

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

/// How much is known of a JSON response that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The beginning of the response to the call.
    Response,
    /// The beginning of something else: no JSON object, or a response without an id.
    Other,
    /// Either is still possible.
    Unknown,
}

/// An incremental scan beside the stream. Feeding never fails and never needs the bytes to be kept.
#[derive(Debug)]
pub struct ResponseScan<'i> {
    empty: bool,
    reader: FormatScan<'i>,
}

#[derive(Debug)]
enum FormatScan<'i> {
    Json(MessageScan<'i>),
    EventStream(EventScan<'i>),
    Opaque,
}

impl<'i> ResponseScan<'i> {
    /// A scan for a body of this format, in which a response with any id counts.
    pub fn new(format: Format) -> ResponseScan<'i> {
        ResponseScan::of_call(format, None)
    }

    /// The same, but in a stream only a response with this id, raw JSON, counts. JSON needs an id that is not null.
    pub fn of_call(format: Format, id: Option<&'i [u8]>) -> ResponseScan<'i> {
        let reader = match (format, id) {
            (Format::Json, None) => FormatScan::Json(MessageScan::new(Expected::any())),
            (Format::Json, Some(_)) => FormatScan::Json(MessageScan::new(Expected::present())),
            (Format::EventStream, None) => FormatScan::EventStream(EventScan::new(Expected::any())),
            (Format::EventStream, Some(id)) => FormatScan::EventStream(EventScan::new(Expected::same(id))),
            (Format::Opaque, _) => FormatScan::Opaque,
        };
        ResponseScan { empty: true, reader }
    }

    /// Sees the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.empty &= bytes.is_empty();
        match &mut self.reader {
            FormatScan::Json(message) => message.feed(bytes),
            FormatScan::EventStream(events) => events.feed(bytes),
            FormatScan::Opaque => {}
        }
    }

    /// The verdict, given that the body is complete.
    pub fn kind(&self) -> ResponseKind {
        if self.empty {
            return ResponseKind::Empty;
        }
        let answer = match &self.reader {
            FormatScan::Json(message) => match message.seen() {
                MessageKind::Response(answer) => Some(answer),
                MessageKind::Call | MessageKind::Other => None,
            },
            FormatScan::EventStream(events) => events.kind(),
            FormatScan::Opaque => None,
        };
        answer.unwrap_or(ResponseKind::NotRpc)
    }

    /// Whether an event with the response has ended, and where the stream stands; `None` for other formats.
    pub fn events(&self) -> Option<(bool, Boundary)> {
        match &self.reader {
            FormatScan::EventStream(events) => Some((events.kind().is_some(), events.boundary())),
            FormatScan::Json(_) | FormatScan::Opaque => None,
        }
    }

    /// What the beginning of a JSON response is.
    pub fn beginning(&self) -> Beginning {
        match &self.reader {
            FormatScan::Json(message) if message.is_begun() => Beginning::Response,
            FormatScan::Json(message) if message.is_other() => Beginning::Other,
            FormatScan::Json(_) | FormatScan::EventStream(_) | FormatScan::Opaque => Beginning::Unknown,
        }
    }
}

#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod tests;
