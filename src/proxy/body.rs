//! The request's body: buffered whole before a backend is asked, or read and forgotten when the request is refused.
//!
//! Memory grows with the bytes that arrive, never with what a head declares, and all bodies together have an end.

use std::borrow::Cow;

use super::client::{Client, Interrupt};
use super::io::{Parts, READ_BYTES};
use super::room::{Full, Share};
use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, RequestHead};
use crate::policy::Denial;

/// Bytes of a refused request's body that are read so that its connection may live on.
const FORGOTTEN_BYTES_MAX: u64 = 256 * 1024;

/// A whole body.
pub(super) struct Body<'b> {
    pub(super) bytes: Cow<'b, [u8]>,
    /// What it takes of the room for all of them. What arrived with the head lies in the connection's buffer.
    _share: Share<'b>,
    /// How much of what had arrived with the head belonged to the body.
    pub(super) consumed: usize,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    Refused(Denial),
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
pub(super) fn reason(client: &Client, denial: Denial) -> Denial {
    if denial == Denial::Draining && client.ticket().is_evicted() { Denial::Overloaded } else { denial }
}

/// Reads the body, at most `bytes_max`, until the client's deadline. `arrived` is what came behind the head, `share` what may
/// be taken of the room for all bodies.
pub(super) async fn read<'b>(
    client: &mut Client,
    head: &RequestHead<'_>,
    arrived: &'b [u8],
    bytes_max: u64,
    share: Share<'b>,
) -> Result<Body<'b>, NoBody> {
    match head.body {
        BodyLength::None | BodyLength::UntilClose => {
            Ok(Body { bytes: Cow::Borrowed(&[]), _share: share, consumed: 0 })
        }
        BodyLength::Bytes(length) => {
            if length > bytes_max {
                return Err(NoBody::Refused(Denial::BodyTooLarge));
            }
            let length = usize::try_from(length).map_err(|_| NoBody::Refused(Denial::BodyTooLarge))?;
            if let Some(bytes) = arrived.get(..length) {
                return Ok(Body { bytes: Cow::Borrowed(bytes), _share: share, consumed: length });
            }
            client.ticket().reading();
            invite(client, head, arrived).await?;
            let body = read_length(client, arrived, length, share).await?;
            client.ticket().served();
            Ok(body)
        }
        BodyLength::Chunked => {
            client.ticket().reading();
            invite(client, head, arrived).await?;
            let mut bytes = Kept { bytes: Vec::new(), share };
            let consumed = read_chunked(client, arrived, bytes_max, Some(&mut bytes)).await?;
            client.ticket().served();
            Ok(Body { bytes: Cow::Owned(bytes.bytes), _share: bytes.share, consumed })
        }
    }
}

/// `100 Continue`, if the client waits for it and has not begun by itself (RFC 9110, 10.1.1).
async fn invite(client: &mut Client, head: &RequestHead<'_>, arrived: &[u8]) -> Result<(), NoBody> {
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
    async fn make_room(&mut self, client: &mut Client, bytes: usize, bytes_max: usize) -> Result<(), NoBody> {
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

async fn read_length<'b>(
    client: &mut Client,
    arrived: &[u8],
    length: usize,
    share: Share<'b>,
) -> Result<Body<'b>, NoBody> {
    let mut kept = Kept { bytes: Vec::new(), share };
    kept.make_room(client, arrived.len(), length).await?;
    kept.bytes.extend_from_slice(arrived);
    while kept.bytes.len() < length {
        kept.make_room(client, 1, length).await?;
        let limit = (length - kept.bytes.len()).min(kept.bytes.capacity() - kept.bytes.len());
        if client.read_into(&mut kept.bytes, limit).await? == 0 {
            return Err(NoBody::Gone);
        }
    }
    Ok(Body { bytes: Cow::Owned(kept.bytes), _share: kept.share, consumed: arrived.len() })
}

