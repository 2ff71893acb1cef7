//! Any bytes as the head of a request or an answer.

use mcp_guard::http1::{
    Arriving, BodyLength, FieldSpans, HeadLimits, KnownField, Occurs, Version, head_end, request, response,
};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 16 };

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"POST /swf-monitor/mcp/ HTTP/1.1\r\nHost: mcp.test:80\r\nAuthorization: Bearer t\r\nContent-Length: 40\r\n\r\n",
    b"\r\nGET http://a/b?c=%20 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.0 204 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
];

/// Looking in pieces finds what one look finds, and refuses early only what is refused whole; what parses has one length, one host, and lies inside its bytes.
pub fn target(data: &[u8]) {
    let whole = head_end(data, 0, &LIMITS);
    let mut pieces = Ok(None);
    for seen in 0..=data.len() {
        pieces = head_end(&data[..seen], seen.saturating_sub(1), &LIMITS);
        if pieces != Ok(None) {
            break;
        }
    }
    let mut spans = FieldSpans::default();
    let Ok(Some(end)) = whole else {
        assert!(!matches!(pieces, Ok(Some(_))), "pieces find an end that one look does not");
        assert_eq!(whole.is_err(), pieces.is_err());
        return;
    };
    match pieces {
        Ok(found) => assert_eq!(found, Some(end)),
        Err(_) => assert!(request::parse(&data[..end], &mut spans, &LIMITS).is_err()),
    }
    let mut arriving = Arriving::default();
    if (1..end).any(|seen| arriving.judge(&data[..seen], &LIMITS).is_err()) {
        assert!(request::parse(&data[..end], &mut spans, &LIMITS).is_err(), "refused early, and not whole");
    }
    check_request(&data[..end], &mut spans);
    let _ = response::parse(&data[..end], &mut spans, &LIMITS);
}

fn check_request(head: &[u8], spans: &mut FieldSpans) {
    let Ok(parsed) = request::parse(head, spans, &LIMITS) else { return };
    assert!(parsed.path.starts_with(b"/") && parsed.path.iter().all(u8::is_ascii_graphic));
    match parsed.fields.occurs(KnownField::Host) {
        Occurs::Once(host) => assert_eq!(host, parsed.host),
        Occurs::Never => assert!(parsed.version == Version::Http10 && parsed.host.is_empty()),
        Occurs::Repeated => panic!("two hosts"),
    }
    assert_ne!(parsed.body, BodyLength::UntilClose);
    let framing =
        [KnownField::ContentLength, KnownField::TransferEncoding].map(|known| parsed.fields.occurs(known));
    match parsed.body {
        BodyLength::None | BodyLength::UntilClose => assert_eq!(framing, [Occurs::Never; 2]),
        BodyLength::Bytes(_) => assert!(matches!(framing, [Occurs::Once(_), Occurs::Never])),
        BodyLength::Chunked => assert!(matches!(framing, [Occurs::Never, Occurs::Once(_)])),
    }
    for field in parsed.fields.iter() {
        assert!(!field.name.is_empty() && !field.value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
}
