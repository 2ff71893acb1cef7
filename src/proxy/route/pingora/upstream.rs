//! The backend as pingora-proxy sees it: every answer's head and framing judged on raw bytes before Pingora reads them.
//!
//! Interim answers are swallowed, a `101` passes only where it was asked for, a malformed answer ends the connection, and
//! nothing passes behind the end of the body. One connection serves one request. Must not know clients or policy.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, FieldSpans, FramingError, Known, Occurs, ResponseHead, head_end, response};
use crate::proxy::backend::response_head::HEAD_LIMITS;
use crate::proxy::downstream::local_reply::append_field;
use crate::proxy::io::poll_read_more;
use crate::proxy::route::pingora::bridge::{Exchange, NoAnswer};
use crate::upstream::Address;

/// Interim answers (1xx) a backend may send before the real one.
const INTERIM_MAX: usize = 16;

/// How often Pingora finds nothing to read before it is shown a consent.
///
/// Pingora tells its half that writes to the backend that the request has no body. If that half sees a consent first, it
/// takes the message for the end of the tunnel and hangs up. Both halves are polled in turn, so that between two of its
/// polls it has been told, and it looks for messages whenever there is nothing to read.
const CONSENT_POLLS: u8 = 2;

/// Opens the connection of one exchange.
#[derive(Debug)]
pub(crate) struct Dialer {
    exchange: Arc<Exchange>,
}

impl Dialer {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Dialer {
        Dialer { exchange }
    }
}

