//! One request sent and one answer's head received on one backend connection.
//!
//! Says exactly how far it came, because that decides whether the request may be sent again. Retries nothing itself.

use std::future::poll_fn;
use std::task::Poll;

use super::answer::{AnswerHead, HEAD_LIMITS, Judged, Session, judge};
use super::clock::Clock;
use super::io::{Parts, poll_read_more, read_more};
use super::pool::Connection;
use crate::http1::{FramingError, head_end};

/// Interim answers (1xx) a backend may send before the real one.
const INTERIM_MAX: usize = 16;

/// An answer whose head has arrived.
pub(super) struct Received {
    pub(super) connection: Connection,
    pub(super) head: AnswerHead,
    /// What came behind the head.
    pub(super) rest: Vec<u8>,
    pub(super) request: RequestSent,
}

/// How much of the request the backend took before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestSent {
    Whole,
    /// It answered early; the connection is of no further use.
    Part,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not one byte was taken: no backend can have acted on it.
    Unsent,
    /// The connection ended before a complete head.
    Cut,
    /// What came is not an answer.
    Invalid(FramingError),
    TooManyInterim,
}

/// Sends `head` and `body` in one write and reads the answer's head. `written` follows the bytes taken, so that it is
/// right even when the caller stops waiting.
pub(super) async fn exchange(
    mut connection: Connection,
    head: &[u8],
    body: &[u8],
    session: Session,
    clock: &Clock,
    written: &mut usize,
) -> Result<Received, Failure> {
    let mut raw = Vec::new();
    let request = send(&mut connection, Parts::new([head, body]), &mut raw, written).await?;
    let mut interim = 0;
    let mut scanned = 0;
    loop {
        match head_end(&raw, scanned, &HEAD_LIMITS).map_err(Failure::Invalid)? {
            None => {
                scanned = raw.len();
                match read_more(&mut connection, &mut raw).await {
                    Ok(0) | Err(_) => return Err(Failure::Cut),
                    Ok(_) => {}
                }
            }
            Some(end) => {
                let judged = judge(&raw[..end], &mut connection.spans, session, clock);
                raw.drain(..end);
                match judged.map_err(Failure::Invalid)? {
                    Judged::Final(head) => return Ok(Received { connection, head, rest: raw, request }),
                    Judged::Interim if interim == INTERIM_MAX => return Err(Failure::TooManyInterim),
                    Judged::Interim => {
                        interim += 1;
                        scanned = 0;
                    }
                }
            }
        }
    }
}

/// Writes everything, unless the backend answers or closes first.
async fn send(
    connection: &mut Connection,
    mut parts: Parts<'_>,
    raw: &mut Vec<u8>,
    written: &mut usize,
) -> Result<RequestSent, Failure> {
    let result = poll_fn(|cx| {
        let write = parts.poll_write(cx, connection);
        *written = parts.written();
        match write {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(RequestSent::Whole)),
            Poll::Ready(Err(_broken)) => Poll::Ready(Err(())),
            // The backend does not take more now. It may have made up its mind from the head.
            Poll::Pending => match poll_read_more(cx, connection, raw) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(())),
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(RequestSent::Part)),
            },
        }
    })
    .await;
    match result {
        Ok(sent) => Ok(sent),
        Err(()) if *written == 0 => Err(Failure::Unsent),
        // It closed while we wrote; an answer may lie before the end of what it sent.
        Err(()) => Ok(RequestSent::Part),
    }
}
