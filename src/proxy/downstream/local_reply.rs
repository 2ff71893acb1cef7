//! Local replies as bytes, and the connection field of every response.

use crate::http1::digits::Decimal;
use crate::http1::{RequestHead, Version};
use crate::policy::cors::{AllowedOrigin, Preflight};
use crate::policy::reply::Reply;
use crate::proxy::date::Clock;
use crate::proxy::head_writer::{append_field, append_length, append_line, append_status_line};

/// What an answer says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    Implicit,
    /// HTTP/1.0 has to be told.
    Explicit,
    Close,
}

impl KeepAlive {
    /// What this request asks for.
    pub(crate) fn requested(head: &RequestHead<'_>) -> KeepAlive {
        match (head.keep_alive, head.version) {
            (false, _) => KeepAlive::Close,
            (true, Version::Http10) => KeepAlive::Explicit,
            (true, Version::Http11) => KeepAlive::Implicit,
        }
    }

    /// The field line for it.
    pub(crate) fn header(self) -> &'static [u8] {
        match self {
            KeepAlive::Implicit => b"",
            KeepAlive::Explicit => b"Connection: keep-alive\r\n",
            KeepAlive::Close => b"Connection: close\r\n",
        }
    }
}

/// Whether the body is sent: an answer to HEAD declares it but does not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Full,
    HeadOnly,
}

impl Content {
    pub(crate) fn of(head: &RequestHead<'_>) -> Content {
        if head.method == b"HEAD" { Content::HeadOnly } else { Content::Full }
    }
}

/// A complete answer of the guard's own.
pub(crate) fn render(
    reply: &Reply,
    request_id: &str,
    clock: &Clock,
    keep_alive: KeepAlive,
    content: Content,
    origin: Option<AllowedOrigin<'_>>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity((256 + reply.body.len()).next_power_of_two());
    append_status_line(&mut out, reply.status);
    out.extend_from_slice(b"Content-Type: application/json\r\n");
    append_length(&mut out, reply.body.len() as u64);
    append_line(&mut out, b"X-Request-Id: ", request_id.as_bytes());
    if let Some(seconds) = reply.retry_after {
        append_field(&mut out, b"Retry-After", Decimal::new(seconds).as_bytes());
    }
    if let Some((name, value)) = &reply.extra {
        append_field(&mut out, name.as_bytes(), value.as_bytes());
    }
    if let Some(origin) = origin {
        origin.append_fields(&mut out);
    }
    clock.append_date(&mut out);
    out.extend_from_slice(keep_alive.header());
    out.extend_from_slice(b"\r\n");
    if content == Content::Full {
        out.extend_from_slice(&reply.body);
    }
    out
}

/// The answer to a preflight: 204, without content.
pub(crate) fn render_preflight(
    preflight: &Preflight<'_>,
    request_id: &str,
    clock: &Clock,
    keep_alive: KeepAlive,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    append_status_line(&mut out, 204);
    append_line(&mut out, b"X-Request-Id: ", request_id.as_bytes());
    preflight.append_fields(&mut out);
    clock.append_date(&mut out);
    out.extend_from_slice(keep_alive.header());
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_and_carries_the_request_id() {
        let reply = Reply {
            status: 503,
            retry_after: Some(1),
            extra: Some(("Allow", "POST".into())),
            body: b"{}".as_slice().into(),
        };
        let bytes = render(&reply, "id-1", &Clock::new(), KeepAlive::Close, Content::Full, None);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("Date: ")).collect();
        assert_eq!(lines.remove(0), "HTTP/1.1 503 Service Unavailable");
        lines.sort_unstable();
        let expected = [
            "Allow: POST",
            "Connection: close",
            "Content-Length: 2",
            "Content-Type: application/json",
            "Retry-After: 1",
            "X-Request-Id: id-1",
        ];
        assert_eq!((lines.as_slice(), body), (expected.as_slice(), "{}"));
    }

    #[test]
    fn an_answer_to_head_declares_its_body_but_does_not_carry_it() {
        let reply = Reply { status: 200, retry_after: None, extra: None, body: b"{}".as_slice().into() };
        let bytes = render(&reply, "i", &Clock::new(), KeepAlive::Implicit, Content::HeadOnly, None);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("Content-Length: 2\r\n") && text.ends_with("\r\n\r\n"));
    }
}
