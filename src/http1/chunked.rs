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
    state: DecodeState,
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
enum DecodeState {
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
            state: DecodeState::Size,
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
            if self.state == DecodeState::Done {
                return Ok(Piece::End { consumed: at });
            }
            if let DecodeState::Failed(error) = self.state {
                return Err(error);
            }
            if self.state == DecodeState::Data && at < input.len() {
                return Ok(self.data(at, input.len()));
            }
            let Some(&byte) = input.get(at) else { return Ok(Piece::More { consumed: at }) };
            self.state = self.step(byte).unwrap_or_else(DecodeState::Failed);
            at += 1;
        }
    }

    /// The data between `start` and the end of the chunk or of what is there.
    fn data(&mut self, start: usize, available: usize) -> Piece {
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available - start);
        self.remaining -= length as u64;
        if self.remaining == 0 {
            self.state = DecodeState::DataCr;
        }
        Piece::Data { start, end: start + length }
    }

    /// The state after `byte`, which is not data.
    fn step(&mut self, byte: u8) -> Result<DecodeState, FramingError> {
        match self.state {
            DecodeState::Size => self.size(byte),
            DecodeState::SizeSpace
            | DecodeState::ExtensionStart
            | DecodeState::ExtensionName
            | DecodeState::ExtensionNameSpace
            | DecodeState::ValueStart
            | DecodeState::ValueToken
            | DecodeState::ValueQuoted
            | DecodeState::ValueEscape
            | DecodeState::ValueEnd
            | DecodeState::ValueSpace => self.extension(byte),
            DecodeState::SizeLf => expect(byte, b'\n', FramingError::Chunk).and_then(|()| self.size_read()),
            DecodeState::DataCr => expect(byte, b'\r', FramingError::Chunk).map(|()| DecodeState::DataLf),
            DecodeState::DataLf => expect(byte, b'\n', FramingError::Chunk).map(|()| {
                self.size_digits = 0;
                DecodeState::Size
            }),
            DecodeState::TrailerStart | DecodeState::TrailerName | DecodeState::TrailerValue => {
                self.trailer(byte)
            }
            DecodeState::TrailerLf => {
                expect(byte, b'\n', FramingError::Trailer).map(|()| DecodeState::TrailerStart)
            }
            DecodeState::FinalLf => expect(byte, b'\n', FramingError::Trailer).map(|()| DecodeState::Done),
            DecodeState::Data | DecodeState::Done => Err(FramingError::Chunk),
            DecodeState::Failed(error) => Err(error),
        }
    }

    fn size(&mut self, byte: u8) -> Result<DecodeState, FramingError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.size_digits == SIZE_DIGITS_MAX {
                return Err(FramingError::Chunk);
            }
            // Sixteen hex digits fit a u64 exactly, so nothing is shifted out.
            self.remaining = (self.remaining << 4) | u64::from(digit);
            self.size_digits += 1;
            return Ok(DecodeState::Size);
        }
        if self.size_digits == 0 {
            return Err(FramingError::Chunk);
        }
        match byte {
            b'\r' => Ok(DecodeState::SizeLf),
            b';' => Ok(DecodeState::ExtensionStart),
            byte if is_space(byte) => Ok(DecodeState::SizeSpace),
            _ => Err(FramingError::Chunk),
        }
    }

    fn size_read(&mut self) -> Result<DecodeState, FramingError> {
        self.declared = self.declared.checked_add(self.remaining).ok_or(FramingError::Chunk)?;
        Ok(if self.remaining == 0 { DecodeState::TrailerStart } else { DecodeState::Data })
    }

    /// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    fn extension(&mut self, byte: u8) -> Result<DecodeState, FramingError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(FramingError::Chunk);
        }
        let next = match (self.state, byte) {
            (DecodeState::SizeSpace | DecodeState::ValueSpace, b';') => DecodeState::ExtensionStart,
            (DecodeState::ExtensionName | DecodeState::ExtensionNameSpace, b';') => {
                DecodeState::ExtensionStart
            }
            (DecodeState::ValueToken | DecodeState::ValueEnd, b';') => DecodeState::ExtensionStart,
            (DecodeState::ExtensionName | DecodeState::ExtensionNameSpace, b'=') => DecodeState::ValueStart,
            (DecodeState::ExtensionName | DecodeState::ValueToken | DecodeState::ValueEnd, b'\r') => {
                DecodeState::SizeLf
            }
            (DecodeState::ValueStart, b'"') => DecodeState::ValueQuoted,
            (DecodeState::ValueQuoted, b'"') => DecodeState::ValueEnd,
            (DecodeState::ValueQuoted, b'\\') => DecodeState::ValueEscape,
            (DecodeState::ValueQuoted | DecodeState::ValueEscape, byte) if is_value_byte(byte) => {
                DecodeState::ValueQuoted
            }
            (DecodeState::ExtensionStart | DecodeState::ExtensionName, byte) if is_token_byte(byte) => {
                DecodeState::ExtensionName
            }
            (DecodeState::ValueStart | DecodeState::ValueToken, byte) if is_token_byte(byte) => {
                DecodeState::ValueToken
            }
            (
                DecodeState::SizeSpace | DecodeState::ExtensionStart | DecodeState::ExtensionNameSpace,
                byte,
            )
            | (DecodeState::ValueStart | DecodeState::ValueSpace, byte)
                if is_space(byte) =>
            {
                self.state
            }
            (DecodeState::ExtensionName, byte) if is_space(byte) => DecodeState::ExtensionNameSpace,
            (DecodeState::ValueToken | DecodeState::ValueEnd, byte) if is_space(byte) => {
                DecodeState::ValueSpace
            }
            _ => return Err(FramingError::Chunk),
        };
        Ok(next)
    }

    fn trailer(&mut self, byte: u8) -> Result<DecodeState, FramingError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(FramingError::Trailer);
        }
        match (self.state, byte) {
            (DecodeState::TrailerStart, b'\r') => Ok(DecodeState::FinalLf),
            (DecodeState::TrailerStart | DecodeState::TrailerName, byte) if is_token_byte(byte) => {
                Ok(DecodeState::TrailerName)
            }
            (DecodeState::TrailerName, b':') => Ok(DecodeState::TrailerValue),
            (DecodeState::TrailerValue, b'\r') => Ok(DecodeState::TrailerLf),
            (DecodeState::TrailerValue, byte) if is_value_byte(byte) => Ok(DecodeState::TrailerValue),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `input` handed over in pieces of `step` bytes: the body, the bytes consumed, and whether it ended.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), FramingError> {
        let mut decoder = Decoder::new();
        let (mut body, mut at, mut seen) = (Vec::new(), 0, 0);
        while seen < input.len() || at < seen {
            seen = seen.max((at + step).min(input.len()));
            match decoder.next(&input[at..seen])? {
                Piece::Data { start, end } => {
                    body.extend_from_slice(&input[at + start..at + end]);
                    at += end;
                }
                Piece::More { consumed } => at += consumed,
                Piece::End { consumed } => return Ok((body, at + consumed, true)),
            }
        }
        Ok((body, at, false))
    }

    #[track_caller]
    fn check(input: &str, expect: Result<(&str, &str), FramingError>) {
        for step in [1, 2, 3, 7, input.len().max(1)] {
            let decoded = decode(input.as_bytes(), step);
            let found = decoded.map(|(body, consumed, ended)| {
                assert!(ended, "{input:?} did not end");
                (body, &input[consumed..])
            });
            assert_eq!(found, expect.map(|(body, rest)| (body.into(), rest)), "{input:?} by {step}");
        }
    }

    #[track_caller]
    fn check_refused(input: &str, error: FramingError) {
        check(input, Err(error));
    }

    // RFC 9112, 7.1: `chunked-body = *chunk last-chunk trailer-section CRLF`
    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        check("0\r\n\r\n", Ok(("", "")));
        check("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", "")));
        check("2\r\nhe\r\n03\r\nllo\r\n000\r\n\r\nPOST /", Ok(("hello", "POST /")));
        check("A;x\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", Ok(("01234567890123456789", "")));
    }

    #[test]
    fn sizes_are_hex_digits_and_nothing_else() {
        for size in [
            "", "h", "5h", "+5", "-5", " 5", "5 ", "0x5", "5_0", "5,5", "5\0", "5.0", "\u{ff15}", "5\t",
            "5\r\r", ";a",
        ] {
            check_refused(&format!("{size}\r\nhello\r\n0\r\n\r\n"), FramingError::Chunk);
        }
        for size in ["10000000000000005", "00000000000000005", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"] {
            check_refused(&format!("{size}\r\nhello\r\n0\r\n\r\n"), FramingError::Chunk);
        }
    }

    #[test]
    fn every_line_ends_in_crlf() {
        for input in [
            "5\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5\r\nhello\r\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
        ] {
            check_refused(input, FramingError::Chunk);
        }
        check_refused("0\r\n\n", FramingError::Trailer);
        check_refused("0\r\n\rX", FramingError::Trailer);
        check_refused("0\r\nPOST / HTTP/1.1\r\n\r\n", FramingError::Trailer);
    }

    // RFC 9112, 7.1.1: `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    #[test]
    fn extensions_are_checked_bounded_and_dropped() {
        for extension in [";a", ";a=b", " ; a = \"b;\\\"c\"", ";a;b=c;d", ";a=\"\"", "\t;a"] {
            check(&format!("5{extension}\r\nhello\r\n0;z\r\n\r\n"), Ok(("hello", "")));
        }
        for extension in [
            ";",
            ";;a",
            ";a=",
            ";a=\"b",
            ";a=b c",
            ";a ",
            ";a=b ",
            ";a\nb",
            ";=b",
            ";a=\"b\"c",
            ";(a)",
            ";a=\"\0\"",
            "g",
            ";a\0",
        ] {
            check_refused(&format!("5{extension}\r\nhello\r\n0\r\n\r\n"), FramingError::Chunk);
        }
        check_refused(&format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(4096)), FramingError::Chunk);
        let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5);
        check_refused(&format!("{many}0\r\n\r\n"), FramingError::Chunk);
    }

    #[test]
    fn trailers_are_checked_bounded_and_dropped() {
        check("0\r\nX-T: a\r\nContent-Length: 3\r\n\r\nrest", Ok(("", "rest")));
        check("0\r\nX-T:\r\n\r\n", Ok(("", "")));
        for trailer in [
            "nonsense\r\n",
            "X-T : a\r\n",
            " X-T: a\r\n",
            "X-T: a\r\n b\r\n",
            ": a\r\n",
            "X-T: a\rb: c\r\n",
            "X-T: a\nb: c\r\n",
            "X-T: \0\r\n",
        ] {
            check_refused(&format!("0\r\n{trailer}\r\n"), FramingError::Trailer);
        }
        check_refused(&format!("0\r\nX-T: {}\r\n\r\n", "x".repeat(8192)), FramingError::Trailer);
    }

    #[test]
    fn the_declared_size_is_known_before_the_data() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.next(b"2\r\nab\r\n"), Ok(Piece::Data { start: 3, end: 5 }));
        assert_eq!(decoder.next(b"\r\n7FFFFFFF\r\n"), Ok(Piece::More { consumed: 12 }));
        assert_eq!(decoder.declared(), 2 + 0x7fff_ffff);
    }

    #[test]
    fn an_error_is_final() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.next(b"x"), Err(FramingError::Chunk));
        assert_eq!(decoder.next(b"0\r\n\r\n"), Err(FramingError::Chunk));
        assert_eq!(decoder.next(b""), Err(FramingError::Chunk));
    }

    #[test]
    fn a_body_cut_short_never_ends() {
        let whole = "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n";
        for length in 0..whole.len() {
            assert!(matches!(decode(&whole.as_bytes()[..length], 64), Ok((_, _, false))), "{length}");
        }
    }

    fn encode(body: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut encoded = Vec::new();
        let mut rest = body;
        for size in sizes.iter().copied().chain([usize::MAX]) {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            if !chunk.is_empty() {
                encoded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                encoded.extend_from_slice(chunk);
                encoded.extend_from_slice(b"\r\n");
            }
        }
        encoded.extend_from_slice(b"0\r\n\r\n");
        encoded
    }

    proptest! {
        #[test]
        fn decoding_gives_what_was_encoded_however_it_is_cut(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            sizes in proptest::collection::vec(1_usize..50, 0..10),
            step in 1_usize..60,
        ) {
            let encoded = encode(&body, &sizes);
            let length = encoded.len();
            prop_assert_eq!(decode(&encoded, step), Ok((body, length, true)));
        }

        #[test]
        fn any_bytes_decode_the_same_at_once_and_byte_by_byte(input in "[0-9a-f;=\"\\\\ \r\nx:]{0,40}") {
            prop_assert_eq!(decode(input.as_bytes(), 1), decode(input.as_bytes(), 64));
        }
    }
}
