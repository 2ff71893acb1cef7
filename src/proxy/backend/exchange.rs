//! One request sent and one answer's head received on one backend connection.
//!
//! Says exactly how far it came, because that decides whether the request may be sent again. Retries nothing itself.

use std::future::poll_fn;
use std::task::Poll;

use super::pool::Connection;
use crate::http1::{FieldSpans, FramingError, head_end};
use crate::proxy::backend::response_head::{AnswerHead, Challenge, HEAD_LIMITS, Judged, Session, judge};
use crate::proxy::date::Clock;
use crate::proxy::io::{Parts, poll_read_more, read_more};

/// Interim answers (1xx) a backend may send before the real one.
const INTERIM_MAX: usize = 16;

/// An answer whose head has arrived.
pub(crate) struct Received {
    pub(crate) connection: Connection,
    pub(crate) head: AnswerHead,
    /// What came behind the head.
    pub(crate) rest: Vec<u8>,
    pub(crate) request: RequestSent,
}

/// How much of the request the backend took before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestSent {
    Whole,
    /// It answered early; the connection is of no further use.
    Part,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Not one byte was taken: no backend can have acted on it.
    Unsent,
    /// The connection ended before a byte came back.
    Silent,
    /// The connection ended before a complete head.
    Cut,
    /// What came is not an answer.
    Invalid(FramingError),
    TooManyInterim,
}

/// Sends `head` and `body` in one write and reads the response's head. `written` follows the bytes taken, so that it is
/// right even when the caller stops waiting.
pub(crate) async fn exchange(
    mut connection: Connection,
    head: &[u8],
    body: &[u8],
    session: Session,
    clock: &Clock,
    written: &mut usize,
) -> Result<Received, Failure> {
    let mut heads = Heads { raw: Vec::new(), scanned: 0, interim: 0, session, clock };
    let (request, mut found) = send(&mut connection, Parts::new([head, body]), &mut heads, written).await?;
    loop {
        if let Some(head) = found {
            return Ok(Received { connection, head, rest: heads.raw, request });
        }
        match read_more(&mut connection, &mut heads.raw).await {
            Ok(0) | Err(_) if heads.raw.is_empty() && heads.interim == 0 => return Err(Failure::Silent),
            Ok(0) | Err(_) => return Err(Failure::Cut),
            Ok(_) => found = heads.next(&mut connection.spans)?,
        }
    }
}

/// The heads that a backend sends for one request: interim ones, which are skipped, and the final one.
struct Heads<'c> {
    /// What has arrived and is not yet judged.
    raw: Vec<u8>,
    /// How much of it is known not to end a head.
    scanned: usize,
    interim: usize,
    session: Session,
    clock: &'c Clock,
}

impl Heads<'_> {
    /// The final head, if it has arrived; `raw` is then what lies behind it.
    fn next(&mut self, spans: &mut FieldSpans) -> Result<Option<AnswerHead>, Failure> {
        while let Some(end) = head_end(&self.raw, self.scanned, &HEAD_LIMITS).map_err(Failure::Invalid)? {
            let judged = judge(&self.raw[..end], spans, self.session, Challenge::Drop, self.clock);
            self.raw.drain(..end);
            self.scanned = 0;
            match judged.map_err(Failure::Invalid)? {
                Judged::Final(head) => return Ok(Some(head)),
                Judged::Interim if self.interim == INTERIM_MAX => return Err(Failure::TooManyInterim),
                Judged::Interim => self.interim += 1,
            }
        }
        self.scanned = self.raw.len();
        Ok(None)
    }
}

/// Writes everything, unless the backend sends its final head or closes first. An interim response changes nothing: the
/// backend may send one at any moment and still waits for the rest of the request (RFC 9110, 15.2).
async fn send(
    connection: &mut Connection,
    mut parts: Parts<'_>,
    heads: &mut Heads<'_>,
    written: &mut usize,
) -> Result<(RequestSent, Option<AnswerHead>), Failure> {
    poll_fn(|cx| {
        loop {
            let write = parts.poll_write(cx, connection);
            *written = parts.written();
            let closed = match write {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok((RequestSent::Whole, None))),
                Poll::Ready(Err(_broken)) => true,
                // The backend does not take more now. It may have answered from the head alone.
                Poll::Pending => match poll_read_more(cx, connection, &mut heads.raw) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0) | Err(_)) => true,
                    Poll::Ready(Ok(_)) => false,
                },
            };
            if closed && *written == 0 {
                return Poll::Ready(Err(Failure::Unsent));
            }
            match heads.next(&mut connection.spans) {
                Err(failure) => return Poll::Ready(Err(failure)),
                Ok(Some(head)) => return Poll::Ready(Ok((RequestSent::Part, Some(head)))),
                // It closed while we wrote; a response may lie before the end of what it sent.
                Ok(None) if closed => return Poll::Ready(Ok((RequestSent::Part, None))),
                Ok(None) => {}
            }
        }
    })
    .await
}
