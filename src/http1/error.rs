//! Every way a message can be malformed.

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
