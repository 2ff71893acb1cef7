//! An HTTP/1.1 message as a test sees it: start line, fields, body, read strictly from a stream.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request or an answer.
#[derive(Debug, Clone)]
pub struct Message {
    /// The bytes of the head, up to and with the empty line.
    pub head: String,
    /// The first line.
    pub start: String,
    pub fields: Vec<(String, String)>,
    /// The body, decoded if it was chunked.
    pub body: Vec<u8>,
}

impl Message {
    /// The status of an answer.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The id of a JSON-RPC request, if it is a number.
    pub fn try_id(&self) -> Option<u64> {
        serde_json::from_slice::<serde_json::Value>(&self.body).ok()?["id"].as_u64()
    }

    /// The value of the only field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} occurs more than once:\n{}", self.head);
        first
    }
}

/// Why there is no message.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The stream ended before the first byte.
    Closed,
    /// The stream ended inside of the message.
    Truncated,
}

/// Which message is read: that decides what a head without a length means, and whether a length means a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    ResponseToHead,
}

/// Reads one message; `buffer` keeps what lies behind it.
pub(crate) async fn read<R: AsyncRead + Unpin>(
    stream: &mut R,
    buffer: &mut Vec<u8>,
    kind: Kind,
) -> Result<Message, ReadError> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        let empty = buffer.is_empty();
        if !more(stream, buffer).await {
            return Err(if empty { ReadError::Closed } else { ReadError::Truncated });
        }
    };
    let head: String = String::from_utf8(buffer.drain(..end).collect()).expect("a head of text");
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let fields: Vec<(String, String)> = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a field line");
            (name.to_owned(), value.trim().to_owned())
        })
        .collect();
    let value = |name: &str| {
        fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    };
    let mut body = Vec::new();
    if kind == Kind::ResponseToHead {
        return Ok(Message { head, start, fields, body });
    }
    if let Some(length) = value("content-length") {
        let length: usize = length.parse().expect("a length");
        while buffer.len() < length {
            if !more(stream, buffer).await {
                return Err(ReadError::Truncated);
            }
        }
        body = buffer.drain(..length).collect();
    } else if value("transfer-encoding") == Some("chunked") {
        loop {
            let line = line(stream, buffer).await?;
            let size = usize::from_str_radix(&line, 16).expect("a chunk size");
            while buffer.len() < size + 2 {
                if !more(stream, buffer).await {
                    return Err(ReadError::Truncated);
                }
            }
            body.extend_from_slice(&buffer[..size]);
            assert_eq!(&buffer[size..size + 2], b"\r\n", "a chunk ends in CRLF");
            buffer.drain(..size + 2);
            if size == 0 {
                break;
            }
        }
    } else if kind == Kind::Response && !start.starts_with("HTTP/1.1 204 ") {
        while more(stream, buffer).await {}
        body = std::mem::take(buffer);
    }
    Ok(Message { head, start, fields, body })
}

/// Reads one request of a test's own backend.
pub async fn read_message<R: AsyncRead + Unpin>(
    stream: &mut R,
    buffer: &mut Vec<u8>,
) -> Result<Message, ReadError> {
    read(stream, buffer, Kind::Request).await
}

/// Reads one response that has arrived whole.
pub(crate) fn parse_response(mut bytes: &[u8], kind: Kind) -> Result<Message, ReadError> {
    let mut buffer = Vec::new();
    let reading = std::pin::pin!(read(&mut bytes, &mut buffer, kind));
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(message) => message,
        Poll::Pending => unreachable!("bytes in memory are always ready"),
    }
}

async fn line<R: AsyncRead + Unpin>(stream: &mut R, buffer: &mut Vec<u8>) -> Result<String, ReadError> {
    loop {
        if let Some(at) = find(buffer, b"\r\n") {
            let line: Vec<u8> = buffer.drain(..at + 2).collect();
            return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
        }
        if !more(stream, buffer).await {
            return Err(ReadError::Truncated);
        }
    }
}

/// Reads some more; a broken connection is an end too.
async fn more<R: AsyncRead + Unpin>(stream: &mut R, buffer: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(buffer).await, Ok(read) if read > 0)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