#[async_trait]
impl L4Connect for Dialer {
    async fn connect(&self, _address: &SocketAddr) -> pingora::Result<Stream> {
        let exchange = &self.exchange;
        let opened = match tokio::time::timeout(exchange.connect, open(&exchange.address)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match opened {
            Ok(socket) => {
                let far = Far::new(socket, exchange.clone());
                Ok(VirtualSocketStream::new(Box::new(far)).into())
            }
            Err(cause) => {
                exchange.fail(NoAnswer::Unreachable(cause.kind()));
                Err(pingora::Error::because(pingora::ErrorType::ConnectError, "dial", cause))
            }
        }
    }
}

async fn open(address: &Address) -> io::Result<Socket> {
    Ok(match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Bytes for S {}
type Socket = Box<dyn Bytes>;

/// A connection to a backend whose answer is judged as it arrives.
struct Far {
    socket: Socket,
    exchange: Arc<Exchange>,
    /// What arrived: of the head, what is not judged yet; of the body, what is not passed on yet.
    raw: Vec<u8>,
    scanned: usize,
    interim: usize,
    /// Times that a consent which has arrived was not shown yet.
    held: u8,
    stage: Stage,
}

enum Stage {
    Head,
    Body(Body),
    /// Nothing more may come.
    Done,
}

/// What may follow the head.
enum Body {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Tunnel,
}

impl Far {
    fn new(socket: Socket, exchange: Arc<Exchange>) -> Far {
        Far { socket, exchange, raw: Vec::new(), scanned: 0, interim: 0, held: 0, stage: Stage::Head }
    }

    /// Looks for the final head in what has arrived. What is found good stays in `raw`, to be passed on.
    fn judge_head(&mut self) -> Result<Option<usize>, FramingError> {
        while let Some(end) = head_end(&self.raw, self.scanned, &HEAD_LIMITS)? {
            let mut spans = FieldSpans::default();
            let head = response::parse(&self.raw[..end], &mut spans, &HEAD_LIMITS)?;
            let body = match head.status {
                101 if self.exchange.upgrade && switches_to_websocket(&head) => Body::Tunnel,
                101 => return Err(FramingError::Forbidden),
                100..=199 if self.interim == INTERIM_MAX => return Err(FramingError::StatusLine),
                100..=199 => {
                    self.interim += 1;
                    self.raw.drain(..end);
                    self.scanned = 0;
                    continue;
                }
                _ => body_of(&head, self.exchange.head_only),
            };
            let passed = without_nominated(&self.raw[..end], &head);
            self.raw.splice(..end, passed.iter().copied());
            self.exchange.answer();
            self.stage = Stage::Body(body);
            return Ok(Some(passed.len()));
        }
        self.scanned = self.raw.len();
        Ok(None)
    }

    /// Judges `raw[from..]`, which is of the body. What lies behind the body's end was not asked for and is dropped.
    fn judge_body(&mut self, from: usize) -> Result<(), FramingError> {
        let Stage::Body(body) = &mut self.stage else {
            self.raw.truncate(from);
            return Ok(());
        };
        let end = match body {
            Body::UntilClose | Body::Tunnel => None,
            Body::Length(left) => {
                let arrived = (self.raw.len() - from) as u64;
                let ours = arrived.min(*left);
                *left -= ours;
                (*left == 0).then_some(from + usize::try_from(ours).unwrap_or_default())
            }
            Body::Chunked(decoder) => end_of_chunks(decoder, &self.raw[from..])?.map(|end| from + end),
        };
        if let Some(end) = end {
            self.raw.truncate(end);
            self.stage = Stage::Done;
        }
        Ok(())
    }

    /// Turns what has just arrived into what may be passed on.
    fn judge(&mut self, from: usize) -> Result<(), FramingError> {
        match self.stage {
            Stage::Head => match self.judge_head()? {
                Some(end) => self.judge_body(end),
                None => Ok(()),
            },
            Stage::Body(_) | Stage::Done => self.judge_body(from),
        }
    }

    fn may_pass(&self) -> bool {
        !matches!(self.stage, Stage::Head) && !self.raw.is_empty()
    }
}

fn body_of(head: &ResponseHead<'_>, head_only: bool) -> Body {
    match head.body {
        _ if head_only => Body::Length(0),
        BodyLength::None => Body::Length(0),
        BodyLength::Bytes(length) => Body::Length(length),
        BodyLength::Chunked => Body::Chunked(Decoder::new()),
        BodyLength::UntilClose => Body::UntilClose,
    }
}

/// The head without the fields that `Connection` names: Pingora writes a `Connection` of its own, behind which nobody could
/// tell them from others. Framing is not the backend's to take away.
fn without_nominated(block: &[u8], head: &ResponseHead<'_>) -> Vec<u8> {
    let line = block.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut out = Vec::with_capacity(block.len());
    out.extend_from_slice(line);
    for field in head.fields.iter() {
        let needed = matches!(
            field.known,
            Known::Connection | Known::ContentLength | Known::TransferEncoding | Known::Upgrade
        );
        if needed || !field.nominated {
            append_field(&mut out, field.name, field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Where in `bytes` the chunked body ends, if it does.
fn end_of_chunks(decoder: &mut Decoder, bytes: &[u8]) -> Result<Option<usize>, FramingError> {
    let mut at = 0;
    loop {
        match decoder.next(&bytes[at..])? {
            Piece::Data { end, .. } => at += end,
            Piece::More { .. } => return Ok(None),
            Piece::End { consumed } => return Ok(Some(at + consumed)),
        }
    }
}

/// RFC 6455, 4.2.2.
fn switches_to_websocket(head: &ResponseHead<'_>) -> bool {
    matches!(head.fields.occurs(Known::Upgrade), Occurs::Once(value) if value.eq_ignore_ascii_case(b"websocket"))
}

impl AsyncRead for Far {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let far = self.get_mut();
        while !far.may_pass() {
            if matches!(far.stage, Stage::Done) {
                return Poll::Ready(Ok(()));
            }
            let from = far.raw.len();
            match ready!(poll_read_more(cx, &mut far.socket, &mut far.raw)) {
                Ok(0) => {
                    far.exchange.fail(NoAnswer::Closed);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => {}
                Err(cause) => {
                    far.exchange.fail(NoAnswer::Closed);
                    return Poll::Ready(Err(cause));
                }
            }
            if let Err(error) = far.judge(from) {
                far.exchange.fail(NoAnswer::Invalid(error));
                far.stage = Stage::Done;
                far.raw.clear();
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        if matches!(far.stage, Stage::Body(Body::Tunnel)) && far.held < CONSENT_POLLS {
            far.held += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = buffer.remaining().min(far.raw.len());
        buffer.put_slice(&far.raw[..length]);
        far.raw.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Far {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl VirtualSocket for Far {
    /// The options were set when the connection was opened.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far").field("address", &self.exchange.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// How often a reader finds nothing before it is shown this answer, all of which has arrived.
    async fn polls_before(answer: &[u8]) -> u8 {
        let (near, mut backend) = tokio::io::duplex(1024);
        backend.write_all(answer).await.unwrap();
        let address = Address::Unix("/nonexistent".into());
        let exchange = Exchange::new(address, Duration::from_secs(1), true, false);
        let mut far = Far::new(Box::new(near), Arc::new(exchange));
        let mut polls = 0;
        let mut shown = [0; 64];
        std::future::poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut shown);
            let read = Pin::new(&mut far).poll_read(cx, &mut buffer);
            polls += u8::from(read.is_pending());
            read
        })
        .await
        .unwrap();
        assert!(shown.starts_with(&answer[..12]));
        polls
    }

    // pingora-proxy 0.9.1, proxy_h1.rs: its two halves are polled in turn, either of them first.
    #[tokio::test]
    async fn a_consent_is_shown_when_both_halves_of_pingora_have_had_their_turn() {
        let consent =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(polls_before(consent).await, 2);
        assert_eq!(polls_before(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await, 0);
    }
}
