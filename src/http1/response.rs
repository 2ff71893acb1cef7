//! The response head of a backend, judged as strictly as a request.

use super::fields::line;
use super::framing::{declared_length, persists};
use super::version::Version;
use super::{BodyLength, FieldSpans, Fields, FramingError, HeadLimits};

/// A well-formed response head, borrowed from the backend connection's buffer.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'b> {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// The header fields.
    pub fields: Fields<'b>,
    /// How long the body is.
    pub body: BodyLength,
    /// Whether the backend lets the connection live on.
    pub keep_alive: bool,
}

/// Parses `head`, exactly one head block, as the response to a POST.
///
/// 1xx, 204 and 304 have no body whatever they declare; conflicting or repeated lengths, `Transfer-Encoding` in
/// HTTP/1.0 and malformed status lines are errors. An unasked 101 is for the caller to refuse.
pub fn parse<'b>(
    head: &'b [u8],
    spans: &'b mut FieldSpans,
    limits: &HeadLimits,
) -> Result<ResponseHead<'b>, FramingError> {
    if head.len() > limits.bytes_max as usize {
        return Err(FramingError::HeadTooLarge);
    }
    let (end, fields_start) = line(head, 0)?;
    let (version, status) = status_line(&head[..end])?;
    spans.read(head, fields_start, limits)?;
    let connection = spans.connection();
    let fields = Fields::new(head, spans);
    let declared = declared_length(&fields, version)?;
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    let body = match declared {
        _ if bodiless => BodyLength::None,
        BodyLength::None | BodyLength::UntilClose => BodyLength::UntilClose,
        BodyLength::Bytes(_) | BodyLength::Chunked => declared,
    };
    // A bodiless response that declares a body leaves unclear where the next response starts.
    let contradicts = bodiless && !matches!(declared, BodyLength::None | BodyLength::Bytes(0));
    if contradicts && status < 200 {
        return Err(FramingError::LengthConflict);
    }
    let keep_alive = persists(connection, version) && body != BodyLength::UntilClose && !contradicts;
    Ok(ResponseHead { version, status, fields, body, keep_alive })
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`.
fn status_line(line: &[u8]) -> Result<(Version, u16), FramingError> {
    let (version, rest) = line.split_at_checked(9).ok_or(FramingError::StatusLine)?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(FramingError::StatusLine),
    };
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', units @ b'0'..=b'9', b' ', reason @ ..] = rest else {
        return Err(FramingError::StatusLine);
    };
    if !super::bytes::is_value(reason) {
        return Err(FramingError::StatusLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok((version, digit(hundreds) * 100 + digit(tens) * 10 + digit(units)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 16384, fields_max: 100 };

    #[track_caller]
    fn check(head: &str, expect: Result<(u16, BodyLength, bool), FramingError>) {
        let mut spans = FieldSpans::default();
        let parsed = parse(head.as_bytes(), &mut spans, &LIMITS);
        assert_eq!(parsed.map(|head| (head.status, head.body, head.keep_alive)), expect, "{head:?}");
    }

    #[track_caller]
    fn check_fields(lines: &str, expect: Result<(BodyLength, bool), FramingError>) {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        check(&head, expect.map(|(body, keep_alive)| (200, body, keep_alive)));
    }

    // RFC 9112, 4: `status-line = HTTP-version SP status-code SP [ reason-phrase ]`
    #[test]
    fn malformed_status_lines_are_refused() {
        let until_close = |status| Ok((status, BodyLength::UntilClose, false));
        check("HTTP/1.1 200 OK\r\n\r\n", until_close(200));
        check("HTTP/1.1 200 \r\n\r\n", until_close(200));
        check("HTTP/1.0 599 caf\u{e9} x\r\n\r\n", until_close(599));
        for line in [
            "HTTP/1.1 200",
            "HTTP/1.1",
            "HTTP/1.1 1000 X",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 099 X",
            "HTTP/1.1 600 X",
            "HTTP/1.1 -20 OK",
            "HTTP/1.1  200 OK",
            "HTTP/9.9 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1 2OO OK",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1 200 O\0K",
            " HTTP/1.1 200 OK",
            "{}",
        ] {
            check(&format!("{line}\r\n\r\n"), Err(FramingError::StatusLine));
        }
        check("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(FramingError::StatusLine));
        check("HTTP/1.1 200 OK\n\n", Err(FramingError::BareLf));
    }

    // "conflicting or repeated lengths, `Transfer-Encoding` in HTTP/1.0"
    #[test]
    fn lengths_are_judged_as_in_requests() {
        check_fields("Content-Length: 2\r\n", Ok((BodyLength::Bytes(2), true)));
        check_fields("Transfer-Encoding: chunked\r\nConnection: close\r\n", Ok((BodyLength::Chunked, false)));
        check_fields("Content-Length: 2\r\nContent-Length: 2\r\n", Err(FramingError::ContentLength));
        check_fields("Content-Length: +2\r\n", Err(FramingError::ContentLength));
        check_fields("Content-Length: 99999999999999999999\r\n", Err(FramingError::ContentLength));
        check_fields("Transfer-Encoding: gzip\r\n", Err(FramingError::TransferEncoding));
        check_fields(
            "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
            Err(FramingError::LengthConflict),
        );
        check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(FramingError::TransferEncoding));
        check_fields("X-A : a\r\n", Err(FramingError::SpaceBeforeColon));
        check_fields("X-A: a\rSet-Cookie: x=1\r\n", Err(FramingError::BareCr));
    }

    // RFC 9112, 6.3: "Any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified) status code is
    // always terminated by the first empty line after the header fields".
    #[test]
    fn a_bodiless_response_has_no_body_whatever_it_declares() {
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, BodyLength::None, true)));
        check("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Ok((204, BodyLength::None, true)));
        check("HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\n", Ok((204, BodyLength::None, false)));
        check("HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", Ok((304, BodyLength::None, false)));
        check("HTTP/1.1 100 Continue\r\n\r\n", Ok((100, BodyLength::None, true)));
        check("HTTP/1.1 100 Continue\r\nContent-Length: 8\r\n\r\n", Err(FramingError::LengthConflict));
    }
}
