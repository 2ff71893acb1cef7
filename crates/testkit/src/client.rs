//! Clients that send raw bytes and read strictly.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::in_time;
use crate::message::{self, Kind, Message, ReadError};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection to the guard.
pub struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// A JSON-RPC request.
pub fn call(id: u64, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
}

/// A JSON-RPC notification.
pub fn notification(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)
}

/// A whole request to the endpoint: `fields` are further header lines, each with its line end.
pub fn post(token: &str, fields: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl Client {
    pub fn unix(stream: UnixStream) -> Client {
        Client { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Over any stream, such as one of TLS.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
        Client { stream: Box::new(stream), buffer: Vec::new() }
    }

    pub fn tcp(stream: TcpStream) -> Client {
        Client { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("a write by the client", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("an open connection");
    }

    /// Sends bytes on a connection that may be closed; returns whether they were taken.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        in_time("a write by the client", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Closes the sending half.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("an open connection");
    }

    /// The next response.
    pub async fn response(&mut self) -> Message {
        self.try_response().await.expect("a whole response")
    }

    /// The next response, or how the connection ended.
    pub async fn try_response(&mut self) -> Result<Message, ReadError> {
        in_time("a response", message::read(&mut self.stream, &mut self.buffer, Kind::Response)).await
    }

    /// Sends a request and reads its response.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.response().await
    }

    /// Reads until `wanted` has arrived, and returns everything up to it.
    pub async fn until(&mut self, wanted: &str) -> String {
        let end = self.receives(wanted).await;
        String::from_utf8(self.buffer.drain(..end).collect()).expect("text")
    }

    /// Reads until `wanted` has arrived, and keeps it for the next reading; returns where it ends.
    pub async fn receives(&mut self, wanted: &str) -> usize {
        let reading = async {
            loop {
                let at = self.buffer.windows(wanted.len()).position(|window| window == wanted.as_bytes());
                if let Some(at) = at {
                    return at + wanted.len();
                }
                let read = self.stream.read_buf(&mut self.buffer).await.expect("an open connection");
                let so_far = String::from_utf8_lossy(&self.buffer);
                assert!(read > 0, "the connection ended before {wanted:?}: {so_far:?}");
            }
        };
        in_time(wanted, reading).await
    }

    /// Reads to the end of the connection. A reset is none: it may take back what was sent before.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        let reading = async {
            loop {
                match self.stream.read_buf(&mut rest).await {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => panic!("{error}"),
                    Err(_) => return,
                }
            }
        };
        in_time("the end of the connection", reading).await;
        rest
    }

    /// Whether the connection ends within `time`; what arrives before is discarded.
    pub async fn ended_within(&mut self, time: Duration) -> bool {
        let reading = async {
            loop {
                self.buffer.clear();
                if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0) {
                    return;
                }
            }
        };
        tokio::time::timeout(time, reading).await.is_ok()
    }

    /// Whether anything arrives within `time`.
    pub async fn receives_within(&mut self, time: Duration) -> bool {
        let arrived = !self.buffer.is_empty();
        arrived || tokio::time::timeout(time, self.stream.read_buf(&mut self.buffer)).await.is_ok()
    }
}
