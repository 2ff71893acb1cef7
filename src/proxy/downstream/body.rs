//! The request's body: buffered whole before dispatch, or read and discarded when the request is denied.
//!
//! Memory grows with the bytes that arrive, never with what a head declares, and all bodies share a budget. The body of a
//! call that is denied for its size, or for want of budget, is read further within bounds: the denial carries the call's id.

use std::borrow::Cow;

use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, RequestHead};
use crate::policy::Denial;
use crate::policy::limits::excess_max;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::fairness::body_budget::Reservation;
use crate::proxy::fairness::per_client::Exceeded;
use crate::proxy::io::{Parts, READ_BYTES};
use crate::wire::reply_id::{IdReader, PartialRequest};

/// A body may have memory for so many times the bytes that have arrived, where its length is declared and the budget has
/// room: fewer copies and larger reads. A client that declares much and sends little still costs little.
const AHEAD_DECLARED: usize = 8;
/// The same, where the length is not known.
const AHEAD_UNKNOWN: usize = 2;

/// Bytes of a denied request's body that are read so that its connection can serve another request.
const DISCARD_BYTES_MAX: u64 = 256 * 1024;

/// A whole body.
pub(crate) struct Body<'b> {
    pub(crate) bytes: Cow<'b, [u8]>,
    /// Its part of the budget. Bytes that arrived with the head lie in the connection's buffer and need none.
    _reservation: Reservation<'b>,
    /// How much of what had arrived with the head belonged to the body.
    pub(crate) consumed: usize,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The connection must close: where the next request begins is not known.
    Rejected(Denial),
    /// It was read to its end without being kept.
    Discarded {
        denial: Denial,
        addressee: PartialRequest,
        /// How much of what had arrived with the head belonged to the body.
        consumed: usize,
    },
    ClientGone,
}

impl From<Exceeded> for BodyError {
    fn from(exceeded: Exceeded) -> BodyError {
        BodyError::Rejected(match exceeded {
            Exceeded::Own => Denial::ClientShare,
            Exceeded::All => Denial::Overloaded,
        })
    }
}

/// What happens to a body that is too large, or finds no budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It is read for the id of the call.
    ReadOn,
    Refuse,
}

impl From<Interrupt> for BodyError {
    fn from(interrupt: Interrupt) -> BodyError {
        match interrupt {
            Interrupt::Deadline => BodyError::Rejected(Denial::BodyTimeout),
            Interrupt::Draining => BodyError::Rejected(Denial::Draining),
            Interrupt::ClientGone => BodyError::ClientGone,
        }
    }
}

/// The bounds of one body.
pub(crate) struct BodyBounds<'b> {
    pub(crate) bytes_max: u64,
    pub(crate) reservation: Reservation<'b>,
    pub(crate) excess: Excess,
}

/// Reads the body until the deadline. `arrived` are the bytes behind the head.
pub(crate) async fn read<'b>(
    downstream: &mut Downstream,
    head: &RequestHead<'_>,
    arrived: &'b [u8],
    bounds: BodyBounds<'b>,
) -> Result<Body<'b>, BodyError> {
    let BodyBounds { bytes_max, reservation, excess } = bounds;
    let length = match head.body {
        BodyLength::None | BodyLength::UntilClose => Some(0),
        BodyLength::Bytes(length) => Some(length),
        BodyLength::Chunked => None,
    };
    let here = length.filter(|length| *length <= bytes_max).and_then(|length| usize::try_from(length).ok());
    if let Some(bytes) = here.and_then(|length| arrived.get(..length)) {
        return Ok(Body { bytes: Cow::Borrowed(bytes), _reservation: reservation, consumed: bytes.len() });
    }
    let ahead = if length.is_some() { AHEAD_DECLARED } else { AHEAD_UNKNOWN };
    let mut sink =
        Sink::Keep { kept: BodyBuffer { bytes: Vec::new(), reservation, ahead }, bytes_max, excess };
    sink.expect(length.unwrap_or(0))?;
    downstream.guard().reading();
    send_continue(downstream, head, arrived).await?;
    let read = match length {
        Some(length) => read_length(downstream, arrived, length, &mut sink).await,
        None => read_chunked(downstream, arrived, &mut sink).await,
    };
    let consumed = match (read, &sink) {
        (Ok(consumed), _) => consumed,
        // It was denied before its deadline.
        (Err(BodyError::Rejected(Denial::BodyTimeout)), Sink::Address { denial, .. }) => {
            return Err(BodyError::Rejected(*denial));
        }
        (Err(none), _) => return Err(none),
    };
    downstream.guard().served();
    match sink {
        Sink::Keep { kept, .. } => {
            Ok(Body { bytes: Cow::Owned(kept.bytes), _reservation: kept.reservation, consumed })
        }
        Sink::Address { reader, denial, .. } => {
            Err(BodyError::Discarded { denial, addressee: reader.finish(), consumed })
        }
        Sink::Discard => Err(BodyError::ClientGone),
    }
}

