//! The head of a backend's response: parsed, checked, and turned into what the client gets. A function of bytes: no I/O, no
//! state.

use crate::http1::hop_by_hop::passes_to_client;
use crate::http1::{
    BodyLength, Field, FieldSpans, Fields, FramingError, HeadLimits, KnownField, Occurs, response,
};
use crate::proxy::date::Clock;
use crate::proxy::head_writer::append_status_line;
use crate::upstream::Secrets;
use crate::wire::response_scan::Format;

/// Bounds on a backend's head: generous, because the operator runs the backend, but bounds.
pub(crate) const HEAD_LIMITS: HeadLimits = HeadLimits { bytes_max: 64 * 1024, fields_max: 200 };

/// Informational responses (1xx) that a backend may send before the final one.
pub(crate) const INFORMATIONAL_MAX: usize = 16;

/// Bytes of an ordinary head, and of a short body behind it.
const RENDERED_BYTES: usize = 1024;

/// The head of a well-formed response.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) body: BodyLength,
    /// Whether the backend lets the connection live on.
    pub(crate) keep_alive: bool,
    /// How the body is to be scanned.
    pub(crate) format: Format,
    /// Status line and fields for the client; framing, `X-Request-Id` and the empty line are still missing.
    pub(crate) rendered: Vec<u8>,
    /// The field of which clients read one value, and the backend sent two.
    pub(crate) conflict: Option<&'static str>,
    /// The target of a redirect as the backend sent it: for the log only through `show_location`.
    pub(crate) location: Option<Vec<u8>>,
}

impl ResponseHead {
    /// Replaces the status line: the response only says that the message was accepted.
    pub(crate) fn accept(&mut self) {
        let line = memchr::memchr(b'\n', &self.rendered).map_or(0, |end| end + 1);
        let mut rendered = Vec::with_capacity(self.rendered.len() + 16);
        append_status_line(&mut rendered, 202);
        rendered.extend_from_slice(&self.rendered[line..]);
        (self.status, self.rendered, self.body) = (202, rendered, BodyLength::Bytes(0));
    }
}

/// A head of a response (RFC 9110, 15).
#[derive(Debug)]
pub(crate) enum ParsedHead {
    Final(ResponseHead),
    /// 1xx: the final one follows.
    Informational,
}

/// Whether `Mcp-Session-Id` passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionHeader {
    Pass,
    Strip,
}

/// Whether `WWW-Authenticate` passes. At the endpoint it concerns the guard's credentials, and would send a client whose
/// token was good to an authorization server of the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Challenge {
    Pass,
    Drop,
}

/// Which fields pass, and the clock for a `Date` that is missing.
#[derive(Clone, Copy)]
pub(crate) struct FieldRules<'c> {
    pub(crate) session: SessionHeader,
    pub(crate) challenge: Challenge,
    pub(crate) clock: &'c Clock,
}

/// Fields of which a client reads one value.
const SINGLE: [(KnownField, &str); 5] = [
    (KnownField::ContentType, "Content-Type"),
    (KnownField::McpSessionId, "Mcp-Session-Id"),
    (KnownField::McpProtocolVersion, "MCP-Protocol-Version"),
    (KnownField::RetryAfter, "Retry-After"),
    (KnownField::Date, "Date"),
];

/// Bytes of a redirect's target that the log shows.
const LOCATION_BYTES_MAX: usize = 200;

