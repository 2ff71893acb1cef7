//! How long a message body is (RFC 9112 section 6), and every way a message can be malformed.

use super::fields::Occurs;
use super::request::Version;
use super::{Fields, KnownField};

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

/// Why a message head or body is malformed. The text is for the log; a client only learns the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum FramingError {
    #[error("line ends in LF without CR")]
    BareLf,
    #[error("CR without LF")]
    BareCr,
    #[error("NUL or control byte in the head")]
    ControlByte,
    #[error("folded field line")]
    ObsFold,
    #[error("white space before the colon or at the start of the block")]
    SpaceBeforeColon,
    #[error("invalid field name or missing colon")]
    FieldName,
    #[error("malformed start line")]
    StartLine,
    #[error("invalid method token")]
    Method,
    #[error("invalid request target")]
    Target,
    #[error("HTTP version is not 1.0 or 1.1")]
    Version,
    #[error("missing, repeated or malformed Host")]
    Host,
    #[error("target authority differs from Host")]
    Authority,
    #[error("repeated or malformed Content-Length")]
    ContentLength,
    #[error("Transfer-Encoding other than one `chunked`")]
    TransferEncoding,
    #[error("Content-Length together with Transfer-Encoding")]
    LengthConflict,
    #[error("Upgrade, CONNECT or TRACE")]
    Forbidden,
    #[error("Connection is malformed or names a field that must not be removed")]
    Nomination,
    #[error("expectation other than 100-continue")]
    Expectation,
    #[error("malformed chunk")]
    Chunk,
    #[error("malformed or too long trailer section")]
    Trailer,
    #[error("head exceeds the byte limit")]
    HeadTooLarge,
    #[error("too many fields")]
    TooManyFields,
    #[error("request target too long")]
    TargetTooLong,
    #[error("malformed status line")]
    StatusLine,
}

impl FramingError {
    /// Every variant, in declaration order.
    pub const ALL: [FramingError; 24] = [
        FramingError::BareLf,
        FramingError::BareCr,
        FramingError::ControlByte,
        FramingError::ObsFold,
        FramingError::SpaceBeforeColon,
        FramingError::FieldName,
        FramingError::StartLine,
        FramingError::Method,
        FramingError::Target,
        FramingError::Version,
        FramingError::Host,
        FramingError::Authority,
        FramingError::ContentLength,
        FramingError::TransferEncoding,
        FramingError::LengthConflict,
        FramingError::Forbidden,
        FramingError::Nomination,
        FramingError::Expectation,
        FramingError::Chunk,
        FramingError::Trailer,
        FramingError::HeadTooLarge,
        FramingError::TooManyFields,
        FramingError::TargetTooLong,
        FramingError::StatusLine,
    ];
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

/// Whether the connection lives on after this message: RFC 9112, 9.3.
pub(super) fn persists(connection: super::fields::Connection, version: Version) -> bool {
    match version {
        Version::Http11 => !connection.close,
        Version::Http10 => connection.keep_alive && !connection.close,
    }
}
