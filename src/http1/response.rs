//! The response head of a backend, judged as strictly as a request.

use super::fields::line;
use super::framing::{declared_length, persists};
use super::{BodyLength, FieldSpans, Fields, FramingError, HeadLimits, request::Version};

/// A well-formed response head, borrowed from the backend connection's buffer.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'b> {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// The header fields.
    pub fields: Fields<'b>,
    /// How long the body is.
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
    if head.len() > limits.bytes_max as usize {
        return Err(FramingError::HeadTooLarge);
    }
    let (end, fields_start) = line(head, 0)?;
    let (version, status) = status_line(&head[..end])?;
    spans.read(head, fields_start, limits)?;
    let connection = spans.connection();
    let fields = Fields::new(head, spans);
    let declared = declared_length(&fields, version)?;
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    let body = match declared {
        _ if bodiless => BodyLength::None,
        BodyLength::None | BodyLength::UntilClose => BodyLength::UntilClose,
        BodyLength::Bytes(_) | BodyLength::Chunked => declared,
    };
    // A bodiless answer that declares a body leaves unclear where the next answer starts.
    let contradicts = bodiless && !matches!(declared, BodyLength::None | BodyLength::Bytes(0));
    if contradicts && status < 200 {
        return Err(FramingError::LengthConflict);
    }
    let keep_alive = persists(connection, version) && body != BodyLength::UntilClose && !contradicts;
    Ok(ResponseHead { version, status, fields, body, keep_alive })
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`.
fn status_line(line: &[u8]) -> Result<(Version, u16), FramingError> {
    let (version, rest) = line.split_at_checked(9).ok_or(FramingError::StatusLine)?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(FramingError::StatusLine),
    };
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', units @ b'0'..=b'9', b' ', reason @ ..] = rest else {
        return Err(FramingError::StatusLine);
    };
    if !super::bytes::is_value(reason) {
        return Err(FramingError::StatusLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok((version, digit(hundreds) * 100 + digit(tens) * 10 + digit(units)))
}
