//! The request's body: buffered whole before a backend is asked, or read and forgotten when the request is refused.
//!
//! Memory grows with the bytes that arrive, never with what a head declares, and all bodies together have an end. The body of
//! a call that is refused for its size, or for want of room, is read on within bounds: the refusal carries the call's id.

use std::borrow::Cow;

use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, RequestHead};
use crate::policy::Denial;
use crate::policy::limits::excess_max;
use crate::proxy::downstream::body_budget::{Full, Share};
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::io::{Parts, READ_BYTES};
use crate::wire::reply_id::{IdReader, PartialRequest};

/// Bytes of a refused request's body that are read so that its connection may live on.
const FORGOTTEN_BYTES_MAX: u64 = 256 * 1024;

/// A whole body.
pub(crate) struct Body<'b> {
    pub(crate) bytes: Cow<'b, [u8]>,
    /// What it takes of the room for all of them. What arrived with the head lies in the connection's buffer.
    _share: Share<'b>,
    /// How much of what had arrived with the head belonged to the body.
    pub(crate) consumed: usize,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoBody {
    /// The connection must close: where the next request begins is not known.
    Refused(Denial),
    /// It was read to its end, but not kept.
    Unkept {
        denial: Denial,
        addressee: PartialRequest,
        /// How much of what had arrived with the head belonged to the body.
        consumed: usize,
    },
    Gone,
}

impl From<Full> for NoBody {
    fn from(full: Full) -> NoBody {
        NoBody::Refused(match full {
            Full::OwnExcess => Denial::ClientShare,
            Full::All => Denial::Overloaded,
        })
    }
}

/// What becomes of a body that is too large, or for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It is read for the id of the call.
    ReadOn,
    Refuse,
}

impl From<Interrupt> for NoBody {
    fn from(interrupt: Interrupt) -> NoBody {
        match interrupt {
            Interrupt::Deadline => NoBody::Refused(Denial::BodyTimeout),
            Interrupt::Draining => NoBody::Refused(Denial::Draining),
            Interrupt::ClientGone => NoBody::Gone,
        }
    }
}

/// Why a body was not read. A connection that makes room for another one ends like one that is drained.
pub(crate) fn reason(client: &Downstream, denial: Denial) -> Denial {
    if denial == Denial::Draining && client.ticket().is_evicted() { Denial::Overloaded } else { denial }
}

/// Reads the body, at most `bytes_max`, until the client's deadline. `arrived` is what came behind the head, `share` what may
/// be taken of the room for all bodies.
pub(crate) async fn read<'b>(
    client: &mut Downstream,
    head: &RequestHead<'_>,
    arrived: &'b [u8],
    bytes_max: u64,
    share: Share<'b>,
    excess: Excess,
) -> Result<Body<'b>, NoBody> {
    let length = match head.body {
        BodyLength::None | BodyLength::UntilClose => Some(0),
        BodyLength::Bytes(length) => Some(length),
        BodyLength::Chunked => None,
    };
    let here = length.filter(|length| *length <= bytes_max).and_then(|length| usize::try_from(length).ok());
    if let Some(bytes) = here.and_then(|length| arrived.get(..length)) {
        return Ok(Body { bytes: Cow::Borrowed(bytes), _share: share, consumed: bytes.len() });
    }
    let mut sink = Sink::Keep { kept: Kept { bytes: Vec::new(), share }, bytes_max, excess };
    sink.expect(length.unwrap_or(0))?;
    client.ticket().reading();
    invite(client, head, arrived).await?;
    let read = match length {
        Some(length) => read_length(client, arrived, length, &mut sink).await,
        None => read_chunked(client, arrived, &mut sink).await,
    };
    let consumed = match (read, &sink) {
        (Ok(consumed), _) => consumed,
        // It was refused before its time was over.
        (Err(NoBody::Refused(Denial::BodyTimeout)), Sink::Address { denial, .. }) => {
            return Err(NoBody::Refused(*denial));
        }
        (Err(none), _) => return Err(none),
    };
    client.ticket().served();
    match sink {
        Sink::Keep { kept, .. } => Ok(Body { bytes: Cow::Owned(kept.bytes), _share: kept.share, consumed }),
        Sink::Address { reader, denial, .. } => {
            Err(NoBody::Unkept { denial, addressee: reader.finish(), consumed })
        }
        Sink::Forget => Err(NoBody::Gone),
    }
}