/// Parses and checks `block`, which is exactly one head.
pub(crate) fn parse_response(
    block: &[u8],
    spans: &mut FieldSpans,
    rules: FieldRules<'_>,
) -> Result<ParsedHead, FramingError> {
    let FieldRules { session, challenge, clock } = rules;
    let head = response::parse(block, spans, &HEAD_LIMITS)?;
    if head.status < 200 {
        // No request of the guard offers another protocol.
        return if head.status == 101 { Err(FramingError::Forbidden) } else { Ok(ParsedHead::Informational) };
    }
    let mut rendered = Vec::with_capacity((block.len() + 256).max(RENDERED_BYTES));
    append_status_line(&mut rendered, head.status);
    let fields = &head.fields;
    let repeats = SINGLE.iter().any(|(known, _)| fields.occurs(*known) == Occurs::Repeated);
    fields.append_lines(&mut rendered, |field| {
        passes_to_client(field)
            && !(session == SessionHeader::Strip && field.known == KnownField::McpSessionId)
            && !(challenge == Challenge::Drop && is_challenge(field))
            && !(repeats && is_copy(fields, field))
    });
    if fields.occurs(KnownField::Date) == Occurs::Never {
        clock.append_date(clock.now(), &mut rendered);
    }
    let kind = match fields.occurs(KnownField::ContentType) {
        Occurs::Never => None,
        Occurs::Once(kind) => Some(kind),
        Occurs::Repeated => first(fields, KnownField::ContentType),
    };
    let format = match (kind, fields.occurs(KnownField::ContentEncoding)) {
        (Some(kind), Occurs::Never) => Format::from_content_type(kind),
        (Some(kind), Occurs::Once(coding)) if coding.eq_ignore_ascii_case(b"identity") => {
            Format::from_content_type(kind)
        }
        (None | Some(_), _) => Format::Opaque,
    };
    let conflict = if repeats { conflict(fields) } else { None };
    let location = if (300..400).contains(&head.status) { location(fields) } else { None };
    let (status, body, keep_alive) = (head.status, head.body, head.keep_alive);
    Ok(ParsedHead::Final(ResponseHead { status, body, keep_alive, format, rendered, conflict, location }))
}

fn is_challenge(field: &Field<'_>) -> bool {
    field.known == KnownField::Other && field.name.eq_ignore_ascii_case(b"www-authenticate")
}

fn first<'b>(fields: &Fields<'b>, known: KnownField) -> Option<&'b [u8]> {
    fields.iter().find(|field| field.known == known).map(|field| field.value)
}

/// Whether this is a further value of a field that has one.
#[cold]
fn is_copy(fields: &Fields<'_>, field: &Field<'_>) -> bool {
    SINGLE.iter().any(|(known, _)| *known == field.known)
        && first(fields, field.known).is_some_and(|first| !std::ptr::eq(first, field.value))
}

