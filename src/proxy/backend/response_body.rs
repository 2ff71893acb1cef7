//! The answer's body on its way to the client: byte-exact, in bounded memory, as it arrives, and never made to look
//! complete when it is not.

use std::time::Duration;

use tokio::io::AsyncRead;

use super::exchange::{Received, RequestSent};
use super::pool::Connection;
use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, FramingError, Version};
use crate::policy::cors::AllowedOrigin;
use crate::proxy::downstream::local_reply::{KeepAlive, append_length, append_line};
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::downstream::stream_timeouts::{AtDrain, StreamTime};
use crate::proxy::io::{Parts, READ_BYTES, TOGETHER_BYTES_MAX, read_into, read_more};
use crate::wire::response_scan::Format;

/// An answer of declared length up to this is sent when it is whole: one write, and if the backend dies in the middle
/// of it the client still gets a proper refusal.
const WHOLE_BYTES_MAX: u64 = READ_BYTES as u64;
/// A JSON answer of unknown length is looked at up to this before its first byte goes out.
const JUDGED_BYTES_MAX: usize = READ_BYTES;
/// The buffer for bodies that do not end soon.
const BULK_BYTES: usize = 64 * 1024;

/// A comment, which clients of event streams skip.
const PING: &[u8] = b": \n\n";
/// How long the client has to take the event that ends a stream.
const LAST_EVENT_TIME: Duration = Duration::from_secs(1);

/// Why a body ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The backend closed or reset the connection.
    Closed,
    Malformed(FramingError),
    /// More than may be collected.
    TooLong,
    /// It had to be edited, and cannot be read without doubt.
    Unreadable,
    Interrupted(Interrupt),
    /// The client did not take what was sent to it.
    Unwritten(Interrupt),
}

impl From<Interrupt> for Cut {
    fn from(interrupt: Interrupt) -> Cut {
        Cut::Interrupted(interrupt)
    }
}