/// `100 Continue`, if the client waits for it and has not begun by itself (RFC 9110, 10.1.1).
async fn invite(client: &mut Downstream, head: &RequestHead<'_>, arrived: &[u8]) -> Result<(), NoBody> {
    if head.expects_continue && arrived.is_empty() {
        client.write(Parts::new([b"HTTP/1.1 100 Continue\r\n\r\n".as_slice()])).await?;
    }
    Ok(())
}

/// Bytes that are kept, and the room they take.
struct Kept<'r> {
    bytes: Vec<u8>,
    share: Share<'r>,
}

impl Kept<'_> {
    /// Makes sure that there is memory for some bytes more, but for no more than `bytes_max` in all. Waits for room, which
    /// is better than a refusal: the id of a body that was not read is not known.
    async fn make_room(
        &mut self,
        client: &mut Downstream,
        bytes: usize,
        bytes_max: usize,
    ) -> Result<(), NoBody> {
        if self.bytes.capacity() - self.bytes.len() >= bytes {
            return Ok(());
        }
        // Doubling: a client that declares much and sends little costs little.
        let doubled = self.bytes.capacity().max(bytes).max(READ_BYTES);
        let wanted = (self.bytes.len() + doubled).min(bytes_max).max(self.bytes.len() + bytes);
        let more = wanted - self.bytes.capacity();
        let patience = self.share.patience();
        match client.until(tokio::time::timeout(patience, self.share.grow(more))).await? {
            Ok(grown) => grown?,
            Err(_elapsed) => return Err(self.share.reason(more).into()),
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }
}

/// Where the bytes of a body go.
enum Sink<'r> {
    Keep {
        kept: Kept<'r>,
        bytes_max: u64,
        excess: Excess,
    },
    /// To the search for the id: the body is refused.
    Address {
        reader: Box<IdReader>,
        denial: Denial,
        bytes_max: u64,
    },
    Forget,
}

impl Sink<'_> {
    /// The body has so many bytes at least.
    fn expect(&mut self, bytes: u64) -> Result<(), NoBody> {
        if bytes > self.bytes_max() {
            self.refuse(Denial::BodyTooLarge)?;
        }
        // Far more than that is not even read.
        if bytes > self.bytes_max() { self.refuse(Denial::BodyTooLarge) } else { Ok(()) }
    }

    fn bytes_max(&self) -> u64 {
        match self {
            Sink::Keep { bytes_max, .. } | Sink::Address { bytes_max, .. } => *bytes_max,
            Sink::Forget => FORGOTTEN_BYTES_MAX,
        }
    }

    /// What was kept is given back, and the rest is only read.
    fn refuse(&mut self, denial: Denial) -> Result<(), NoBody> {
        match self {
            Sink::Keep { kept, bytes_max, excess: Excess::ReadOn } => {
                let mut reader = Box::<IdReader>::default();
                reader.feed(&kept.bytes);
                let bytes_max = excess_max(*bytes_max);
                *self = Sink::Address { reader, denial, bytes_max };
                Ok(())
            }
            Sink::Address { denial, .. } => Err(NoBody::Refused(*denial)),
            Sink::Keep { excess: Excess::Refuse, .. } | Sink::Forget => Err(NoBody::Refused(denial)),
        }
    }

    /// Makes room for some bytes more, of at most `bytes_max` in all, if they are kept. Without room, the rest is only read.
    async fn make_room(
        &mut self,
        client: &mut Downstream,
        bytes: usize,
        bytes_max: usize,
    ) -> Result<(), NoBody> {
        let Sink::Keep { kept, .. } = self else { return Ok(()) };
        match kept.make_room(client, bytes, bytes_max).await {
            Err(NoBody::Refused(full @ (Denial::Overloaded | Denial::ClientShare))) => self.refuse(full),
            result => result,
        }
    }

    /// For these bytes there is room.
    fn take(&mut self, bytes: &[u8]) {
        match self {
            Sink::Keep { kept, .. } => kept.bytes.extend_from_slice(bytes),
            Sink::Address { reader, .. } => reader.feed(bytes),
            Sink::Forget => {}
        }
    }

    /// Reads at most `limit` bytes of the body; zero when the client sends nothing more. What is kept is read to its place.
    async fn read(
        &mut self,
        client: &mut Downstream,
        scratch: &mut Vec<u8>,
        limit: usize,
    ) -> Result<usize, NoBody> {
        if let Sink::Keep { kept, .. } = self {
            let length = kept.bytes.len() + limit;
            self.make_room(client, 1, length).await?;
        }
        if let Sink::Keep { kept, .. } = self {
            let limit = limit.min(kept.bytes.capacity() - kept.bytes.len());
            return Ok(client.read_into(&mut kept.bytes, limit).await?);
        }
        scratch.clear();
        scratch.reserve(limit.min(READ_BYTES));
        let read = client.read_into(scratch, limit.min(READ_BYTES)).await?;
        self.take(scratch);
        Ok(read)
    }
}

