//! One exchange on one backend connection: the request is sent, and the head of the response is received.
//!
//! An error says exactly how far the exchange came, because that decides whether the request may be sent again. Retries
//! nothing itself.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::pool::Connection;
use super::response_head::{
    FieldRules, HEAD_LIMITS, INFORMATIONAL_MAX, ParsedHead, ResponseHead, parse_response,
};
use crate::http1::{FieldSpans, FramingError, head_end};
use crate::proxy::io::{Parts, poll_read_more, read_more};

/// A response whose head has arrived.
pub(crate) struct Received {
    pub(crate) connection: Box<Connection>,
    pub(crate) head: ResponseHead,
    /// What arrived behind the head.
    pub(crate) rest: Vec<u8>,
    pub(crate) request: RequestSent,
}

/// How much of the request the backend took before it responded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestSent {
    Whole,
    /// The response is early; the connection is of no further use.
    Part,
}

/// Why an exchange, or the body of its response, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// Not one byte was taken: no backend can have acted on it.
    NotSent,
    /// The connection ended before the first byte of a response.
    NoResponse,
    /// The connection ended inside the response.
    ConnectionClosed,
    InvalidResponse(FramingError),
    TooManyInformational,
    /// The body is longer than may be buffered.
    TooLong,
    /// The body must be edited, and cannot be read without doubt.
    Unreadable,
}

impl ExchangeError {
    /// The value of `error.type` in a span.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            ExchangeError::NotSent => "not_sent",
            ExchangeError::NoResponse => "no_response",
            ExchangeError::ConnectionClosed => "connection_closed",
            ExchangeError::InvalidResponse(_) => "invalid_response",
            ExchangeError::TooManyInformational => "too_many_informational",
            ExchangeError::TooLong => "too_long",
            ExchangeError::Unreadable => "unreadable",
        }
    }
}

/// A request as it is written, and how much of it is.
pub(crate) struct OutgoingRequest<'r> {
    pub(crate) head: &'r [u8],
    pub(crate) body: &'r [u8],
    /// Bytes that the backend has taken, or may have: right even when the caller stops waiting.
    pub(crate) written: usize,
}

/// Sends `request` in one write and reads the head of its response.
pub(crate) async fn exchange(
    mut connection: Box<Connection>,
    request: &mut OutgoingRequest<'_>,
    rules: FieldRules<'_>,
) -> Result<Received, ExchangeError> {
    let mut heads = Heads { raw: Vec::new(), scanned: 0, informational: 0, rules };
    let (sent, mut found) = send(&mut connection, request, &mut heads).await?;
    loop {
        if let Some(head) = found {
            return Ok(Received { connection, head, rest: heads.raw, request: sent });
        }
        match read_more(&mut connection, &mut heads.raw).await {
            Ok(0) | Err(_) if heads.raw.is_empty() && heads.informational == 0 => {
                return Err(ExchangeError::NoResponse);
            }
            Ok(0) | Err(_) => return Err(ExchangeError::ConnectionClosed),
            Ok(_) => found = heads.next(&mut connection.spans)?,
        }
    }
}

/// The heads that a backend sends for one request: informational ones, which are skipped, and the final one.
struct Heads<'c> {
    /// What has arrived and is not yet parsed.
    raw: Vec<u8>,
    /// How much of it is known not to end a head.
    scanned: usize,
    informational: usize,
    rules: FieldRules<'c>,
}

impl Heads<'_> {
    /// The final head, if it has arrived; `raw` is then what lies behind it.
    fn next(&mut self, spans: &mut FieldSpans) -> Result<Option<ResponseHead>, ExchangeError> {
        let invalid = ExchangeError::InvalidResponse;
        while let Some(end) = head_end(&self.raw, self.scanned, &HEAD_LIMITS).map_err(invalid)? {
            let parsed = parse_response(&self.raw[..end], spans, self.rules);
            self.raw.drain(..end);
            self.scanned = 0;
            match parsed.map_err(invalid)? {
                ParsedHead::Final(head) => return Ok(Some(head)),
                ParsedHead::Informational if self.informational == INFORMATIONAL_MAX => {
                    return Err(ExchangeError::TooManyInformational);
                }
                ParsedHead::Informational => self.informational += 1,
            }
        }
        self.scanned = self.raw.len();
        Ok(None)
    }
}

