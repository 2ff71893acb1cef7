//! A strict, incremental decoder of the chunked transfer coding (RFC 9112 section 7.1), used in both directions.
//!
//! Knows the coding only: how large a body may be is the caller's to judge, from [`Decoder::declared`].

use super::FramingError;
use super::bytes::{is_space, is_token_byte, is_value_byte};

/// Hex digits of a chunk size, leading zeros included: more cannot be needed for a `u64`.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of all chunk extensions of one body.
const EXTENSION_BYTES_MAX: u32 = 4096;

/// Bytes of the trailer section of one body.
const TRAILER_BYTES_MAX: u32 = 8192;

/// Decodes one chunked body piece by piece. Extensions and trailers are checked, bounded and dropped.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Size of the chunk being read; while its data is read, what is left of it.
    remaining: u64,
    size_digits: u8,
    declared: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
}

/// What the next bytes of a chunked body are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// `input[start..end]` is body data; the first `end` bytes of the input are consumed.
    Data {
        /// Where the data starts.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// All of the input is consumed and more is needed (the count of consumed bytes is given).
    More {
        /// The length of the input.
        consumed: usize,
    },
    /// The body and its trailer section are complete; the count of consumed bytes is given, the rest is not ours.
    End {
        /// The bytes that belonged to the body.
        consumed: usize,
    },
}

/// What the decoder expects next. The states between `Size` and `SizeLf` follow the grammar of `chunk-ext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// White space after the size: only `;` may follow.
    SizeSpace,
    /// After `;`.
    ExtensionStart,
    ExtensionName,
    /// White space after a name: `=` or `;`.
    ExtensionNameSpace,
    /// After `=`.
    ValueStart,
    ValueToken,
    ValueQuoted,
    ValueEscape,
    /// Behind the closing quote.
    ValueEnd,
    /// White space after a value: only `;` may follow.
    ValueSpace,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The LF of the empty line that ends the body.
    FinalLf,
    Done,
    Failed(FramingError),
}

impl Decoder {
    /// A decoder at the start of a body.
    pub fn new() -> Decoder {
        Decoder {
            state: State::Size,
            remaining: 0,
            size_digits: 0,
            declared: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Bytes of data in the chunks whose size line has been read: a lower bound of the body's length that is known
    /// before the data arrives.
    pub fn declared(&self) -> u64 {
        self.declared
    }

    /// Looks at `input` and returns its first piece. Call again with what is left after the consumed bytes.
    ///
    /// After [`Piece::End`] the decoder consumes nothing more; after an error it only repeats the error.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, FramingError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => return Ok(Piece::End { consumed: at }),
                State::Failed(error) => return Err(error),
                State::Data if at < input.len() => {
                    let end =
                        at + usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len() - at);
                    self.remaining -= (end - at) as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Piece::Data { start: at, end });
                }
                _framing_byte => {}
            }
            let Some(&byte) = input.get(at) else { return Ok(Piece::More { consumed: at }) };
            self.state = self.step(byte).unwrap_or_else(State::Failed);
            at += 1;
        }
    }

    /// The state after `byte`, which is not data.
    fn step(&mut self, byte: u8) -> Result<State, FramingError> {
        match self.state {
            State::Size => self.size(byte),
            State::SizeSpace
            | State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionNameSpace
            | State::ValueStart
            | State::ValueToken
            | State::ValueQuoted
            | State::ValueEscape
            | State::ValueEnd
            | State::ValueSpace => self.extension(byte),
            State::SizeLf => expect(byte, b'\n', FramingError::Chunk).and_then(|()| self.size_read()),
            State::DataCr => expect(byte, b'\r', FramingError::Chunk).map(|()| State::DataLf),
            State::DataLf => expect(byte, b'\n', FramingError::Chunk).map(|()| {
                self.size_digits = 0;
                State::Size
            }),
            State::TrailerStart | State::TrailerName | State::TrailerValue => self.trailer(byte),
            State::TrailerLf => expect(byte, b'\n', FramingError::Trailer).map(|()| State::TrailerStart),
            State::FinalLf => expect(byte, b'\n', FramingError::Trailer).map(|()| State::Done),
            State::Data | State::Done => Err(FramingError::Chunk),
            State::Failed(error) => Err(error),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, FramingError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.size_digits == SIZE_DIGITS_MAX {
                return Err(FramingError::Chunk);
            }
            // Sixteen hex digits fit a u64 exactly, so nothing is shifted out.
            self.remaining = (self.remaining << 4) | u64::from(digit);
            self.size_digits += 1;
            return Ok(State::Size);
        }
        if self.size_digits == 0 {
            return Err(FramingError::Chunk);
        }
        match byte {
            b'\r' => Ok(State::SizeLf),
            b';' => Ok(State::ExtensionStart),
            byte if is_space(byte) => Ok(State::SizeSpace),
            _ => Err(FramingError::Chunk),
        }
    }

    fn size_read(&mut self) -> Result<State, FramingError> {
        self.declared = self.declared.checked_add(self.remaining).ok_or(FramingError::Chunk)?;
        Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
    }

    /// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    fn extension(&mut self, byte: u8) -> Result<State, FramingError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(FramingError::Chunk);
        }
        let next = match (self.state, byte) {
            (State::SizeSpace | State::ValueSpace, b';') => State::ExtensionStart,
            (State::ExtensionName | State::ExtensionNameSpace, b';') => State::ExtensionStart,
            (State::ValueToken | State::ValueEnd, b';') => State::ExtensionStart,
            (State::ExtensionName | State::ExtensionNameSpace, b'=') => State::ValueStart,
            (State::ExtensionName | State::ValueToken | State::ValueEnd, b'\r') => State::SizeLf,
            (State::ValueStart, b'"') => State::ValueQuoted,
            (State::ValueQuoted, b'"') => State::ValueEnd,
            (State::ValueQuoted, b'\\') => State::ValueEscape,
            (State::ValueQuoted | State::ValueEscape, byte) if is_value_byte(byte) => State::ValueQuoted,
            (State::ExtensionStart | State::ExtensionName, byte) if is_token_byte(byte) => {
                State::ExtensionName
            }
            (State::ValueStart | State::ValueToken, byte) if is_token_byte(byte) => State::ValueToken,
            (State::SizeSpace | State::ExtensionStart | State::ExtensionNameSpace, byte)
            | (State::ValueStart | State::ValueSpace, byte)
                if is_space(byte) =>
            {
                self.state
            }
            (State::ExtensionName, byte) if is_space(byte) => State::ExtensionNameSpace,
            (State::ValueToken | State::ValueEnd, byte) if is_space(byte) => State::ValueSpace,
            _ => return Err(FramingError::Chunk),
        };
        Ok(next)
    }

    fn trailer(&mut self, byte: u8) -> Result<State, FramingError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(FramingError::Trailer);
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::TrailerStart | State::TrailerName, byte) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_value_byte(byte) => Ok(State::TrailerValue),
            _ => Err(FramingError::Trailer),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

fn expect(byte: u8, wanted: u8, error: FramingError) -> Result<(), FramingError> {
    if byte == wanted { Ok(()) } else { Err(error) }
}