/// Reads a chunked body and returns how much of `arrived` belonged to it. Without a place to keep them, its bytes are
/// forgotten as they come.
async fn read_chunked(
    client: &mut Client,
    arrived: &[u8],
    bytes_max: u64,
    mut kept: Option<&mut Kept<'_>>,
) -> Result<usize, NoBody> {
    let mut decoder = Decoder::new();
    let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    // What is decoded is never longer than what it is decoded from.
    if let Some(kept) = kept.as_deref_mut() {
        kept.make_room(client, arrived.len(), most).await?;
    }
    if let Progress::Complete { consumed } = decode(&mut decoder, arrived, kept.as_deref_mut(), bytes_max)? {
        return Ok(consumed);
    }
    let mut raw = Vec::new();
    loop {
        raw.clear();
        if client.read(&mut raw).await? == 0 {
            return Err(NoBody::Gone);
        }
        if let Some(kept) = kept.as_deref_mut() {
            kept.make_room(client, raw.len(), most).await?;
        }
        let progress = decode(&mut decoder, &raw, kept.as_deref_mut(), bytes_max)?;
        if let Progress::Complete { consumed } = progress {
            client.carry(&raw[consumed..]);
            return Ok(arrived.len());
        }
    }
}

enum Progress {
    NeedsMore,
    Complete { consumed: usize },
}

fn decode(
    decoder: &mut Decoder,
    input: &[u8],
    mut kept: Option<&mut Kept<'_>>,
    bytes_max: u64,
) -> Result<Progress, NoBody> {
    let mut at = 0;
    loop {
        let piece = decoder.next(&input[at..]).map_err(|error| NoBody::Refused(Denial::Framing(error)))?;
        // A chunk that is announced too large is refused before it is sent.
        if decoder.declared() > bytes_max {
            return Err(NoBody::Refused(Denial::BodyTooLarge));
        }
        match piece {
            Piece::Data { start, end } => {
                let data = &input[at + start..at + end];
                if let Some(kept) = kept.as_deref_mut() {
                    kept.bytes.extend_from_slice(data);
                }
                at += end;
            }
            Piece::More { .. } => return Ok(Progress::NeedsMore),
            Piece::End { consumed } => return Ok(Progress::Complete { consumed: at + consumed }),
        }
    }
}

/// Reads and forgets the body of a refused request, so that the next one on the connection can be read. Returns how
/// much of `arrived` belonged to it; `None` when the connection must close instead.
pub(super) async fn forget(client: &mut Client, head: &RequestHead<'_>, arrived: &[u8]) -> Option<usize> {
    match head.body {
        BodyLength::None => Some(0),
        // Whether the body still comes is the client's choice now, so what follows cannot be told apart.
        _ if head.expects_continue => None,
        BodyLength::Bytes(length) if length > FORGOTTEN_BYTES_MAX => None,
        BodyLength::Bytes(length) => {
            let length = usize::try_from(length).ok()?;
            let consumed = length.min(arrived.len());
            let mut left = length - consumed;
            let mut forgotten = Vec::new();
            while left > 0 {
                forgotten.clear();
                forgotten.reserve(left.min(READ_BYTES));
                match client.read_into(&mut forgotten, left.min(READ_BYTES)).await {
                    Ok(0) | Err(_) => return None,
                    Ok(read) => left -= read,
                }
            }
            Some(consumed)
        }
        BodyLength::Chunked => read_chunked(client, arrived, FORGOTTEN_BYTES_MAX, None).await.ok(),
        BodyLength::UntilClose => None,
    }
}

/// Whether the body of a refused request is small enough, as far as is known, to be read for the sake of the connection.
pub(super) fn is_forgettable(head: &RequestHead<'_>) -> bool {
    match head.body {
        BodyLength::None => true,
        BodyLength::Bytes(length) => length <= FORGOTTEN_BYTES_MAX && !head.expects_continue,
        BodyLength::Chunked => !head.expects_continue,
        BodyLength::UntilClose => false,
    }
}
