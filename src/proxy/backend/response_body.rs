//! The body of a backend's response: read as it arrives and decoded in place, byte-exact, in bounded memory.
//!
//! No wait ends by itself: the caller bounds it, and a wait that is dropped loses no byte. Must not know the client.

use tokio::io::AsyncRead;

use super::exchange::{ExchangeError, Received, RequestSent};
use super::pool::Connection;
use super::response_head::ResponseHead;
use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, FramingError};
use crate::proxy::io::{READ_BYTES, read_into, read_more};
use crate::wire::response_scan::Format;

/// A response of declared length up to this is sent when it is whole: one write, and if the backend closes in the middle
/// of it the client still gets a proper error.
const WHOLE_BYTES_MAX: u64 = READ_BYTES as u64;
/// A JSON response of unknown length is checked up to this before its first byte is sent.
const CHECKED_BYTES_MAX: usize = READ_BYTES;
/// The buffer for bodies that do not end soon.
const BULK_BYTES: usize = 64 * 1024;

/// The body as the backend sends it. `data` is what has arrived, decoded, and was not yet passed on.
pub(crate) struct ResponseBody<C = Box<Connection>> {
    connection: C,
    pub(crate) data: Vec<u8>,
    framing: Framing,
    state: State,
    reusable: bool,
    bulk: bool,
    /// Whether the client learns the length ahead, where the backend declares one.
    announced: bool,
}

enum Framing {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    /// It ended where no body may end: what has arrived is sent, without an end.
    Torn,
}

impl ResponseBody {
    /// The body of a response whose head has arrived, and that head.
    pub(crate) fn of(received: Received) -> Result<(ResponseBody, ResponseHead), ExchangeError> {
        let Received { connection, head, rest, request } = received;
        let reusable = head.keep_alive && request == RequestSent::Whole;
        Ok((ResponseBody::new(connection, head.body, rest, reusable)?, head))
    }
}

impl<C: AsyncRead + Unpin> ResponseBody<C> {
    /// A body of this length; `rest`, which arrived with the head, is decoded at once.
    pub(crate) fn new(
        connection: C,
        length: BodyLength,
        rest: Vec<u8>,
        reusable: bool,
    ) -> Result<ResponseBody<C>, ExchangeError> {
        let framing = match length {
            BodyLength::None => Framing::Length(0),
            BodyLength::Bytes(length) => Framing::Length(length),
            BodyLength::Chunked => Framing::Chunked(Decoder::new()),
            BodyLength::UntilClose => Framing::UntilClose,
        };
        let bulk = matches!(framing, Framing::Length(length) if length > 2 * WHOLE_BYTES_MAX);
        let state = State::Open;
        let mut body =
            ResponseBody { connection, data: rest, framing, state, reusable, bulk, announced: true };
        body.decode(0).map_err(ExchangeError::InvalidResponse)?;
        Ok(body)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Whether the whole body is known, and is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_complete() && self.data.is_empty()
    }

    pub(crate) fn is_torn(&self) -> bool {
        self.state == State::Torn
    }

    /// The body must not look complete although it has ended.
    pub(crate) fn mark_torn(&mut self) {
        self.state = State::Torn;
    }

    /// The connection, if it may carry another exchange.
    pub(crate) fn into_reusable(self) -> Option<C> {
        (self.reusable && self.is_complete()).then_some(self.connection)
    }

    /// Adds what arrives next to `data`.
    pub(crate) async fn read(&mut self) -> Result<(), ExchangeError> {
        let from = self.data.len();
        let read = if self.bulk {
            let limit = match self.framing {
                // A read that fills the buffer leaves open whether more has arrived, and the next user of the connection would have to
                // try: so the buffer is one byte too large for the rest of the body.
                Framing::Length(left) => usize::try_from(left).unwrap_or(BULK_BYTES).min(BULK_BYTES - 1) + 1,
                Framing::Chunked(_) | Framing::UntilClose => BULK_BYTES,
            };
            if from == 0 && self.data.capacity() < limit {
                // Growing would copy what has been passed on.
                self.data = Vec::with_capacity(limit);
            }
            self.data.reserve(limit);
            read_into(&mut self.connection, &mut self.data, limit).await
        } else {
            read_more(&mut self.connection, &mut self.data).await
        };
        match read {
            Ok(0) if matches!(self.framing, Framing::UntilClose) => {
                self.state = State::Complete;
                Ok(())
            }
            Ok(0) | Err(_) => Err(ExchangeError::ConnectionClosed),
            Ok(read) => {
                self.bulk |= read >= READ_BYTES;
                self.decode(from).map_err(ExchangeError::InvalidResponse)
            }
        }
    }

