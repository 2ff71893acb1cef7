//! HTTP/1.1 message syntax (RFC 9112), judged strictly on raw bytes.
//!
//! Everything here is a function of bytes: no I/O, no clock, no policy. Parsing borrows from the caller's buffer and
//! reuses the caller's span storage, so a warm connection parses without allocating. What is not plainly valid is an
//! error: there is no lenient mode.

mod authority;
mod bytes;
pub mod chunked;
pub mod fields;
pub mod forward;
pub mod framing;
mod known;
pub mod request;
pub mod response;
mod target;

pub use authority::Authority;
pub use fields::{Field, FieldSpans, Fields, Occurs};
pub use framing::{BodyLength, FramingError};
pub use known::Known;
pub use request::{RequestHead, Version};
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
/// soon as no completion could make the head acceptable: a bare LF, a control byte or too many bytes must be refused
/// at once, not when the deadline strikes. What a returned head holds is for [`request::parse`] or [`response::parse`]
/// to judge. Empty lines before the start line belong to the head (RFC 9112, 2.2) and count.
pub fn head_end(bytes: &[u8], scanned: usize, limits: &HeadLimits) -> Result<Option<usize>, FramingError> {
    let start = leading_empty_lines(bytes);
    let from = scanned.min(bytes.len()).max(start);
    for lf in memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
        if lf == start || bytes[lf - 1] != b'\r' {
            return Err(FramingError::BareLf);
        }
        if bytes[start..lf - 1].last() == Some(&b'\n') {
            let end = lf + 1;
            return if end > limits.bytes_max as usize {
                Err(too_large(bytes, limits))
            } else {
                Ok(Some(end))
            };
        }
    }
    // A byte before `scanned` may have been a CR whose LF is only now due.
    judge_partial(&bytes[from.saturating_sub(1).max(start)..])?;
    if bytes.len() >= limits.bytes_max as usize {
        return Err(too_large(bytes, limits));
    }
    Ok(None)
}

/// The length of the empty lines (CRLF) before a request line.
fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2
}

/// Refuses what no further byte can mend.
fn judge_partial(bytes: &[u8]) -> Result<(), FramingError> {
    let mut rest = bytes.iter().peekable();
    while let Some(&byte) = rest.next() {
        match byte {
            b'\r' if rest.peek().is_some_and(|&&next| next != b'\n') => return Err(FramingError::BareCr),
            b'\r' | b'\n' => {}
            byte if bytes::is_value_byte(byte) => {}
            _ => return Err(FramingError::ControlByte),
        }
    }
    Ok(())
}

/// Names the part that is too long: a start line that takes half of the allowance has an oversized target.
fn too_large(bytes: &[u8], limits: &HeadLimits) -> FramingError {
    let rest = &bytes[leading_empty_lines(bytes)..];
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let oversized = line.len() > limits.bytes_max as usize / 2 && line.contains(&b' ');
    if oversized { FramingError::TargetTooLong } else { FramingError::HeadTooLarge }
}
