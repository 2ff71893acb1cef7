//! Answers: what the scripted backend gives to a request, and a strict reader of what a client gets.

use crate::bodies;
use crate::dice::mix;

/// How the backend answers a request, which only its number decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Length,
    Chunked,
    /// An event stream in chunks, after an interim answer.
    EventsAfterHints,
    UntilClose,
    EventsUntilClose,
    /// 400 with a JSON-RPC error, which is an answer.
    RpcError,
}

impl Form {
    pub(crate) fn of(number: u64) -> Form {
        match mix(number) % 10 {
            0..4 => Form::Length,
            4 | 5 => Form::Chunked,
            6 => Form::EventsAfterHints,
            7 => Form::UntilClose,
            8 => Form::EventsUntilClose,
            _ => Form::RpcError,
        }
    }
}

/// The body of the answer to a request.
pub(crate) fn body(number: u64) -> Vec<u8> {
    let id = bodies::id(number);
    let filler = "0\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\n\u{e9} "
        .repeat(usize::try_from(mix(number) >> 32).unwrap_or(0) % 20);
    let text = format!("answer-{number}- {filler}");
    let result = format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}");
    let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
    match Form::of(number) {
        Form::Length | Form::Chunked | Form::UntilClose => message.into_bytes(),
        Form::EventsAfterHints | Form::EventsUntilClose => {
            format!(": answer-{number}-\n\nevent: message\ndata: {message}\n\n").into_bytes()
        }
        Form::RpcError => {
            let error = format!("{{\"code\":-32602,\"message\":\"{text}\"}}");
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into_bytes()
        }
    }
}

/// The whole answer as bytes, and whether the connection ends with it.
pub(crate) fn whole(number: u64, is_notification: bool) -> (Vec<u8>, bool) {
    if is_notification {
        return (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec(), false);
    }
    let body = body(number);
    let form = Form::of(number);
    let kind = match form {
        Form::EventsAfterHints | Form::EventsUntilClose => "text/event-stream",
        Form::Length | Form::Chunked | Form::UntilClose | Form::RpcError => "application/json",
    };
    let start = match form {
        Form::RpcError => "HTTP/1.1 400 Bad Request\r\n",
        Form::EventsAfterHints => "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n",
        Form::Length | Form::Chunked | Form::UntilClose | Form::EventsUntilClose => "HTTP/1.1 200 OK\r\n",
    };
    let (length, body) = match form {
        Form::Length | Form::RpcError => (format!("Content-Length: {}\r\n", body.len()), body),
        Form::Chunked | Form::EventsAfterHints => {
            ("Transfer-Encoding: chunked\r\n".to_owned(), in_chunks(&body))
        }
        Form::UntilClose | Form::EventsUntilClose => ("Connection: close\r\n".to_owned(), body),
    };
    let head = format!("{start}Content-Type: {kind}\r\nServer: scripted\r\n{length}\r\n");
    let ends = matches!(form, Form::UntilClose | Form::EventsUntilClose);
    ([head.into_bytes(), body].concat(), ends)
}

fn in_chunks(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in body.chunks(37) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// An answer as a client reads it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The answer says that the connection ends, or its body ends with the connection.
    pub(crate) closes: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// What stands at the start of what has arrived.
pub(crate) enum Read {
    /// A final answer, and how many bytes it and the interim ones before it take.
    Whole(Answer, usize),
    /// More is to come.
    Part,
    /// The connection ended, behind interim answers at most.
    Nothing,
    Malformed(String),
}

/// Reads the first final answer. `is_ended` means that no more will arrive.
pub(crate) fn read(bytes: &[u8], is_ended: bool) -> Read {
    let mut at = 0;
    loop {
        if is_ended && at == bytes.len() {
            return Read::Nothing;
        }
        let Some(length) = memchr::memmem::find(&bytes[at..], b"\r\n\r\n") else { return Read::Part };
        let head = String::from_utf8_lossy(&bytes[at..at + length + 2]).into_owned();
        at += length + 4;
        let status = match status(&head) {
            Ok(status) => status,
            Err(problem) => return Read::Malformed(problem),
        };
        if (100..200).contains(&status) {
            continue;
        }
        return match content(&head, status, &bytes[at..], is_ended) {
            Ok(Some((body, used, is_open))) => {
                let says_close =
                    field(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                Read::Whole(Answer { status, head, body, closes: says_close || is_open }, at + used)
            }
            Ok(None) => Read::Part,
            Err(problem) => Read::Malformed(problem),
        };
    }
}

fn status(head: &str) -> Result<u16, String> {
    let line = head.split("\r\n").next().unwrap_or_default();
    let digits = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status =
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("status line {line:?}"))?;
    let bad = head.split("\r\n").skip(1).find(|line| !line.is_empty() && !line.contains(':'));
    bad.map_or(Ok(status), |line| Err(format!("field line {line:?}")))
}

type Content = (Vec<u8>, usize, bool);

/// The body, how many bytes it takes, and whether it ends with the connection.
fn content(head: &str, status: u16, bytes: &[u8], is_ended: bool) -> Result<Option<Content>, String> {
    if matches!(status, 204 | 304) {
        return Ok(Some((Vec::new(), 0, false)));
    }
    match (field(head, "content-length"), field(head, "transfer-encoding")) {
        (Some(_), Some(_)) => Err("two lengths".to_owned()),
        (Some(length), None) => {
            let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
            Ok(bytes.get(..length).map(|body| (body.to_vec(), length, false)))
        }
        (None, Some("chunked")) => chunks(bytes),
        (None, Some(other)) => Err(format!("coding {other:?}")),
        (None, None) => Ok(is_ended.then(|| (bytes.to_vec(), bytes.len(), true))),
    }
}

fn chunks(bytes: &[u8]) -> Result<Option<Content>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = memchr::memmem::find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = usize::from_str_radix(&text, 16).map_err(|_| format!("chunk size {text:?}"))?;
        at += line + 2;
        let Some(end) = bytes.get(at + size..at + size + 2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(format!("chunk ends in {end:?}"));
        }
        body.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at, false)));
        }
    }
}

#[test]
fn a_100_continue_is_no_final_response() {
    let invitation = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert!(matches!(read(invitation, true), Read::Nothing) && matches!(read(invitation, false), Read::Part));
    assert!(matches!(read(&invitation[..20], true), Read::Part));
}
