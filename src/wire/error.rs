//! Why a request body is refused, and how deep it may nest.

/// Deepest nesting accepted: the message itself is at depth 1.
pub const DEPTH_MAX: u32 = 64;

/// Why a body is refused. [`ScanError::code`] is the JSON-RPC code; the text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Nothing, or white space only.
    #[error("body is empty")]
    Empty,
    /// RFC 8259, 8.1: JSON text MUST be UTF-8.
    #[error("body is not valid UTF-8")]
    Utf8,
    /// Not what RFC 8259 describes.
    #[error("body is not one JSON value")]
    Syntax,
    /// Valid JSON perhaps, but nested deeper than [`DEPTH_MAX`].
    #[error("nesting is deeper than {DEPTH_MAX}")]
    Depth,
    /// Parsers differ in which of two equal keys they take.
    #[error("duplicate key on a path the guard reads")]
    DuplicateKey,
    /// A decoder that ignores case, or what cannot be seen, takes the key for the one that is read.
    #[error("key that some decoder takes for one the guard reads")]
    FoldedKey,
    /// A method other than `notifications/…` and no id: some backends run it, though it can have no response.
    #[error("request method without an id")]
    MissingId,
    /// An array at the top.
    #[error("batches are not part of the protocol")]
    Batch,
    /// JSON, but not a request, notification or response of JSON-RPC 2.0.
    #[error("body is not a JSON-RPC 2.0 message")]
    Envelope,
}

impl ScanError {
    /// -32700 for what is not JSON, -32600 for JSON that is not a request.
    pub fn code(self) -> i32 {
        match self {
            ScanError::Empty | ScanError::Utf8 | ScanError::Syntax => -32700,
            ScanError::Depth
            | ScanError::DuplicateKey
            | ScanError::FoldedKey
            | ScanError::MissingId
            | ScanError::Batch
            | ScanError::Envelope => -32600,
        }
    }
}
