//! HTTP/1.1 message syntax (RFC 9112), judged strictly on raw bytes.
//!
//! Everything here is a function of bytes: no I/O, no clock, no policy. Parsing borrows from the caller's buffer and
//! reuses the caller's span storage, so a warm connection parses without allocating. What is not plainly valid is an
//! error: there is no lenient mode.

pub mod chunked;
pub mod fields;
pub mod framing;
pub mod request;
pub mod response;

pub use fields::{FieldSpans, Fields, Known};
pub use framing::{BodyLength, FramingError};
pub use request::RequestHead;
pub use response::ResponseHead;

/// Bounds on a message head. Both are finite by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of start line and fields, the final empty line included.
    pub bytes_max: u32,
    /// Number of field lines.
    pub fields_max: u16,
}

/// Looks for the end of a head block in `bytes`, resuming at `scanned` (what an earlier call already saw).
///
/// Returns the length of the head including its final empty line, `None` when more bytes are needed, and an error as
/// soon as a line ending is wrong: a bare LF must be refused at once, not when the deadline strikes.
pub fn head_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, FramingError> {
    let _ = (bytes, scanned);
    todo!()
}
