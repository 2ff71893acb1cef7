//! The request head: start line, target form and body length, all judged before policy sees it.

use std::fmt;

use super::bytes::is_token;
use super::fields::{Occurs, line};
use super::framing::{declared_length, persists};
use super::head_end::leading_empty_lines;
use super::version::Version;
use super::{Authority, BodyLength, FieldSpans, Fields, FramingError, HeadLimits, KnownField, target};

/// A well-formed request head, borrowed from the connection's buffer.
#[derive(Clone, Copy)]
pub struct RequestHead<'b> {
    /// The method as sent; case matters.
    pub method: &'b [u8],
    /// The path as sent, without the `http://authority` of an absolute-form target: never decoded.
    pub path: &'b [u8],
    /// Bytes after the first `?`, if any.
    pub query: Option<&'b [u8]>,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The value of `Host`, single. Empty if the client sent none in HTTP/1.0, or an empty one.
    pub host: &'b [u8],
    /// The same, in parts.
    pub authority: Authority<'b>,
    /// The header fields.
    pub fields: Fields<'b>,
    /// How long the body is; never [`BodyLength::UntilClose`].
    pub body: BodyLength,
    /// Whether the client lets the connection live on (version and `Connection`).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl RequestHead<'_> {
    /// Whether the client offers to speak WebSocket, well-formed or not. Any other `Upgrade` is ignored (RFC 9110, 7.8).
    pub fn offers_websocket(&self) -> bool {
        let offers = self.fields.iter().filter(|field| field.known == KnownField::Upgrade);
        self.fields.occurs(KnownField::Upgrade) != Occurs::Never
            && offers
                .flat_map(|field| field.value.split(|&byte| byte == b','))
                .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Leaves out the query, in which people put secrets although the guard takes none from there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method.escape_ascii())
            .field("path", &self.path.escape_ascii())
            .field("version", &self.version)
            .field("fields", &self.fields)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Parses `head`, which is exactly one head block as found by [`super::head_end`].
///
/// Everything in section 3 of the contract is judged here; a head that comes back can be trusted as to its framing.
pub fn parse<'b>(
    head: &'b [u8],
    spans: &'b mut FieldSpans,
    limits: &HeadLimits,
) -> Result<RequestHead<'b>, FramingError> {
    if head.len() > limits.bytes_max as usize {
        return Err(FramingError::HeadTooLarge);
    }
    let start = leading_empty_lines(head);
    let (end, fields_start) = line(head, start)?;
    let (method, target, version) = start_line(&head[start..end])?;
    spans.read(head, fields_start, limits)?;
    let connection = spans.connection();
    let fields = Fields::new(head, spans);

    let target = target::parse(target)?;
    let (host, authority) = host(&fields, version)?;
    if target.authority.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
        return Err(FramingError::Authority);
    }
    let body = declared_length(&fields, version)?;
    if connection.nominates_relied {
        return Err(FramingError::Nomination);
    }
    let expects_continue =
        expects_continue(&fields, version)? && !matches!(body, BodyLength::None | BodyLength::Bytes(0));
    let keep_alive = persists(connection, version);
    let (path, query) = (target.path, target.query);
    Ok(RequestHead {
        method,
        path,
        query,
        version,
        host,
        authority,
        fields,
        body,
        keep_alive,
        expects_continue,
    })
}

/// `method SP request-target SP HTTP-version`, each space exactly one.
pub(super) fn start_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), FramingError> {
    if !super::bytes::is_value(line) {
        return Err(if line.contains(&b'\r') { FramingError::BareCr } else { FramingError::ControlByte });
    }
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(FramingError::StartLine);
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(FramingError::Version),
    };
    judge_method(method)?;
    Ok((method, target, version))
}