/// Sends `100 Continue` if the client expects it and has sent no part of the body (RFC 9110, 10.1.1).
async fn send_continue(
    downstream: &mut Downstream,
    head: &RequestHead<'_>,
    arrived: &[u8],
) -> Result<(), BodyError> {
    if head.expects_continue && arrived.is_empty() {
        downstream.write(Parts::new([b"HTTP/1.1 100 Continue\r\n\r\n".as_slice()])).await?;
    }
    Ok(())
}

/// Bytes that are kept, and their part of the budget.
struct BodyBuffer<'r> {
    bytes: Vec<u8>,
    reservation: Reservation<'r>,
    /// How many times what has arrived may be allocated while the budget has room.
    ahead: usize,
}

impl BodyBuffer<'_> {
    /// Allocates memory for more bytes, at most `bytes_max` in all.
    async fn reserve(
        &mut self,
        downstream: &mut Downstream,
        bytes: usize,
        bytes_max: usize,
    ) -> Result<(), BodyError> {
        let needed = self.bytes.len() + bytes;
        if self.bytes.capacity() >= needed {
            return Ok(());
        }
        let ahead = self.step(needed, bytes_max);
        if self.reservation.reserve_ahead(ahead - self.bytes.capacity()) {
            self.bytes.reserve_exact(ahead - self.bytes.len());
            return Ok(());
        }
        // Boxed: the timer is no part of a call whose body finds budget.
        Box::pin(self.wait(downstream, needed, bytes_max)).await
    }

    /// How much is allocated when so much is needed: the whole body, or such a part of it that the whole is the next step or one after it.
    /// So each step copies as little as the bound of what is allocated ahead allows.
    fn step(&self, needed: usize, bytes_max: usize) -> usize {
        let most = needed.saturating_mul(self.ahead).max(READ_BYTES);
        let mut step = bytes_max;
        while step > most {
            step = step.div_ceil(self.ahead);
        }
        step.max(READ_BYTES.min(bytes_max)).max(needed)
    }

    /// Waits for budget rather than to deny at once: the id of a body that was not read is not known.
    async fn wait(
        &mut self,
        downstream: &mut Downstream,
        needed: usize,
        bytes_max: usize,
    ) -> Result<(), BodyError> {
        let (capacity, length) = (self.bytes.capacity(), self.bytes.len());
        // Doubling: small steps leave more to others, and few of them copy little.
        let wanted = (length + capacity.max(needed - length).max(READ_BYTES)).min(bytes_max).max(needed);
        let more = wanted - capacity;
        let timeout = self.reservation.timeout();
        let reserved = tokio::time::timeout(timeout, self.reservation.reserve(more));
        match downstream.race(reserved).await? {
            Ok(grown) => grown?,
            Err(_elapsed) => return Err(self.reservation.reason(more).into()),
        }
        self.bytes.reserve_exact(wanted - length);
        Ok(())
    }
}

/// Where the bytes of a body go.
enum Sink<'r> {
    Keep {
        kept: BodyBuffer<'r>,
        bytes_max: u64,
        excess: Excess,
    },
    /// To the search for the id: the call is denied.
    Address {
        reader: Box<IdReader>,
        denial: Denial,
        bytes_max: u64,
    },
    Discard,
}

