//! A strict, incremental decoder of the chunked transfer coding (RFC 9112 section 7.1), used in both directions.

use super::FramingError;

/// Decodes one chunked body piece by piece. Extensions and trailers are checked, bounded and dropped.
#[derive(Debug)]
pub struct Decoder {}

/// What the next bytes of a chunked body are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// `input[start..end]` is body data; the first `end` bytes of the input are consumed.
    Data { start: usize, end: usize },
    /// All of the input is consumed and more is needed (the count of consumed bytes is given).
    More { consumed: usize },
    /// The body and its trailer section are complete; the count of consumed bytes is given, the rest is not ours.
    End { consumed: usize },
}

impl Decoder {
    /// A decoder at the start of a body.
    pub fn new() -> Decoder {
        Decoder {}
    }

    /// Looks at `input` and returns its first piece. Call again with what is left after the consumed bytes.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, FramingError> {
        let _ = input;
        todo!()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
