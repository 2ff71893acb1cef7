//! The pipeline: several statements in one exchange, with one Sync at their end.
//!
//! After an error the server skips the statements that follow (PostgreSQL, 55.2.4), so a statement never runs outside of the
//! transaction that the one before it was to begin. Must not know what the statements are.

use std::collections::BTreeSet;
use std::io;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::Type;

use super::message::{Head, Requests, TooLong, only_column};
use super::parameter::Parameter;
use super::stream::{Exchange, SharedStream};

/// Bytes of the requests of a short transaction.
const REQUESTS_BYTES: usize = 512;
/// Memory for responses that a connection keeps between two exchanges, at most.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// The longest message that is no row.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// One statement of a pipeline.
pub(super) struct Step<'a> {
    pub(super) text: &'a str,
    pub(super) types: &'a [Type],
    /// The number of the text with its types; `None` where nothing stays prepared.
    pub(super) number: Option<u64>,
    pub(super) values: Vec<Parameter>,
}

/// Receives the rows of a pipeline.
pub(super) trait Receiver {
    /// The longest row that it takes now; what is longer is dropped unread.
    fn room(&self) -> usize;

    /// A row of the step with this index: its only column, `None` when it has another form.
    fn row(&mut self, step: usize, column: Option<&[u8]>);

    /// The step with this index is done.
    fn done(&mut self, step: usize);

    /// A row had no room.
    fn dropped(&mut self, step: usize);

    /// No further row is of use: the exchange ends, and the connection with it.
    fn has_given_up(&self) -> bool;
}

/// How an exchange ended.
pub(super) struct Ended {
    pub(super) failure: Option<Failure>,
    /// Whether a transaction is open.
    pub(super) in_transaction: bool,
}

/// The error of a step.
pub(super) struct Failure {
    pub(super) step: usize,
    /// The statement was not compiled, so no value was bound.
    pub(super) compiling: bool,
    /// ErrorResponse and ReadyForQuery, as they arrived.
    frames: Vec<u8>,
}

/// The pipeline of one connection.
pub(super) struct Pipeline {
    stream: SharedStream,
    prepared: BTreeSet<u64>,
    received: Vec<u8>,
}

impl Pipeline {
    pub(super) fn new(stream: SharedStream) -> Pipeline {
        Pipeline { stream, prepared: BTreeSet::new(), received: Vec::new() }
    }