impl Sink<'_> {
    /// The body has at least so many bytes.
    fn expect(&mut self, bytes: u64) -> Result<(), BodyError> {
        if bytes > self.bytes_max() {
            self.deny(Denial::BodyTooLarge)?;
        }
        // Far more than that is not read.
        if bytes > self.bytes_max() { self.deny(Denial::BodyTooLarge) } else { Ok(()) }
    }

    fn bytes_max(&self) -> u64 {
        match self {
            Sink::Keep { bytes_max, .. } | Sink::Address { bytes_max, .. } => *bytes_max,
            Sink::Discard => DISCARD_BYTES_MAX,
        }
    }

    /// Frees the kept bytes; the rest is only read.
    fn deny(&mut self, denial: Denial) -> Result<(), BodyError> {
        match self {
            Sink::Keep { kept, bytes_max, excess: Excess::ReadOn } => {
                let mut reader = Box::<IdReader>::default();
                reader.feed(&kept.bytes);
                let bytes_max = excess_max(*bytes_max);
                *self = Sink::Address { reader, denial, bytes_max };
                Ok(())
            }
            Sink::Address { denial, .. } => Err(BodyError::Rejected(*denial)),
            Sink::Keep { excess: Excess::Refuse, .. } | Sink::Discard => Err(BodyError::Rejected(denial)),
        }
    }

    /// Allocates memory for more bytes if they are kept. Without budget, the rest is only read.
    async fn reserve(
        &mut self,
        downstream: &mut Downstream,
        bytes: usize,
        bytes_max: usize,
    ) -> Result<(), BodyError> {
        let Sink::Keep { kept, .. } = self else { return Ok(()) };
        match kept.reserve(downstream, bytes, bytes_max).await {
            Err(BodyError::Rejected(full @ (Denial::Overloaded | Denial::ClientShare))) => self.deny(full),
            result => result,
        }
    }

    /// Takes bytes for which memory is reserved.
    fn take(&mut self, bytes: &[u8]) {
        match self {
            Sink::Keep { kept, .. } => kept.bytes.extend_from_slice(bytes),
            Sink::Address { reader, .. } => reader.feed(bytes),
            Sink::Discard => {}
        }
    }

    /// Reads at most `limit` bytes of the body; zero when the client sends nothing more.
    async fn read(
        &mut self,
        downstream: &mut Downstream,
        scratch: &mut Vec<u8>,
        limit: usize,
    ) -> Result<usize, BodyError> {
        if let Sink::Keep { kept, .. } = self {
            let length = kept.bytes.len() + limit;
            self.reserve(downstream, 1, length).await?;
        }
        if let Sink::Keep { kept, .. } = self {
            let limit = limit.min(kept.bytes.capacity() - kept.bytes.len());
            return Ok(downstream.read_into(&mut kept.bytes, limit).await?);
        }
        scratch.clear();
        scratch.reserve(limit.min(READ_BYTES));
        let read = downstream.read_into(scratch, limit.min(READ_BYTES)).await?;
        self.take(scratch);
        Ok(read)
    }
}

/// Reads a body of known length and returns how much of `arrived` belonged to it.
async fn read_length(
    downstream: &mut Downstream,
    arrived: &[u8],
    length: u64,
    sink: &mut Sink<'_>,
) -> Result<usize, BodyError> {
    let length = usize::try_from(length).map_err(|_| BodyError::Rejected(Denial::BodyTooLarge))?;
    let consumed = length.min(arrived.len());
    sink.reserve(downstream, consumed, length).await?;
    sink.take(&arrived[..consumed]);
    let mut left = length - consumed;
    let mut scratch = Vec::new();
    while left > 0 {
        match sink.read(downstream, &mut scratch, left).await? {
            0 => return Err(BodyError::ClientGone),
            read => left -= read,
        }
    }
    Ok(consumed)
}

/// Reads a chunked body and returns how much of `arrived` belonged to it.
async fn read_chunked(
    downstream: &mut Downstream,
    arrived: &[u8],
    sink: &mut Sink<'_>,
) -> Result<usize, BodyError> {
    let mut decoder = Decoder::new();
    let most = usize::try_from(sink.bytes_max()).unwrap_or(usize::MAX);
    // Decoded bytes are never more than encoded ones.
    sink.reserve(downstream, arrived.len(), most).await?;
    if let Some(consumed) = decode(&mut decoder, arrived, sink)? {
        return Ok(consumed);
    }
    let mut raw = Vec::new();
    loop {
        raw.clear();
        if downstream.read(&mut raw).await? == 0 {
            return Err(BodyError::ClientGone);
        }
        sink.reserve(downstream, raw.len(), most).await?;
        if let Some(consumed) = decode(&mut decoder, &raw, sink)? {
            downstream.push_back(&raw[consumed..]);
            return Ok(arrived.len());
        }
    }
}

