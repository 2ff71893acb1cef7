//! The request head: start line, target form and body length, all judged before policy sees it.

use super::{BodyLength, FieldSpans, Fields, FramingError, HeadLimits};

/// The protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// A well-formed request head, borrowed from the connection's buffer.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'b> {
    pub method: &'b [u8],
    /// The target as sent, without the `http://authority` of an absolute-form target.
    pub path: &'b [u8],
    /// Bytes after the first `?`, if any.
    pub query: Option<&'b [u8]>,
    pub version: Version,
    /// The value of `Host`, present and single.
    pub host: &'b [u8],
    pub fields: Fields<'b>,
    pub body: BodyLength,
    /// Whether the client lets the connection live on (version and `Connection`).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Parses `head`, which is exactly one head block as found by [`super::head_end`].
///
/// Everything in section 3 of the contract is judged here; a head that comes back can be trusted as to its framing.
pub fn parse<'b>(
    head: &'b [u8],
    spans: &'b mut FieldSpans,
    limits: &HeadLimits,
) -> Result<RequestHead<'b>, FramingError> {
    let _ = (head, spans, limits);
    todo!()
}
