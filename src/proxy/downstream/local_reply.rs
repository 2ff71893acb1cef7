//! Local replies as bytes, and the connection field of every response.

use crate::http1::{RequestHead, Version};
use crate::policy::cors::{AllowedOrigin, Preflight};
use crate::policy::reply::Reply;
use crate::proxy::date::Clock;
use crate::proxy::head_writer::{append_field, append_length, append_line, append_status_line};

/// What a response says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// Keep-alive without a field: the default of HTTP/1.1.
    Implicit,
    /// Keep-alive with a field: the default of HTTP/1.0 is to close.
    Explicit,
    Close,
}

impl KeepAlive {
    /// What the request asks for.
    pub(crate) fn requested(head: &RequestHead<'_>) -> KeepAlive {
        match (head.keep_alive, head.version) {
            (false, _) => KeepAlive::Close,
            (true, Version::Http10) => KeepAlive::Explicit,
            (true, Version::Http11) => KeepAlive::Implicit,
        }
    }

    /// The field line, or nothing.
    pub(crate) fn header(self) -> &'static [u8] {
        match self {
            KeepAlive::Implicit => b"",
            KeepAlive::Explicit => b"Connection: keep-alive\r\n",
            KeepAlive::Close => b"Connection: close\r\n",
        }
    }
}

/// Whether the body is sent: a response to HEAD declares it but does not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyMode {
    Full,
    HeadOnly,
}

impl BodyMode {
    pub(crate) fn of(head: &RequestHead<'_>) -> BodyMode {
        if head.method == b"HEAD" { BodyMode::HeadOnly } else { BodyMode::Full }
    }
}

/// The fields that every local reply has.
pub(crate) struct ReplyHead<'r> {
    pub(crate) request_id: &'r str,
    pub(crate) clock: &'r Clock,
    /// The time of day in seconds since the epoch, for `Date`.
    pub(crate) now: u64,
    pub(crate) keep_alive: KeepAlive,
}

impl ReplyHead<'_> {
    /// A complete local reply. `origin` may read it.
    pub(crate) fn reply(&self, reply: &Reply, mode: BodyMode, origin: Option<AllowedOrigin<'_>>) -> Vec<u8> {
        let mut out = Vec::with_capacity((256 + reply.body.len()).next_power_of_two());
        append_status_line(&mut out, reply.status);
        out.extend_from_slice(b"Content-Type: application/json\r\n");
        append_length(&mut out, reply.body.len() as u64);
        append_line(&mut out, b"X-Request-Id: ", self.request_id.as_bytes());
        if let Some(seconds) = reply.retry_after {
            append_field(&mut out, b"Retry-After", itoa::Buffer::new().format(seconds).as_bytes());
        }
        if let Some((name, value)) = &reply.extra {
            append_field(&mut out, name.as_bytes(), value.as_bytes());
        }
        if let Some(origin) = origin {
            origin.append_fields(&mut out);
        }
        self.finish(&mut out);
        if mode == BodyMode::Full {
            out.extend_from_slice(&reply.body);
        }
        out
    }

    /// The reply to a preflight: 204, without content.
    pub(crate) fn preflight(&self, preflight: &Preflight<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        append_status_line(&mut out, 204);
        append_line(&mut out, b"X-Request-Id: ", self.request_id.as_bytes());
        preflight.append_fields(&mut out);
        self.finish(&mut out);
        out
    }

    fn finish(&self, out: &mut Vec<u8>) {
        self.clock.append_date(self.now, out);
        out.extend_from_slice(self.keep_alive.header());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_head<'r>(request_id: &'r str, clock: &'r Clock, keep_alive: KeepAlive) -> ReplyHead<'r> {
        ReplyHead { request_id, clock, now: 784_111_777, keep_alive }
    }

    #[test]
    fn a_local_reply_is_complete_and_carries_the_request_id() {
        let clock = Clock::new();
        let reply = Reply {
            status: 503,
            retry_after: Some(1),
            extra: Some(("Allow", "POST".into())),
            body: b"{}".as_slice().into(),
        };
        let bytes = reply_head("id-1", &clock, KeepAlive::Close).reply(&reply, BodyMode::Full, None);
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
    fn a_local_reply_to_head_declares_its_body_but_does_not_carry_it() {
        let clock = Clock::new();
        let reply = Reply { status: 200, retry_after: None, extra: None, body: b"{}".as_slice().into() };
        let bytes = reply_head("i", &clock, KeepAlive::Implicit).reply(&reply, BodyMode::HeadOnly, None);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("Content-Length: 2\r\n") && text.ends_with("\r\n\r\n"));
    }
}