/// Reads a body of known length and returns how much of `arrived` belonged to it.
async fn read_length(
    client: &mut Downstream,
    arrived: &[u8],
    length: u64,
    sink: &mut Sink<'_>,
) -> Result<usize, NoBody> {
    let length = usize::try_from(length).map_err(|_| NoBody::Refused(Denial::BodyTooLarge))?;
    let consumed = length.min(arrived.len());
    sink.make_room(client, consumed, length).await?;
    sink.take(&arrived[..consumed]);
    let mut left = length - consumed;
    let mut scratch = Vec::new();
    while left > 0 {
        match sink.read(client, &mut scratch, left).await? {
            0 => return Err(NoBody::Gone),
            read => left -= read,
        }
    }
    Ok(consumed)
}

/// Reads a chunked body and returns how much of `arrived` belonged to it.
async fn read_chunked(client: &mut Downstream, arrived: &[u8], sink: &mut Sink<'_>) -> Result<usize, NoBody> {
    let mut decoder = Decoder::new();
    let most = usize::try_from(sink.bytes_max()).unwrap_or(usize::MAX);
    // What is decoded is never longer than what it is decoded from.
    sink.make_room(client, arrived.len(), most).await?;
    if let Progress::Complete { consumed } = decode(&mut decoder, arrived, sink)? {
        return Ok(consumed);
    }
    let mut raw = Vec::new();
    loop {
        raw.clear();
        if client.read(&mut raw).await? == 0 {
            return Err(NoBody::Gone);
        }
        sink.make_room(client, raw.len(), most).await?;
        if let Progress::Complete { consumed } = decode(&mut decoder, &raw, sink)? {
            client.carry(&raw[consumed..]);
            return Ok(arrived.len());
        }
    }
}

enum Progress {
    NeedsMore,
    Complete { consumed: usize },
}

fn decode(decoder: &mut Decoder, input: &[u8], sink: &mut Sink<'_>) -> Result<Progress, NoBody> {
    let mut at = 0;
    loop {
        let piece = decoder.next(&input[at..]).map_err(|error| NoBody::Refused(Denial::Framing(error)))?;
        // A chunk that is announced too large is refused before it is sent.
        sink.expect(decoder.declared())?;
        match piece {
            Piece::Data { start, end } => {
                sink.take(&input[at + start..at + end]);
                at += end;
            }
            Piece::More { .. } => return Ok(Progress::NeedsMore),
            Piece::End { consumed } => return Ok(Progress::Complete { consumed: at + consumed }),
        }
    }
}

/// Reads and forgets the body of a refused request, so that the next one on the connection can be read. Returns how
/// much of `arrived` belonged to it; `None` when the connection must close instead.
pub(crate) async fn forget(client: &mut Downstream, head: &RequestHead<'_>, arrived: &[u8]) -> Option<usize> {
    match head.body {
        BodyLength::None => Some(0),
        // Whether the body still comes is the client's choice now, so what follows cannot be told apart.
        _ if head.expects_continue => None,
        BodyLength::Bytes(length) if length > FORGOTTEN_BYTES_MAX => None,
        BodyLength::Bytes(length) => read_length(client, arrived, length, &mut Sink::Forget).await.ok(),
        BodyLength::Chunked => read_chunked(client, arrived, &mut Sink::Forget).await.ok(),
        BodyLength::UntilClose => None,
    }
}

/// Whether the body of a refused request is small enough, as far as is known, to be read for the sake of the connection.
pub(crate) fn is_forgettable(head: &RequestHead<'_>) -> bool {
    match head.body {
        BodyLength::None => true,
        BodyLength::Bytes(length) => length <= FORGOTTEN_BYTES_MAX && !head.expects_continue,
        BodyLength::Chunked => !head.expects_continue,
        BodyLength::UntilClose => false,
    }
}
