//! The response head of a backend, judged as strictly as a request.

use super::{BodyLength, FieldSpans, Fields, FramingError, HeadLimits, request::Version};

/// A well-formed response head, borrowed from the backend connection's buffer.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'b> {
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    pub fields: Fields<'b>,
    pub body: BodyLength,
    /// Whether the backend lets the connection live on.
    pub keep_alive: bool,
}

/// Parses `head`, exactly one head block, as the answer to a POST.
///
/// 1xx, 204 and 304 have no body whatever they declare; conflicting or repeated lengths, `Transfer-Encoding` in
/// HTTP/1.0 and malformed status lines are errors. An unasked 101 is for the caller to refuse.
pub fn parse<'b>(
    head: &'b [u8],
    spans: &'b mut FieldSpans,
    limits: &HeadLimits,
) -> Result<ResponseHead<'b>, FramingError> {
    let _ = (head, spans, limits);
    todo!()
}