    /// Runs the steps. `None` when they cannot be sent this way, and nothing was sent. An exchange that is dropped, or fails,
    /// closes the connection.
    pub(super) async fn run(
        &mut self,
        steps: &[Step<'_>],
        receiver: &mut impl Receiver,
    ) -> Option<io::Result<Ended>> {
        let (requests, compiled) = self.requests(steps).ok()?;
        let mut exchange = self.stream.take();
        let mut reading = Reading { compiled: &compiled, step: 0, parsed: false, failure: None };
        let ended = exchanged(&mut exchange, &requests.0, &mut self.received, &mut reading, receiver).await;
        let (done, failure) = (reading.step, reading.failure);
        let ended = match ended {
            Ok(in_transaction) => {
                exchange.end();
                Ok(Ended { failure, in_transaction })
            }
            // The server ended the session, and said why.
            Err(_) if failure.is_some() => Ok(Ended { failure, in_transaction: true }),
            Err(error) => Err(error),
        };
        // What comes after an error was skipped. A statement whose Parse was accepted stays, whatever became of its transaction.
        let failed = ended.as_ref().ok().and_then(|ended| ended.failure.as_ref());
        let known = failed.map_or(done, |failure| failure.step + usize::from(!failure.compiling));
        let new = steps.iter().zip(&compiled).take(known).filter(|(_, compiled)| **compiled);
        self.prepared.extend(new.filter_map(|(step, _)| step.number));
        Some(ended)
    }

    /// The requests, and for each step whether it is compiled first.
    fn requests(&self, steps: &[Step<'_>]) -> Result<(Requests, Vec<bool>), TooLong> {
        let mut requests = Requests::with_capacity(REQUESTS_BYTES);
        let mut compiled = Vec::with_capacity(steps.len());
        let mut name = String::new();
        // A text that occurs twice is compiled once.
        let mut compiled_here = BTreeSet::new();
        for step in steps {
            name.clear();
            if let Some(number) = step.number {
                // The driver's own names begin with `s`.
                name.push('p');
                name.push_str(itoa::Buffer::new().format(number));
            }
            let compile = step
                .number
                .is_none_or(|number| !self.prepared.contains(&number) && compiled_here.insert(number));
            if compile {
                requests.parse(&name, step.text, step.types)?;
            }
            compiled.push(compile);
            requests.run(&name, step.values.iter().map(Parameter::text))?;
        }
        requests.sync();
        Ok((requests, compiled))
    }

    /// The error as the driver reads it.
    pub(super) async fn error(
        &self,
        client: &ClientWrapper,
        failure: Failure,
    ) -> Option<tokio_postgres::Error> {
        self.stream.replay(failure.frames);
        client.batch_execute("").await.err()
    }
}

/// Where the responses of an exchange are.
struct Reading<'a> {
    compiled: &'a [bool],
    step: usize,
    /// Whether the statement of this step was compiled just now.
    parsed: bool,
    failure: Option<Failure>,
}

/// Sends the requests and reads up to ReadyForQuery: whether a transaction is open then.
async fn exchanged(
    exchange: &mut Exchange<'_>,
    mut out: &[u8],
    received: &mut Vec<u8>,
    reading: &mut Reading<'_>,
    receiver: &mut impl Receiver,
) -> io::Result<bool> {
    received.clear();
    // Bytes of a row without room that have not arrived yet.
    let mut skipped = 0;
    loop {
        exchange.step(&mut out, received).await?;
        let mut at = 0;
        loop {
            let waiting = &received[at..];
            let skip = skipped.min(waiting.len());
            (skipped, at) = (skipped - skip, at + skip);
            let waiting = &waiting[skip..];
            if receiver.has_given_up() {
                return Err(io::Error::other("no further row is of use"));
            }
            let Some(head) = Head::of(waiting).map_err(|TooLong| garbled())? else { break };
            // Notices say nothing that is used, and a function may make them as long as it likes.
            let unused = matches!(head.tag, b'N' | b'S' | b'A');
            if head.tag != b'D' && head.length > MESSAGE_BYTES_MAX {
                if !unused {
                    return Err(garbled());
                }
                skipped = Head::BYTES + head.length;
                continue;
            }
            if head.tag == b'D' && head.length > receiver.room().saturating_add(6) {
                receiver.dropped(reading.step);
                skipped = Head::BYTES + head.length;
                continue;
            }
            let whole = Head::BYTES + head.length;
            let Some(frame) = waiting.get(..whole) else { break };
            if let Some(status) = reading.take(head.tag, frame, receiver)? {
                if received.capacity() > KEPT_BYTES_MAX {
                    *received = Vec::new();
                }
                return Ok(status != b'I');
            }
            at += whole;
        }
        received.drain(..at);
    }
}

impl Reading<'_> {
    /// Takes one frame; the last one has the status of the transaction.
    fn take(&mut self, tag: u8, frame: &[u8], receiver: &mut impl Receiver) -> io::Result<Option<u8>> {
        let body = &frame[Head::BYTES..];
        match tag {
            b'D' => receiver.row(self.step, only_column(body)),
            // CommandComplete, EmptyQueryResponse.
            b'C' | b'I' => {
                receiver.done(self.step);
                (self.step, self.parsed) = (self.step + 1, false);
            }
            b'1' => self.parsed = true,
            b'E' => {
                let compiling = !self.parsed && self.compiled.get(self.step) == Some(&true);
                self.failure.get_or_insert(Failure { step: self.step, compiling, frames: frame.to_vec() });
            }
            b'Z' => {
                if let Some(failure) = &mut self.failure {
                    failure.frames.extend_from_slice(frame);
                } else if self.step != self.compiled.len() {
                    return Err(garbled());
                }
                return body.first().copied().map(Some).ok_or_else(garbled);
            }
            // BindComplete, NoticeResponse, ParameterStatus, NotificationResponse.
            b'2' | b'N' | b'S' | b'A' => {}
            _ => return Err(garbled()),
        }
        Ok(None)
    }
}

fn garbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server's response is not one of the protocol")
}
