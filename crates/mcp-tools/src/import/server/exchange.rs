//! One HTTP/1.1 exchange with an MCP server on a connection of its own, bounded in bytes.
//!
//! A response may be JSON or an event stream, which is read until the response to the request is in it. Must not know
//! methods of MCP.

use std::fmt::Display;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use serde_json::Value;
use tokio::net::UnixStream;

use super::error::ServerError;
use super::target::Target;
use crate::http_client::{ConnectError, Connection, TlsSettings, USER_AGENT};

/// How much of a body an error repeats.
const EXCERPT_LETTERS_MAX: usize = 200;

/// A server and what is sent with every request to it.
pub(super) struct Peer {
    pub(super) target: Target,
    /// For errors.
    pub(super) place: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) tls: TlsSettings,
}

/// A response, as far as it is needed.
pub(super) struct ServerResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The message with the id that was asked for.
    pub(super) message: Option<Value>,
    pub(super) excerpt: String,
}

impl Peer {
    /// Posts `body`; reads until the message with `id` is there, within `bytes_left`, which shrinks.
    pub(super) async fn post(
        &self,
        method: &str,
        headers: &HeaderMap,
        body: String,
        id: Option<u64>,
        bytes_left: &mut usize,
    ) -> Result<ServerResponse, ServerError> {
        let sent = Sent { peer: self, method, headers, body, id };
        let connected = match &self.target {
            Target::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Connection::over(stream).await,
                Err(error) => Err(ConnectError::Unreachable(error.to_string())),
            },
            Target::Tcp { origin, .. } => origin.connect(&self.tls).await,
        };
        let mut connection = connected.map_err(|error| match error {
            ConnectError::Unreachable(reason) => ServerError::Connect { place: self.place.clone(), reason },
            ConnectError::Broken(reason) => sent.broken(reason),
        })?;
        let request = sent.request().map_err(|error| sent.broken(error))?;
        let response = connection.send(request).await.map_err(|error| sent.broken(error))?;
        sent.read(response, bytes_left).await
    }
}

/// A request ready to be sent.
struct Sent<'a> {
    peer: &'a Peer,
    method: &'a str,
    headers: &'a HeaderMap,
    body: String,
    id: Option<u64>,
}

impl Sent<'_> {
    fn request(&self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::post(self.peer.target.path())
            .header(HOST, self.peer.target.authority())
            .header(ACCEPT, "application/json, text/event-stream")
            .header(CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &self.peer.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(self.body.clone())))
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        bytes_left: &mut usize,
    ) -> Result<ServerResponse, ServerError> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_stream = kind.to_ascii_lowercase().starts_with("text/event-stream");
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        let mut message = None;
        // Nothing that a notification is acknowledged with is needed, and its stream may stay open.
        while self.id.is_some() && message.is_none() {
            let Some(frame) = body.frame().await else { break };
            let Ok(data) = frame.map_err(|error| self.broken(error))?.into_data() else { continue };
            let place = self.peer.place.clone();
            *bytes_left = bytes_left.checked_sub(data.len()).ok_or(ServerError::TooLarge { place })?;
            bytes.extend_from_slice(&data);
            if is_stream {
                message = self.in_stream(&mut bytes);
            }
        }
        if !is_stream {
            message = self.wanted(&bytes);
        }
        Ok(ServerResponse { status, headers, message, excerpt: excerpt(&bytes) })
    }

    /// The message in the events that are whole; those that are another message are dropped.
    fn in_stream(&self, bytes: &mut Vec<u8>) -> Option<Value> {
        while let Some((event, length)) = first_event(bytes) {
            let found = self.wanted(event.as_bytes());
            if found.is_some() {
                return found;
            }
            bytes.drain(..length);
        }
        None
    }

    fn wanted(&self, bytes: &[u8]) -> Option<Value> {
        let message: Value = serde_json::from_slice(bytes).ok()?;
        let is_response = message.get("result").is_some() || message.get("error").is_some();
        // A server that could not read the request does not know its id.
        let id = message.get("id");
        let is_wanted = id.and_then(Value::as_u64) == self.id
            || (id.is_none_or(Value::is_null) && message.get("error").is_some());
        (is_response && is_wanted).then_some(message)
    }

    fn broken(&self, error: impl Display) -> ServerError {
        let (place, method) = (self.peer.place.clone(), self.method.to_owned());
        ServerError::Broken { place, method, reason: error.to_string() }
    }
}

/// The data of the first event that has its empty line, and how many bytes it takes.
fn first_event(bytes: &[u8]) -> Option<(String, usize)> {
    let mut data: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    loop {
        let rest = bytes.get(start..)?;
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let (line, ending) = rest.split_at(end);
        let width = if ending.starts_with(b"\r\n") { 2 } else { 1 };
        start += end + width;
        if line.is_empty() {
            return Some((String::from_utf8_lossy(&data.join(&b'\n')).into_owned(), start));
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            data.push(value.strip_prefix(b" ").unwrap_or(value));
        }
    }
}

/// The beginning of a body on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..EXCERPT_LETTERS_MAX * 4).unwrap_or(body));
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let line: String = text.chars().map(plain).take(EXCERPT_LETTERS_MAX).collect();
    if line.trim().is_empty() { "an empty body".to_owned() } else { line.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stream: &str, expected: Option<(&str, usize)>) {
        let found = first_event(stream.as_bytes());
        assert_eq!(found.as_ref().map(|(data, length)| (data.as_str(), *length)), expected, "{stream:?}");
    }

    #[test]
    fn an_event_ends_at_an_empty_line_whatever_ends_the_lines() {
        check("data: {}\n\n", Some(("{}", 10)));
        check("event: message\r\ndata: a\r\ndata:b\r\n\r\ndata: c", Some(("a\nb", 35)));
        check(": ping\n\nrest", Some(("", 8)));
        check("data: {}\n", None);
        check("", None);
    }
}
