//! A `text/event-stream` in pieces: the last event that is a JSON-RPC response decides.

use super::id::Expected;
use super::kind::ResponseKind;
use super::message::{MessageKind, MessageScan};
use crate::wire::sse::{Boundary, Parser, Part};

/// The scan of one event stream.
#[derive(Debug, Default)]
pub(super) struct EventScan<'i> {
    parser: Parser,
    message: MessageScan<'i>,
    last: Option<ResponseKind>,
}

impl<'i> EventScan<'i> {
    pub(super) fn new(expected: Expected<'i>) -> EventScan<'i> {
        EventScan { message: MessageScan::new(expected), ..EventScan::default() }
    }

    /// Sees the next bytes of the stream.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(part) = self.parser.next(&mut bytes) {
            match part {
                Part::Data(data) => self.message.feed(data),
                Part::End { is_message } => {
                    if let MessageKind::Response(answer) = self.message.seen()
                        && is_message
                    {
                        self.last = Some(answer);
                    }
                    self.message = self.message.again();
                }
            }
        }
    }

    /// The verdict of the stream, if it had one.
    pub(super) fn kind(&self) -> Option<ResponseKind> {
        self.last
    }

    /// Where the stream stands.
    pub(super) fn boundary(&self) -> Boundary {
        self.parser.boundary()
    }
}