/// Decodes what has arrived. Returns how much of it belonged to the body, once that is complete.
fn decode(decoder: &mut Decoder, input: &[u8], sink: &mut Sink<'_>) -> Result<Option<usize>, BodyError> {
    let mut at = 0;
    loop {
        let piece =
            decoder.next(&input[at..]).map_err(|error| BodyError::Rejected(Denial::Framing(error)))?;
        // A chunk that declares too many bytes is denied before they are sent.
        sink.expect(decoder.declared())?;
        match piece {
            Piece::Data { start, end } => {
                sink.take(&input[at + start..at + end]);
                at += end;
            }
            Piece::More { .. } => return Ok(None),
            Piece::End { consumed } => return Ok(Some(at + consumed)),
        }
    }
}

/// Reads and discards the body of a denied request, so that the next one on the connection can be read. Returns how much
/// of `arrived` belonged to it; `None` when the connection must close.
pub(crate) async fn discard(
    downstream: &mut Downstream,
    head: &RequestHead<'_>,
    arrived: &[u8],
) -> Option<usize> {
    match head.body {
        BodyLength::None => Some(0),
        // The client may send the body or not, so the bytes that follow are ambiguous.
        _ if head.expects_continue => None,
        BodyLength::Bytes(length) if length > DISCARD_BYTES_MAX => None,
        BodyLength::Bytes(length) => read_length(downstream, arrived, length, &mut Sink::Discard).await.ok(),
        BodyLength::Chunked => read_chunked(downstream, arrived, &mut Sink::Discard).await.ok(),
        BodyLength::UntilClose => None,
    }
}

/// The length of a body that is known, and of which nothing is still to come.
pub(crate) fn arrived_length(head: &RequestHead<'_>, arrived: &[u8]) -> Option<usize> {
    match head.body {
        BodyLength::None => Some(0),
        BodyLength::Bytes(length) => usize::try_from(length).ok().filter(|length| *length <= arrived.len()),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    }
}

/// Whether the body of a denied request is small enough, as far as is known, to be discarded.
pub(crate) fn can_discard(head: &RequestHead<'_>) -> bool {
    match head.body {
        BodyLength::None => true,
        BodyLength::Bytes(length) => length <= DISCARD_BYTES_MAX && !head.expects_continue,
        BodyLength::Chunked => !head.expects_continue,
        BodyLength::UntilClose => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::duplex;

    use super::*;
    use crate::proxy::downstream::client_stream::{Accepted, ClientStream};
    use crate::proxy::drain::Drain;
    use crate::proxy::fairness::body_budget::BodyBudget;

    const DECLARED: usize = 4 << 20;

    /// The memory of a body of [`DECLARED`] once so many bytes have arrived, as one read after the other fills it.
    async fn memory(arrived: usize, budget_bytes: usize) -> usize {
        let stream = ClientStream::Clear(Accepted::InProcess(Box::new(duplex(1).0)));
        let (guard, _) = Arc::new(Drain::new()).enter(1, None).unwrap();
        let mut downstream = Downstream::new(stream, guard);
        downstream.set_timeout(Duration::from_secs(10));
        let budget = BodyBudget::default();
        let reservation = budget.reservation(1, budget_bytes, Duration::from_secs(1));
        let mut kept = BodyBuffer { bytes: Vec::new(), reservation, ahead: AHEAD_DECLARED };
        loop {
            kept.reserve(&mut downstream, 1, DECLARED).await.unwrap();
            let length = kept.bytes.capacity().min(arrived);
            kept.bytes.resize(length, b'x');
            if length == arrived {
                return kept.bytes.capacity();
            }
        }
    }

    #[tokio::test]
    async fn body_memory_is_bounded_by_what_has_arrived() {
        const ROOM: usize = 1 << 28;
        assert_eq!(memory(0, ROOM).await, READ_BYTES);
        assert_eq!(memory(READ_BYTES, ROOM).await, READ_BYTES);
        // Each step is a whole part of the next one: the body is copied three times, half a megabyte of it at most.
        for (arrived, expect) in
            [(READ_BYTES + 1, 1 << 16), ((1 << 16) + 1, 1 << 19), ((1 << 19) + 1, DECLARED)]
        {
            assert!(expect <= AHEAD_DECLARED * arrived);
            assert_eq!(memory(arrived, ROOM).await, expect);
        }
        assert_eq!(memory(DECLARED, ROOM).await, DECLARED);
    }

    #[tokio::test]
    async fn body_memory_grows_in_small_steps_where_the_budget_has_no_room_ahead() {
        assert_eq!(memory(READ_BYTES + 1, 4 * READ_BYTES).await, 2 * READ_BYTES);
    }
}
