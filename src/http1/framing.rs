//! How long a message body is (RFC 9112 section 6), and whether the connection persists.

use super::error::FramingError;
use super::fields::{ConnectionOptions, Fields, Occurs};
use super::known::KnownField;
use super::version::Version;

/// The length of a message body as its head declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No length is declared and no body follows.
    None,
    /// `Content-Length`.
    Bytes(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Responses only: the body ends when the connection does.
    UntilClose,
}

/// The body length that the fields declare, by the rules both directions share.
///
/// RFC 9112, 6.3 lets a recipient repair some of these; a message that two parsers may read differently is refused.
pub(super) fn declared_length(fields: &Fields<'_>, version: Version) -> Result<BodyLength, FramingError> {
    let coding = fields.occurs(KnownField::TransferEncoding);
    let length = fields.occurs(KnownField::ContentLength);
    match (coding, length) {
        (Occurs::Never, Occurs::Never) => Ok(BodyLength::None),
        (Occurs::Never, Occurs::Once(digits)) => content_length(digits).map(BodyLength::Bytes),
        (Occurs::Never, Occurs::Repeated) => Err(FramingError::ContentLength),
        (Occurs::Once(coding), Occurs::Never) => {
            let acceptable = version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked");
            if acceptable { Ok(BodyLength::Chunked) } else { Err(FramingError::TransferEncoding) }
        }
        (Occurs::Repeated, Occurs::Never) => Err(FramingError::TransferEncoding),
        (Occurs::Once(_) | Occurs::Repeated, Occurs::Once(_) | Occurs::Repeated) => {
            Err(FramingError::LengthConflict)
        }
    }
}

/// `1*DIGIT` that fits: leading zeros are decimal zeros, a value beyond `u64` is refused and never wraps.
fn content_length(digits: &[u8]) -> Result<u64, FramingError> {
    if digits.is_empty() {
        return Err(FramingError::ContentLength);
    }
    digits
        .iter()
        .try_fold(0_u64, |length, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        })
        .ok_or(FramingError::ContentLength)
}

/// Whether the connection stays open after this message: RFC 9112, 9.3.
pub(super) fn persists(connection: ConnectionOptions, version: Version) -> bool {
    match version {
        Version::Http11 => !connection.close,
        Version::Http10 => connection.keep_alive && !connection.close,
    }
}