/// The field whose values differ. It does not matter which `Retry-After` or `Date` a client reads.
#[cold]
fn conflict(fields: &Fields<'_>) -> Option<&'static str> {
    let disagrees = |known| {
        let mut values = fields.iter().filter(|field| field.known == known).map(|field| field.value);
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    SINGLE.iter().take(3).find(|(known, _)| disagrees(*known)).map(|(_, name)| *name)
}

fn location(fields: &Fields<'_>) -> Option<Vec<u8>> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(b"location"))?;
    Some(field.value.to_vec())
}

/// The target of a redirect without secrets and without its query, which may hold others: escaped and cut. The secrets are
/// removed first: a part of one is not found.
#[cold]
pub(crate) fn show_location(location: &[u8], secrets: &Secrets) -> String {
    let clean = secrets.clean(location);
    let end = clean.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(clean.len());
    let mut shown = clean[..end].escape_ascii().to_string();
    // `user:password@` before the host.
    if let Some((before, after)) = shown.split_once("//")
        && let Some(at) = after[..after.find('/').unwrap_or(after.len())].rfind('@')
    {
        shown = format!("{before}//{}", &after[at + 1..]);
    }
    shown.truncate(LOCATION_BYTES_MAX);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(block: &str, session: SessionHeader) -> Result<ParsedHead, FramingError> {
        let rules = FieldRules { session, challenge: Challenge::Drop, clock: &Clock::new() };
        parse_response(block.as_bytes(), &mut FieldSpans::default(), rules)
    }

    fn rendered(block: &str, session: SessionHeader) -> String {
        match parsed(block, session).unwrap() {
            ParsedHead::Final(head) => String::from_utf8(head.rendered).unwrap(),
            ParsedHead::Informational => panic!("informational"),
        }
    }

    #[test]
    fn response_fields_of_this_hop_and_of_the_backend_do_not_pass() {
        let text = rendered(
            "HTTP/1.1 200 Fine\r\nServer: uvicorn\r\nSet-Cookie: a=b\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
             Keep-Alive: 5\r\nMcp-Session-Id: s1\r\nContent-Type: application/json\r\nX-Own: v\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\n",
            SessionHeader::Pass,
        );
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nMcp-Session-Id: s1\r\nContent-Type: application/json\r\nX-Own: v\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        );
    }

    #[test]
    fn a_session_id_of_a_stateless_slot_does_not_pass() {
        let text = rendered("HTTP/1.1 202 A\r\nmcp-session-id: s\r\nDate: d\r\n\r\n", SessionHeader::Strip);
        assert_eq!(text, "HTTP/1.1 202 Accepted\r\nDate: d\r\n");
    }

    #[test]
    fn a_101_is_an_error_and_other_informational_responses_are_skipped() {
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
        assert!(parsed(switching, SessionHeader::Pass).is_err());
        assert!(matches!(
            parsed("HTTP/1.1 103 Hints\r\n\r\n", SessionHeader::Pass),
            Ok(ParsedHead::Informational)
        ));
    }

    fn head(block: &str) -> ResponseHead {
        match parsed(block, SessionHeader::Pass).unwrap() {
            ParsedHead::Final(head) => head,
            ParsedHead::Informational => panic!("informational"),
        }
    }

    #[test]
    fn a_response_field_of_one_value_passes_once_and_two_values_are_a_conflict() {
        let twice = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: a\r\n\
                     content-type: application/json\r\nMcp-Session-Id: a\r\nRetry-After: 1\r\nRetry-After: 2\r\nDate: d\r\n\
                     X-Own: 1\r\nX-Own: 1\r\n\r\n";
        assert_eq!(
            rendered(twice, SessionHeader::Pass),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: a\r\nRetry-After: 1\r\nDate: d\r\n\
             X-Own: 1\r\nX-Own: 1\r\n"
        );
        assert_eq!((head(twice).conflict, head(twice).format), (None, Format::Json));
        let two = |field: &str, left: &str, right: &str| {
            head(&format!("HTTP/1.1 200 OK\r\n{field}: {left}\r\n{field}: {right}\r\n\r\n")).conflict
        };
        assert_eq!(two("Content-Type", "application/json", "text/html"), Some("Content-Type"));
        assert_eq!(two("mcp-session-id", "a", "b"), Some("Mcp-Session-Id"));
        assert_eq!(two("MCP-Protocol-Version", "2025-06-18", "2025-11-25"), Some("MCP-Protocol-Version"));
        assert_eq!(two("Date", "a", "b"), None);
    }

    #[test]
    fn a_redirect_names_its_target_without_secrets() {
        let secrets = Secrets::new(["t0k/en?1#2", "long-secret"]);
        let to = |location: &str| {
            let location = head(&format!("HTTP/1.1 307 X\r\nLocation: {location}\r\n\r\n")).location;
            location.map(|location| show_location(&location, &secrets))
        };
        assert_eq!(to("/mcp/").as_deref(), Some("/mcp/"));
        assert_eq!(to("http://u:pass@in:80/login?token=s#t").as_deref(), Some("http://in:80/login"));
        assert_eq!(to("/\"\t\u{e9}").as_deref(), Some(r#"/\"\t\xc3\xa9"#));
        for (sent, shown) in [
            ("/login/t0k/en?1#2/x", "/login/[secret]/x"),
            ("http://t0k%2fen%3F1%232.in/x", "http://[secret].in/x"),
            ("http://u:t0k/en?1#2@in/x?y", "http://in/x"),
            ("/a?back=t0k/en?1#2", "/a"),
        ] {
            assert_eq!(to(sent).as_deref(), Some(shown), "{sent}");
        }
        // A secret at any place about the cut.
        for before in LOCATION_BYTES_MAX - 12..LOCATION_BYTES_MAX {
            let shown = to(&format!("{}long-secret", "x".repeat(before))).unwrap();
            assert!(!shown.contains("lo"), "{before}: {shown}");
        }
        assert_eq!(to(&"x".repeat(5000)).map(|shown| shown.len()), Some(LOCATION_BYTES_MAX));
        assert_eq!(head("HTTP/1.1 200 OK\r\nLocation: /x\r\n\r\n").location, None);
    }

    #[test]
    fn a_www_authenticate_challenge_to_the_guard_does_not_pass() {
        let text =
            rendered("HTTP/1.1 401 U\r\nwww-authenticate: Bearer\r\nDate: d\r\n\r\n", SessionHeader::Pass);
        assert_eq!(text, "HTTP/1.1 401 Unauthorized\r\nDate: d\r\n");
    }

    #[test]
    fn an_accepted_message_has_status_202() {
        let mut taken = head("HTTP/1.1 204 N\r\nX-Own: 1\r\nDate: d\r\n\r\n");
        taken.accept();
        assert_eq!((taken.status, taken.body), (202, BodyLength::Bytes(0)));
        assert_eq!(taken.rendered, b"HTTP/1.1 202 Accepted\r\nX-Own: 1\r\nDate: d\r\n");
    }
}