/// The body as the backend sends it. `data` is what has arrived, decoded, and was not yet passed on.
pub(crate) struct Source<C = Connection> {
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

impl<C: AsyncRead + Unpin> Source<C> {
    /// The body of `received`; what came with the head is decoded at once.
    pub(crate) fn new(
        connection: C,
        body: BodyLength,
        rest: Vec<u8>,
        reusable: bool,
    ) -> Result<Source<C>, Cut> {
        let framing = match body {
            BodyLength::None => Framing::Length(0),
            BodyLength::Bytes(length) => Framing::Length(length),
            BodyLength::Chunked => Framing::Chunked(Decoder::new()),
            BodyLength::UntilClose => Framing::UntilClose,
        };
        let bulk = matches!(framing, Framing::Length(length) if length > 2 * WHOLE_BYTES_MAX);
        let mut source =
            Source { connection, data: rest, framing, state: State::Open, reusable, bulk, announced: true };
        source.decode(0).map_err(Cut::Malformed)?;
        Ok(source)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    fn is_torn(&self) -> bool {
        self.state == State::Torn
    }

    /// The connection, if it may carry another exchange.
    pub(crate) fn into_reusable(self) -> Option<C> {
        (self.reusable && self.is_complete()).then_some(self.connection)
    }

    /// Adds what arrives next to `data`.
    pub(crate) async fn read(&mut self) -> Result<(), Cut> {
        let from = self.data.len();
        let read = if self.bulk {
            let limit = match self.framing {
                Framing::Length(left) => usize::try_from(left).unwrap_or(BULK_BYTES).min(BULK_BYTES),
                Framing::Chunked(_) | Framing::UntilClose => BULK_BYTES,
            };
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
            Ok(0) | Err(_) => Err(Cut::Closed),
            Ok(read) => {
                self.bulk |= read >= READ_BYTES;
                self.decode(from).map_err(Cut::Malformed)
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
                // What follows the body was not asked for: whose answer would it be?
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

    /// How a client of this version learns where the body ends.
    pub(crate) fn coding(&self, version: Version) -> Coding {
        match self.framing {
            _ if self.is_complete() => Coding::Length(self.data.len() as u64),
            Framing::Length(left) if self.announced => Coding::Length(left + self.data.len() as u64),
            Framing::Length(_) | Framing::Chunked(_) | Framing::UntilClose => match version {
                Version::Http11 => Coding::Chunked,
                Version::Http10 => Coding::UntilClose,
            },
        }
    }

    /// Leaves room for an event of the guard's own: a length that is announced cannot be taken back.
    pub(crate) fn leave_length_open(&mut self) {
        self.announced = false;
    }

    /// Waits for the whole body, up to `bytes_max`.
    pub(crate) async fn collect(&mut self, client: &mut Downstream, bytes_max: usize) -> Result<(), Cut> {
        while !self.is_complete() {
            if self.data.len() > bytes_max {
                return Err(Cut::TooLong);
            }
            client.until(self.read()).await??;
        }
        Ok(())
    }

    /// Waits for the whole body, or until what has arrived is `enough`.
    pub(crate) async fn collect_until(
        &mut self,
        client: &mut Downstream,
        bytes_max: usize,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Cut> {
        while !self.is_complete() && !enough(&self.data) {
            if self.data.len() > bytes_max {
                return Err(Cut::TooLong);
            }
            client.until(self.read()).await??;
        }
        Ok(())
    }

    /// What has been collected, or this instead, is all there is.
    pub(crate) fn end_with(&mut self, instead: Option<Vec<u8>>) {
        if let Some(data) = instead {
            self.data = data;
        }
        // A connection on which more may come is not used again.
        self.reusable &= self.is_complete();
        self.state = State::Complete;
    }

    /// Waits until sending makes sense: a stream is sent at once, a short answer when it is whole, a long one when its
    /// first bytes are there and are `judged`, which is asked with all that has arrived.
    pub(crate) async fn gather(
        &mut self,
        client: &mut Downstream,
        format: Format,
        mut judged: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Cut> {
        if format == Format::EventStream {
            return Ok(());
        }
        let short = |source: &Source<C>| match source.framing {
            Framing::Length(left) => left + source.data.len() as u64 <= WHOLE_BYTES_MAX,
            Framing::Chunked(_) | Framing::UntilClose => false,
        };
        while !self.is_complete()
            && (self.data.is_empty()
                || short(self)
                || (self.data.len() < JUDGED_BYTES_MAX && !judged(&self.data)))
        {
            client.until(self.read()).await??;
        }
        Ok(())
    }
}

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Length(u64),
    Chunked,
    /// HTTP/1.0 and a stream: by the end of the connection.
    UntilClose,
}

/// What the client is to be told besides the backend's own words.
pub(crate) struct Sending<'s> {
    /// Status line and fields.
    pub(crate) rendered: Vec<u8>,
    pub(crate) request_id: &'s str,
    /// The web page that asks, if one does.
    pub(crate) page: Option<AllowedOrigin<'s>>,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) version: Version,
    /// What bounds a stream; `None` for answers that have a deadline.
    pub(crate) stream: Option<StreamTime>,
    /// Whether a body is sent at all: 204 and 304 have none.
    pub(crate) bodiless: bool,
}

/// What is shown every byte of an answer, and knows how an event stream may end.
pub(crate) trait Watch {
    fn see(&mut self, bytes: &[u8]);

    /// What a body that ends like this still lacks: an error for the call, as a whole event. `None` for a body that is
    /// complete, or that nothing can be appended to. A body that was not cut has ended by itself.
    fn last_event(&mut self, cut: Option<&Cut>) -> Option<Vec<u8>>;

    /// Whether a body that ends here would be a torn event: it must look cut.
    fn is_torn(&self) -> bool;

    /// Whether the stream stands behind a whole event.
    fn is_between_events(&self) -> bool;
}

/// What became of an answer that was being sent.
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) result: Result<(), Cut>,
    /// Whether the body was ended properly: it was whole, or an event of the guard's own completed it.
    pub(crate) ended: Ended,
    /// Whether the connection to the client may live on.
    pub(crate) keep_alive: KeepAlive,
}

/// How a body ends for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Properly,
    Cut,
}

/// Sends the answer: its head with whatever has arrived, then the rest as it comes. `watch` is shown every byte of the
/// backend's.
pub(crate) async fn send(
    mut sending: Sending<'_>,
    source: &mut Source,
    client: &mut Downstream,
    watch: &mut impl Watch,
) -> Sent {
    show(source, watch);
    let coding = source.coding(sending.version);
    let keep_alive = if coding == Coding::UntilClose { KeepAlive::Close } else { sending.keep_alive };
    finish_head(&mut sending, coding, keep_alive);
    let mut sent = Sent { bytes: 0, result: Ok(()), ended: Ended::Cut, keep_alive };
    if let Some(stream) = sending.stream {
        stream.begin_silence(client);
    }
    if matches!(coding, Coding::Length(_)) && source.is_complete() && source.data.len() <= TOGETHER_BYTES_MAX
    {
        sending.rendered.extend_from_slice(&source.data);
        sent.bytes = source.data.len() as u64;
        sent.result = client.write(Parts::new([sending.rendered.as_slice()])).await.map_err(Cut::Unwritten);
        if sent.result.is_ok() {
            sent.ended = Ended::Properly;
        }
        return sent;
    }
    let mut head: &[u8] = &sending.rendered;
    loop {
        sent.bytes += source.data.len() as u64;
        let written = write(client, head, source, coding).await;
        if let Err(interrupt) = written {
            sent.result = Err(Cut::Unwritten(interrupt));
            return sent;
        }
        if source.is_torn() {
            sent.result = Err(Cut::Closed);
            return sent;
        }
        if source.is_complete() {
            sent.ended = Ended::Properly;
            return sent;
        }
        head = &[];
        source.data.clear();
        if let Err(cut) = next_piece(source, client, sending.stream, coding, watch).await {
            if let Some(event) = watch.last_event(Some(&cut)) {
                sent.bytes += event.len() as u64;
                source.end_with(Some(event));
                // What passed may have been the call's own time.
                client.set_timeout(LAST_EVENT_TIME);
                if write(client, head, source, coding).await.is_ok() {
                    sent.ended = Ended::Properly;
                }
            }
            sent.result = Err(cut);
            return sent;
        }
        if let Some(stream) = sending.stream {
            stream.begin_silence(client);
        }
        show(source, watch);
    }
}

/// Shows what has arrived; what a complete body lacks is added to it.
fn show(source: &mut Source, watch: &mut impl Watch) {
    watch.see(&source.data);
    if source.is_complete()
        && let Some(event) = watch.last_event(None)
    {
        source.data.extend_from_slice(&event);
    }
    if source.is_complete() && watch.is_torn() {
        source.state = State::Torn;
    }
}

/// Waits for the next piece. Comments fill the silence of a stream; they do not count as its backend's.
async fn next_piece(
    source: &mut Source,
    client: &mut Downstream,
    stream: Option<StreamTime>,
    coding: Coding,
    watch: &impl Watch,
) -> Result<(), Cut> {
    let ends_at_drain = stream.is_some_and(|stream| stream.at_drain == AtDrain::Ends);
    let ping = stream.and_then(|stream| stream.ping);
    if ping.is_none() && !ends_at_drain {
        return client.until(source.read()).await?;
    }
    loop {
        let read = tokio::time::timeout(ping.unwrap_or(Duration::MAX), source.read());
        let read = if ends_at_drain && watch.is_between_events() {
            client.until_drain(read).await?.ok_or(Cut::Interrupted(Interrupt::Draining))?
        } else {
            client.until(read).await?
        };
        match read {
            Ok(read) => return read,
            Err(_silent) if watch.is_between_events() => {
                write_piece(client, &[], PING, End::Open, coding).await.map_err(Cut::Unwritten)?;
            }
            Err(_silent) => {}
        }
    }
}

/// Adds what is ours to the head.
pub(crate) fn finish_head(sending: &mut Sending<'_>, coding: Coding, keep_alive: KeepAlive) {
    let out = &mut sending.rendered;
    append_line(out, b"X-Request-Id: ", sending.request_id.as_bytes());
    if let Some(page) = sending.page {
        page.append_fields(out);
    }
    match coding {
        _ if sending.bodiless => {}
        Coding::Length(length) => append_length(out, length),
        Coding::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Coding::UntilClose => {}
    }
    out.extend_from_slice(keep_alive.header());
    out.extend_from_slice(b"\r\n");
}

/// Writes the head, if it is still due, and what has arrived, in one call.
pub(crate) async fn write<C: AsyncRead + Unpin>(
    client: &mut Downstream,
    head: &[u8],
    source: &Source<C>,
    coding: Coding,
) -> Result<(), Interrupt> {
    let end = if source.is_complete() { End::Last } else { End::Open };
    write_piece(client, head, &source.data, end, coding).await
}

/// Whether more of a body follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Last,
}

async fn write_piece(
    client: &mut Downstream,
    head: &[u8],
    data: &[u8],
    end: End,
    coding: Coding,
) -> Result<(), Interrupt> {
    match coding {
        Coding::Length(_) | Coding::UntilClose => client.write(Parts::new([head, data])).await,
        Coding::Chunked => {
            let end: &[u8] = match (data.is_empty(), end) {
                (true, End::Open) => b"",
                (true, End::Last) => b"0\r\n\r\n",
                (false, End::Open) => b"\r\n",
                (false, End::Last) => b"\r\n0\r\n\r\n",
            };
            let size = if data.is_empty() { String::new() } else { format!("{:x}\r\n", data.len()) };
            client.write(Parts::new([head, size.as_bytes(), data, end])).await
        }
    }
}

/// The body of an answer whose head has arrived.
pub(crate) fn source_of(
    received: Received,
) -> Result<(Source, crate::proxy::backend::response_head::AnswerHead), Cut> {
    let Received { connection, head, rest, request } = received;
    let reusable = head.keep_alive && request == RequestSent::Whole;
    Ok((Source::new(connection, head.body, rest, reusable)?, head))
}
