//! The body of a backend's response as the client receives it: its framing, and why it broke off.

use crate::http1::Version;
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::downstream::stream::{Downstream, Interrupt, Written};
use crate::proxy::io::{Parts, TOGETHER_BYTES_MAX};
use crate::telemetry::Outcome;

/// The line that begins a chunk: two digits for each byte of the greatest size, and the line's end.
const SIZE_LINE_BYTES: usize = 2 * size_of::<usize>() + 2;

/// Why a response was not relayed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayError {
    Backend(ExchangeError),
    /// The wait for the backend was interrupted.
    Interrupted(Interrupt),
    /// The client did not take what was sent to it.
    Unwritten(Interrupt),
}

impl From<ExchangeError> for RelayError {
    fn from(error: ExchangeError) -> RelayError {
        RelayError::Backend(error)
    }
}

impl From<Interrupt> for RelayError {
    fn from(interrupt: Interrupt) -> RelayError {
        RelayError::Interrupted(interrupt)
    }
}

impl RelayError {
    /// How a request ends whose response broke off like this.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            RelayError::Backend(_) => Outcome::Upstream,
            RelayError::Interrupted(interrupt) | RelayError::Unwritten(interrupt) => interrupt.outcome(),
        }
    }
}

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DownstreamFraming {
    Length(u64),
    Chunked,
    /// HTTP/1.0 and no known length: by the end of the connection.
    UntilClose,
}

impl DownstreamFraming {
    /// The framing for a client of this version and a body of this length, if it is known.
    pub(crate) fn of(length: Option<u64>, version: Version) -> DownstreamFraming {
        match (length, version) {
            (Some(length), _) => DownstreamFraming::Length(length),
            (None, Version::Http11) => DownstreamFraming::Chunked,
            (None, Version::Http10) => DownstreamFraming::UntilClose,
        }
    }

    /// Writes the head, if it is still due, and a piece of the body, in one call.
    pub(crate) async fn write(self, client: &mut Downstream, piece: Piece<'_>) -> Result<Written, Interrupt> {
        let Piece { head, data, end } = piece;
        match self {
            DownstreamFraming::Length(_) | DownstreamFraming::UntilClose => {
                client.write(Parts::new([head, data])).await
            }
            DownstreamFraming::Chunked => {
                let end: &[u8] = match (data.is_empty(), end) {
                    (true, End::Open) => b"",
                    (true, End::Last) => b"0\r\n\r\n",
                    (false, End::Open) => b"\r\n",
                    (false, End::Last) => b"\r\n0\r\n\r\n",
                };
                let mut room = [0; SIZE_LINE_BYTES];
                let size = if data.is_empty() { &[] } else { size_line(data.len(), &mut room) };
                if head.len() + data.len() <= TOGETHER_BYTES_MAX {
                    // One slice is written more cheaply than four, and an event is small.
                    let together = [head, size, data, end].concat();
                    return client.write(Parts::new([together.as_slice()])).await;
                }
                client.write(Parts::new([head, size, data, end])).await
            }
        }
    }
}

/// The line that begins a chunk of this many bytes: the number in hexadecimal digits.
fn size_line(mut length: usize, room: &mut [u8; SIZE_LINE_BYTES]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut start = SIZE_LINE_BYTES - 2;
    room[start..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        room[start] = DIGITS[length % 16];
        length /= 16;
        if length == 0 {
            return &room[start..];
        }
    }
}

/// A piece of a response.
pub(crate) struct Piece<'p> {
    pub(crate) head: &'p [u8],
    pub(crate) data: &'p [u8],
    pub(crate) end: End,
}

/// Whether more of a body follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Last,
}

impl End {
    pub(crate) fn of(is_complete: bool) -> End {
        if is_complete { End::Last } else { End::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_chunk_is_written_in_hexadecimal_digits() {
        for length in [0, 1, 15, 16, 255, 4096, 0xabcdef, usize::MAX] {
            let expected = format!("{length:x}\r\n");
            assert_eq!(size_line(length, &mut [0; SIZE_LINE_BYTES]), expected.as_bytes());
        }
    }
}