/// Writes everything, unless the backend sends its final head or closes first. An informational response changes nothing:
/// the backend may send one at any moment and still waits for the rest of the request (RFC 9110, 15.2).
async fn send(
    connection: &mut Connection,
    request: &mut OutgoingRequest<'_>,
    heads: &mut Heads<'_>,
) -> Result<(RequestSent, Option<ResponseHead>), ExchangeError> {
    let mut parts = Parts::new([request.head, request.body]);
    poll_fn(|cx| {
        loop {
            // A backend that has not taken everything at once may have responded to the head alone. Then the rest is not sent.
            let early = match request.written {
                0 => Poll::Pending,
                _ => poll_read_more(cx, connection, &mut heads.raw),
            };
            let read = match early {
                Poll::Ready(read) => read,
                Poll::Pending => {
                    let write = parts.poll_write(cx, connection);
                    request.written = parts.written();
                    match write {
                        Poll::Ready(Ok(())) => return Poll::Ready(Ok((RequestSent::Whole, None))),
                        Poll::Ready(Err(broken)) => {
                            // TLS may have sent whole records of a write before the one that failed.
                            if connection.hides_what_was_sent() {
                                request.written = request.written.max(1);
                            }
                            Err(broken)
                        }
                        Poll::Pending => ready!(poll_read_more(cx, connection, &mut heads.raw)),
                    }
                }
            };
            let closed = matches!(read, Ok(0) | Err(_));
            if closed && request.written == 0 {
                return Poll::Ready(Err(ExchangeError::NotSent));
            }
            match heads.next(&mut connection.spans) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Some(head)) => return Poll::Ready(Ok((RequestSent::Part, Some(head)))),
                // The backend closed during the write; a response may lie before the end of what it sent.
                Ok(None) if closed => return Poll::Ready(Ok((RequestSent::Part, None))),
                Ok(None) => {}
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use mcp_testkit::Certificates;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::proxy::backend::pool::{Pool, PoolSettings};
    use crate::proxy::backend::response_head::{Challenge, SessionHeader};
    use crate::proxy::date::Clock;
    use crate::tls::{ClientTls, Expired, Pair, ServerTls};
    use crate::upstream::Address;

    async fn pool(tls: Option<ClientTls>) -> (TcpListener, Pool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = PoolSettings {
            address: Address::Tcp(listener.local_addr().unwrap()),
            tls,
            workers: 1,
            idle_max: 1,
            idle_time: Duration::from_secs(60),
            connect_time: Duration::from_secs(10),
        };
        (listener, Pool::new(settings, None))
    }

    /// Closes a connection with a reset, as a process that crashes does.
    fn reset(stream: TcpStream) {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }

    /// What the exchange says of a request on a connection that is reset already, and how much it says was taken.
    async fn after_a_reset(mut connection: Box<Connection>) -> (ExchangeError, usize) {
        while connection.is_idle_clean() {
            tokio::task::yield_now().await;
        }
        let clock = Clock::new();
        let rules = FieldRules { session: SessionHeader::Pass, challenge: Challenge::Drop, clock: &clock };
        let mut request = OutgoingRequest { head: b"POST / HTTP/1.1\r\n\r\n", body: b"", written: 0 };
        let failed = exchange(connection, &mut request, rules).await.err().unwrap();
        (failed, request.written)
    }

    #[tokio::test]
    async fn a_write_that_fails_is_not_sent_in_clear_and_may_have_been_over_tls() {
        let (listener, pool_in_clear) = pool(None).await;
        let (opened, accepted) = tokio::join!(pool_in_clear.connect(), listener.accept());
        reset(accepted.unwrap().0);
        assert_eq!(after_a_reset(opened.unwrap()).await, (ExchangeError::NotSent, 0));

        let certificates = Certificates::new();
        certificates.issue("server", "DNS:a.example", "ca");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let (certificate, key) = (certificates.text("server.pem"), certificates.text("server.key"));
        let pair = Pair::new(&certificate, &key, now, Expired::Refused).unwrap();
        let acceptor = ServerTls::new(&pair, &[], None).unwrap().acceptor();
        let tls = ClientTls::new("a.example", Some(&certificates.text("ca.pem")), None).unwrap();
        let (listener, pool_over_tls) = pool(Some(tls)).await;
        let accepting = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let (opened, accepted) = tokio::join!(pool_over_tls.connect(), accepting);
        reset(accepted.into_inner().0);
        let (failed, written) = after_a_reset(opened.unwrap()).await;
        assert_eq!(failed, ExchangeError::NoResponse, "records of a write may be sent before one fails");
        assert!(written > 0);
    }
}