/// RFC 9112, 3.2: `Host` is required of HTTP/1.1, and empty where the target has no authority. Who may leave it out is policy.
fn host<'b>(fields: &Fields<'b>, version: Version) -> Result<(&'b [u8], Authority<'b>), FramingError> {
    const NONE: Authority<'_> = Authority { host: b"", port: None };
    match fields.occurs(KnownField::Host) {
        Occurs::Never if version == Version::Http10 => Ok((b"", NONE)),
        Occurs::Once(b"") => Ok((b"", NONE)),
        Occurs::Once(host) => Authority::parse(host).map(|parts| (host, parts)).ok_or(FramingError::Host),
        Occurs::Never | Occurs::Repeated => Err(FramingError::Host),
    }
}

pub(super) fn judge_method(method: &[u8]) -> Result<(), FramingError> {
    match method {
        b"CONNECT" | b"TRACE" => Err(FramingError::Forbidden),
        method if is_token(method) => Ok(()),
        _ => Err(FramingError::Method),
    }
}

/// RFC 9110, 10.1.1: a 100-continue expectation in HTTP/1.0 must be ignored.
fn expects_continue(fields: &Fields<'_>, version: Version) -> Result<bool, FramingError> {
    match fields.occurs(KnownField::Expect) {
        Occurs::Never => Ok(false),
        Occurs::Once(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(version == Version::Http11),
        Occurs::Once(_) | Occurs::Repeated => Err(FramingError::Expectation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 16384, fields_max: 100 };

    /// Parses and hands the head to `see`.
    #[track_caller]
    fn check<T: PartialEq + fmt::Debug>(
        head: &str,
        see: impl Fn(RequestHead<'_>) -> T,
        expect: Result<T, FramingError>,
    ) {
        // A test's head is text; each character stands for the byte of that number.
        let bytes: Vec<u8> =
            head.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
        let mut spans = FieldSpans::default();
        assert_eq!(parse(&bytes, &mut spans, &LIMITS).map(see), expect, "{head:?}");
    }

    #[track_caller]
    fn check_start(line: &str, expect: Result<(), FramingError>) {
        check(&format!("{line}\r\nHost: mcp.test\r\n\r\n"), |_| (), expect);
    }

    #[track_caller]
    fn check_body(version: &str, lines: &str, expect: Result<BodyLength, FramingError>) {
        check(&format!("POST /mcp HTTP/{version}\r\nHost: a\r\n{lines}\r\n"), |head| head.body, expect);
    }

    #[test]
    fn a_good_head_is_taken_apart() {
        let head = "\r\nPOST /mcp/?a=b HTTP/1.1\r\nHost: mcp.test:80\r\nX-A: b\r\n\r\n";
        let see = |head: RequestHead<'_>| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (
                text(head.method),
                text(head.path),
                head.query.map(text),
                text(head.host),
                head.fields.len(),
                head.keep_alive,
            )
        };
        let parts = ("POST".into(), "/mcp/".into(), Some("a=b".into()), "mcp.test:80".into(), 2, true);
        check(head, see, Ok(parts));
    }

    // RFC 9112, 3: `request-line = method SP request-target SP HTTP-version`
    #[test]
    fn the_request_line_has_three_words_and_two_spaces() {
        check_start("POST /mcp HTTP/1.1", Ok(()));
        check_start("post /mcp HTTP/1.0", Ok(()));
        for line in [
            "POST /mcp",
            "POST  /mcp HTTP/1.1",
            "POST /mcp x HTTP/1.1",
            "POST /mcp HTTP/1.1 ",
            "NONSENSE",
            "POST /mcp\tHTTP/1.1",
        ] {
            check_start(line, Err(FramingError::StartLine));
        }
        check_start("P(ST /mcp HTTP/1.1", Err(FramingError::Method));
        check_start(" /mcp HTTP/1.1", Err(FramingError::Method));
        for line in
            ["POST mcp HTTP/1.1", "POST * HTTP/1.1", "POST ftp://mcp.test/ HTTP/1.1", "POST /\u{e9} HTTP/1.1"]
        {
            check_start(line, Err(FramingError::Target));
        }
        check_start("POST /mcp\0 HTTP/1.1", Err(FramingError::ControlByte));
        check_start("POST /mcp HTTP/1.1\r", Err(FramingError::BareCr));
        for version in ["1.2", "2.0", "3.0", "1.", "01.1", "1.1x", "1,1", "/1.1", "-1.1", ""] {
            check_start(&format!("POST /mcp HTTP/{version}"), Err(FramingError::Version));
        }
        for name in ["http/1.1", "HTTPS/1.1", "ICY/1.1"] {
            check_start(&format!("POST /mcp {name}"), Err(FramingError::Version));
        }
    }

    // "`CONNECT`, `TRACE`"
    #[test]
    fn what_would_open_a_tunnel_or_echo_a_token_is_refused() {
        check_start("CONNECT 127.0.0.1:80 HTTP/1.1", Err(FramingError::Forbidden));
        check_start("TRACE /mcp HTTP/1.1", Err(FramingError::Forbidden));
    }

    // RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field"
    #[test]
    fn an_offered_upgrade_is_ignored_by_the_parser() {
        for (lines, websocket) in [
            ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n", false),
            ("Upgrade:\r\n", false),
            ("Upgrade: h2c, WebSocket\r\n", true),
            ("Upgrade: h2c\r\nUpgrade: websocket\r\n", true),
            ("Upgrade: websocket/13\r\n", false),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            check(&head, |head| head.offers_websocket(), Ok(websocket));
        }
    }

    // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
    // lacks a Host header field and to any request message that contains more than one".
    #[test]
    fn host_is_single_and_well_formed() {
        check("POST / HTTP/1.1\r\n\r\n", |_| (), Err(FramingError::Host));
        for head in
            ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n"]
        {
            check(head, |head| head.host.is_empty() && head.authority.host.is_empty(), Ok(true));
        }
        let bad = [
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nhost: b\r\n",
            "Host:\r\nHost:\r\n",
            "Host: a/x\r\n",
            "Host: a b\r\n",
            "Host: u@a\r\n",
        ];
        for lines in bad {
            check(&format!("POST / HTTP/1.1\r\n{lines}\r\n"), |_| (), Err(FramingError::Host));
            check(&format!("POST / HTTP/1.0\r\n{lines}\r\n"), |_| (), Err(FramingError::Host));
        }
    }

    // "its authority must equal `Host`"
    #[test]
    fn an_absolute_target_agrees_with_host() {
        check_start("POST http://mcp.test/mcp HTTP/1.1", Ok(()));
        check_start("POST HTTP://MCP.test HTTP/1.1", Ok(()));
        for authority in ["evil.example", "mcp.test:80", "mcp.test.evil"] {
            check_start(&format!("POST http://{authority}/mcp HTTP/1.1"), Err(FramingError::Authority));
        }
        check_start("POST http://u:p@mcp.test/mcp HTTP/1.1", Err(FramingError::Target));
    }

    // "both `Content-Length` and `Transfer-Encoding`; several `Content-Length` values (equal or not)"
    #[test]
    fn there_is_one_way_to_declare_a_length() {
        check_body("1.1", "", Ok(BodyLength::None));
        check_body("1.1", "Content-Length: 40\r\n", Ok(BodyLength::Bytes(40)));
        check_body("1.0", "Content-Length: 0 \t\r\n", Ok(BodyLength::Bytes(0)));
        check_body("1.1", "Content-Length: 00000000000000000000000040\r\n", Ok(BodyLength::Bytes(40)));
        check_body("1.1", "Content-Length: 18446744073709551615\r\n", Ok(BodyLength::Bytes(u64::MAX)));
        for value in [
            "",
            "+40",
            "-1",
            "0x28",
            "4 0",
            "40, 40",
            "40,",
            "40;q=1",
            "4e1",
            "4.0",
            "\u{a0}40",
            "40\u{85}",
            "forty",
            "18446744073709551616",
            "340282366920938463463374607431768211496",
        ] {
            check_body("1.1", &format!("Content-Length: {value}\r\n"), Err(FramingError::ContentLength));
        }
        let twice = "Content-Length: 40\r\nContent-Length: 40\r\n";
        check_body("1.1", twice, Err(FramingError::ContentLength));
        check_body("1.1", "Content_Length: 5\r\n", Ok(BodyLength::None));
        for both in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: x\r\nContent-Length: 4\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\nContent-Length: 4\r\n",
        ] {
            check_body("1.1", both, Err(FramingError::LengthConflict));
        }
    }

    // "any `Transfer-Encoding` other than exactly one `chunked`", "HTTP/1.0 with `Transfer-Encoding`"
    #[test]
    fn the_only_coding_is_chunked_once() {
        check_body("1.1", "Transfer-Encoding: chunked\r\n", Ok(BodyLength::Chunked));
        check_body("1.1", "transfer-encoding:CHUNKED \t\r\n", Ok(BodyLength::Chunked));
        for value in [
            "",
            "identity",
            "gzip, chunked",
            "chunked, chunked",
            "chunked, identity",
            ",chunked",
            "chunked,",
            "xchunked",
            "chunkedx",
            "\"chunked\"",
            "chunked;q=1",
            "\u{ef}\u{bb}\u{bf}chunked",
            "chunked\u{85}",
        ] {
            check_body(
                "1.1",
                &format!("Transfer-Encoding: {value}\r\n"),
                Err(FramingError::TransferEncoding),
            );
        }
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        check_body("1.1", twice, Err(FramingError::TransferEncoding));
        check_body("1.0", "Transfer-Encoding: chunked\r\n", Err(FramingError::TransferEncoding));
        check_body("1.1", "Transfer-Encoding: chunked\u{b}\r\n", Err(FramingError::ControlByte));
    }

    // "`Connection`-nominated headers must not be able to remove `Authorization` or change framing"
    #[test]
    fn connection_cannot_take_away_what_the_guard_relies_on() {
        for name in [
            "Authorization",
            "host",
            "Content-Length",
            "Transfer-Encoding",
            "Mcp-Method",
            "X_Forwarded_For",
            "content-type",
            "Sec-WebSocket-Key",
            "sec_websocket_version",
            "Mcp-Param-Region",
            "Access-Control-Request-Method",
        ] {
            check_body("1.1", &format!("Connection: close, {name}\r\n"), Err(FramingError::Nomination));
        }
        check_body("1.1", "Connection: keep-alive, X-Guard-Auth, TE\r\n", Ok(BodyLength::None));
    }

    // RFC 9112, 9.3: persistence.
    #[test]
    fn the_connection_stays_open_by_version_and_option() {
        for (version, lines, expect) in [
            ("1.1", "", true),
            ("1.1", "Connection: Close\r\n", false),
            ("1.1", "Connection: keep-alive, close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
            check(&head, |head| head.keep_alive, Ok(expect));
        }
    }

    // RFC 9110, 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
    // expectation."
    #[test]
    fn continue_is_expected_only_where_a_body_waits() {
        for (version, lines, expect) in [
            ("1.1", "Expect: 100-Continue\r\nContent-Length: 4\r\n", Ok(true)),
            ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", Ok(true)),
            ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", Ok(false)),
            ("1.1", "Expect: 100-continue\r\n", Ok(false)),
            ("1.0", "Expect: 100-continue\r\nContent-Length: 4\r\n", Ok(false)),
            ("1.1", "Expect: x-nonsense\r\n", Err(FramingError::Expectation)),
            ("1.1", "Expect: 100-continue\r\nExpect: 100-continue\r\n", Err(FramingError::Expectation)),
        ] {
            let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
            check(&head, |head| head.expects_continue, expect);
        }
    }

    #[test]
    fn exactly_one_head_within_its_limits_is_parsed() {
        let good = "POST / HTTP/1.1\r\nHost: a\r\n\r\n";
        check(good, |_| (), Ok(()));
        check(&format!("{good}x"), |_| (), Err(FramingError::StartLine));
        check(&good[..good.len() - 2], |_| (), Err(FramingError::StartLine));
        check(&format!("{good}{}", " ".repeat(16384)), |_| (), Err(FramingError::HeadTooLarge));
    }
}
