//! Requests of a session that are no calls: the event stream (`GET`) and the end (`DELETE`) of MCP up to 2025-11-25.
//!
//! They pass only where a slot has `sessions`; everywhere else check 4 refuses them. Must not know slots or responses.

use super::Denial;
use crate::http1::{BodyLength, KnownField, Occurs, RequestHead};

/// What a request without a body does to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRequest {
    /// `GET`: what the server sends outside of calls, as an event stream.
    Stream,
    /// `DELETE`: the session ends.
    End,
}

impl SessionRequest {
    /// The method on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionRequest::Stream => "GET",
            SessionRequest::End => "DELETE",
        }
    }

    /// What `head` does to a session; `None` if it lacks what makes it such a request. 2025-11-25, Streamable HTTP: a `GET`
    /// "MUST include an Accept header, listing text/event-stream", and a `DELETE` comes "with the MCP-Session-Id header".
    pub(super) fn of(head: &RequestHead<'_>) -> Option<SessionRequest> {
        match head.method {
            b"GET" if accepts_events(head) => Some(SessionRequest::Stream),
            b"DELETE" if names_session(head) => Some(SessionRequest::End),
            _ => None,
        }
    }
}

/// Check 11: neither has a body. One that comes in chunks may have one.
pub(super) fn check_bodiless(body: BodyLength) -> Result<(), Denial> {
    match body {
        BodyLength::None | BodyLength::Bytes(0) => Ok(()),
        BodyLength::Bytes(_) | BodyLength::Chunked | BodyLength::UntilClose => Err(Denial::BodyTooLarge),
    }
}

/// Several values are refused by check 10.
fn names_session(head: &RequestHead<'_>) -> bool {
    match head.fields.occurs(KnownField::McpSessionId) {
        Occurs::Once(id) => !id.is_empty(),
        Occurs::Repeated => true,
        Occurs::Never => false,
    }
}

/// Whether `text/event-stream` is named: what takes anything (`*/*`) does not request a stream.
fn accepts_events(head: &RequestHead<'_>) -> bool {
    let accepts = head.fields.iter().filter(|field| field.known == KnownField::Accept);
    accepts.flat_map(|field| field.value.split(|byte| *byte == b',')).any(is_events)
}

/// RFC 9110, 12.4.2: a weight of 0 means "not acceptable".
fn is_events(range: &[u8]) -> bool {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let names = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(b"text/event-stream"));
    let is_zero = |part: &[u8]| {
        let weight = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
        weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
    };
    names && !parts.any(is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FieldSpans, HeadLimits, request};

    #[track_caller]
    fn check(method: &str, fields: &str, expect: Option<SessionRequest>) {
        let head = format!("{method} /mcp HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut spans = FieldSpans::default();
        let limits = HeadLimits { bytes_max: 4096, fields_max: 32 };
        let head = request::parse(head.as_bytes(), &mut spans, &limits).unwrap();
        assert_eq!(SessionRequest::of(&head), expect, "{method} {fields}");
    }

    #[test]
    fn a_get_opens_a_session_stream_by_naming_event_stream() {
        let stream = Some(SessionRequest::Stream);
        for (accept, expect) in [
            ("Accept: text/event-stream\r\n", stream),
            ("Accept: application/json, text/event-stream\r\n", stream),
            ("accept: application/json\r\nACCEPT: Text/Event-Stream;q=0.5\r\n", stream),
            ("Accept: text/event-stream ; charset=utf-8\r\n", stream),
            ("", None),
            ("Accept: */*\r\n", None),
            ("Accept: text/*\r\n", None),
            ("Accept: application/json\r\n", None),
            ("Accept: text/event-streams\r\n", None),
            ("Accept: text/event-stream;q=0\r\n", None),
            ("Accept: text/event-stream; Q=0.000\r\n", None),
            ("Mcp-Session-Id: s\r\n", None),
        ] {
            check("GET", accept, expect);
            check("HEAD", accept, None);
            check("get", accept, None);
        }
    }

    #[test]
    fn a_delete_names_the_session_that_ends() {
        let end = Some(SessionRequest::End);
        for (fields, expect) in [
            ("Mcp-Session-Id: s\r\n", end),
            ("mcp-session-id: s\r\nMcp-Session-Id: other\r\n", end),
            ("Mcp-Session-Id:\r\n", None),
            ("Mcp_Session_Id: s\r\n", None),
            ("Accept: text/event-stream\r\n", None),
        ] {
            check("DELETE", fields, expect);
            for method in ["PUT", "PATCH", "OPTIONS", "Delete"] {
                check(method, fields, None);
            }
        }
    }

    #[test]
    fn a_session_request_has_no_body() {
        assert_eq!(check_bodiless(BodyLength::None), Ok(()));
        assert_eq!(check_bodiless(BodyLength::Bytes(0)), Ok(()));
        for body in [BodyLength::Bytes(1), BodyLength::Chunked] {
            assert_eq!(check_bodiless(body), Err(Denial::BodyTooLarge));
        }
    }
}
