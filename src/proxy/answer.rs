//! The backend's answer: its head judged and turned into what the client gets. A function of bytes: no I/O, no state.

use super::clock::Clock;
use super::local::append_status_line;
use crate::http1::forward::passes_to_client;
use crate::http1::{BodyLength, FieldSpans, FramingError, HeadLimits, Known, Occurs, response};
use crate::wire::outcome::Format;

/// Bounds on a backend's head: generous, for it is on our side, but bounds.
pub(super) const HEAD_LIMITS: HeadLimits = HeadLimits { bytes_max: 64 * 1024, fields_max: 200 };

/// Room for an ordinary head, and for a short body behind it.
const RENDERED_BYTES: usize = 1024;

/// A well-formed answer's head.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) body: BodyLength,
    /// Whether the backend lets the connection live on.
    pub(super) keep_alive: bool,
    /// How the body says what became of the call.
    pub(super) format: Format,
    /// Status line and fields for the client; framing, `X-Request-Id` and the empty line are still missing.
    pub(super) rendered: Vec<u8>,
}

/// What a block of head bytes turned out to be.
#[derive(Debug)]
pub(super) enum Judged {
    Final(AnswerHead),
    /// 1xx: the real one is still to come.
    Interim,
}

/// Whether `Mcp-Session-Id` is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    Keep,
    Strip,
}

/// Judges `block`, which is exactly one head.
pub(super) fn judge(
    block: &[u8],
    spans: &mut FieldSpans,
    session: Session,
    clock: &Clock,
) -> Result<Judged, FramingError> {
    let head = response::parse(block, spans, &HEAD_LIMITS)?;
    if head.status < 200 {
        // Nothing we send asks for another protocol.
        return if head.status == 101 { Err(FramingError::Forbidden) } else { Ok(Judged::Interim) };
    }
    let mut rendered = Vec::with_capacity((block.len() + 256).max(RENDERED_BYTES));
    append_status_line(&mut rendered, head.status);
    head.fields.append_lines(&mut rendered, |field| {
        passes_to_client(field) && !(session == Session::Strip && field.known == Known::McpSessionId)
    });
    if head.fields.occurs(Known::Date) == Occurs::Never {
        clock.append_date(&mut rendered);
    }
    let format = match (head.fields.occurs(Known::ContentType), head.fields.occurs(Known::ContentEncoding)) {
        (Occurs::Once(kind), Occurs::Never) => Format::from_content_type(kind),
        (Occurs::Once(kind), Occurs::Once(coding)) if coding.eq_ignore_ascii_case(b"identity") => {
            Format::from_content_type(kind)
        }
        (Occurs::Never | Occurs::Once(_) | Occurs::Repeated, _) => Format::Opaque,
    };
    let (status, body, keep_alive) = (head.status, head.body, head.keep_alive);
    Ok(Judged::Final(AnswerHead { status, body, keep_alive, format, rendered }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(block: &str, session: Session) -> Result<Judged, FramingError> {
        judge(block.as_bytes(), &mut FieldSpans::default(), session, &Clock::new())
    }

    fn rendered(block: &str, session: Session) -> String {
        match judged(block, session).unwrap() {
            Judged::Final(head) => String::from_utf8(head.rendered).unwrap(),
            Judged::Interim => panic!("interim"),
        }
    }

    #[test]
    fn what_concerns_only_this_hop_or_the_backend_does_not_pass() {
        let text = rendered(
            "HTTP/1.1 200 Fine\r\nServer: uvicorn\r\nSet-Cookie: a=b\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
             Keep-Alive: 5\r\nMcp-Session-Id: s1\r\nContent-Type: application/json\r\nX-Own: v\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\n",
            Session::Keep,
        );
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nMcp-Session-Id: s1\r\nContent-Type: application/json\r\nX-Own: v\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        );
    }

    #[test]
    fn a_stateless_slot_hands_out_no_session() {
        let text = rendered("HTTP/1.1 202 A\r\nmcp-session-id: s\r\nDate: d\r\n\r\n", Session::Strip);
        assert_eq!(text, "HTTP/1.1 202 Accepted\r\nDate: d\r\n");
    }

    #[test]
    fn an_unasked_101_is_an_error_and_other_interim_answers_are_skipped() {
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
        assert!(judged(switching, Session::Keep).is_err());
        assert!(matches!(judged("HTTP/1.1 103 Hints\r\n\r\n", Session::Keep), Ok(Judged::Interim)));
    }
}