    /// Turns `data[from..]`, fresh from the wire, into body bytes in place.
    fn decode(&mut self, from: usize) -> Result<(), FramingError> {
        let arrived = self.data.len() - from;
        match &mut self.framing {
            Framing::UntilClose => {}
            Framing::Length(left) => {
                let ours = usize::try_from(*left).unwrap_or(usize::MAX).min(arrived);
                *left -= ours as u64;
                if *left == 0 {
                    self.state = State::Complete;
                }
                // What follows the body belongs to no request: the next call must not read it as its response.
                self.reusable &= ours == arrived;
                self.data.truncate(from + ours);
            }
            Framing::Chunked(decoder) => {
                let (mut read, mut end) = (from, from);
                loop {
                    match decoder.next(&self.data[read..])? {
                        Piece::Data { start, end: until } => {
                            self.data.copy_within(read + start..read + until, end);
                            end += until - start;
                            read += until;
                        }
                        Piece::More { .. } => break,
                        Piece::End { consumed } => {
                            self.state = State::Complete;
                            self.reusable &= read + consumed == self.data.len();
                            break;
                        }
                    }
                }
                self.data.truncate(end);
            }
        }
        Ok(())
    }

    /// The length of what is not yet passed on, where it is known and may be announced to the client.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.framing {
            _ if self.is_complete() => Some(self.data.len() as u64),
            Framing::Length(left) if self.announced => Some(left + self.data.len() as u64),
            Framing::Length(_) | Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// Allows an event to be appended: a length that is announced cannot be taken back.
    pub(crate) fn leave_length_open(&mut self) {
        self.announced = false;
    }

    /// Waits for the whole body; fails if it is longer than `bytes_max`.
    pub(crate) async fn buffer(&mut self, bytes_max: usize) -> Result<(), ExchangeError> {
        self.buffer_until(bytes_max, |_| false).await
    }

    /// The same, but ends as soon as what has arrived is `enough`.
    pub(crate) async fn buffer_until(
        &mut self,
        bytes_max: usize,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ExchangeError> {
        while !self.is_complete() && !enough(&self.data) {
            if self.data.len() > bytes_max {
                return Err(ExchangeError::TooLong);
            }
            self.read().await?;
        }
        Ok(())
    }

    /// Waits until sending makes sense: a stream is sent at once, a short response when it is whole, a long one when its
    /// first bytes have arrived and are `checked`, which receives all that has arrived.
    pub(crate) async fn fill_if_small(
        &mut self,
        format: Format,
        mut checked: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ExchangeError> {
        if format == Format::EventStream {
            return Ok(());
        }
        let is_short = |body: &ResponseBody<C>| match body.framing {
            Framing::Length(left) => left + body.data.len() as u64 <= WHOLE_BYTES_MAX,
            Framing::Chunked(_) | Framing::UntilClose => false,
        };
        while !self.is_complete()
            && (self.data.is_empty()
                || is_short(self)
                || (self.data.len() < CHECKED_BYTES_MAX && !checked(&self.data)))
        {
            self.read().await?;
        }
        Ok(())
    }

    /// Ends the body: with what has been buffered, or with `instead`.
    pub(crate) fn end_with(&mut self, instead: Option<Vec<u8>>) {
        if let Some(data) = instead {
            self.data = data;
        }
        // A connection on which more may arrive is not used again.
        self.reusable &= self.is_complete();
        self.state = State::Complete;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    const LENGTH: usize = 100_000;

    /// How many bytes are read of a body of [`LENGTH`] when so many arrive, a part of them with the head, and whether its
    /// connection may be used again.
    async fn read(arrives: usize) -> (usize, bool) {
        let (near, mut far) = duplex(2 * LENGTH);
        let (rest, behind) = (vec![b'x'; 16_000], vec![b'x'; arrives - 16_000]);
        far.write_all(&behind).await.unwrap();
        let mut body = ResponseBody::new(near, BodyLength::Bytes(LENGTH as u64), rest, true).unwrap();
        body.buffer(usize::MAX).await.unwrap();
        (body.data.len(), body.into_reusable().is_some())
    }

    #[tokio::test]
    async fn a_byte_behind_a_long_response_is_no_part_of_it_and_ends_its_connection() {
        assert_eq!(read(LENGTH).await, (LENGTH, true));
        assert_eq!(read(LENGTH + 1).await, (LENGTH, false));
        assert_eq!(read(LENGTH + 30_000).await, (LENGTH, false));
    }
}
