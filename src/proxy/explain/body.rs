//! The body of a request that is only looked at: what a connection would have read of it.
//!
//! Must not know what a body says.

use std::borrow::Cow;

use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, RequestHead};
use crate::policy::Denial;

/// What was read behind a head.
pub(super) struct SavedBody<'b> {
    pub(super) bytes: Cow<'b, [u8]>,
    /// Why it would not be taken.
    pub(super) refused: Option<Denial>,
    pub(super) note: Option<String>,
}

impl<'b> SavedBody<'b> {
    /// Reads the body of `head` from what stands behind it; `bytes_max` is the limit.
    pub(super) fn read(head: &RequestHead<'_>, arrived: &'b [u8], bytes_max: u64) -> SavedBody<'b> {
        match head.body {
            BodyLength::None | BodyLength::UntilClose => SavedBody::whole(&[], arrived),
            BodyLength::Bytes(length) if length > bytes_max => {
                SavedBody::refused(arrived.into(), Denial::BodyTooLarge, None)
            }
            BodyLength::Bytes(length) => {
                match usize::try_from(length).ok().and_then(|length| arrived.split_at_checked(length)) {
                    Some((body, rest)) => SavedBody::whole(body, rest),
                    None => SavedBody::cut(
                        arrived.into(),
                        &format!("the {length} bytes that Content-Length names"),
                    ),
                }
            }
            BodyLength::Chunked => SavedBody::decode(arrived, bytes_max),
        }
    }

    fn decode(arrived: &'b [u8], bytes_max: u64) -> SavedBody<'b> {
        let (mut decoder, mut bytes, mut at) = (Decoder::new(), Vec::new(), 0);
        loop {
            let piece = match decoder.next(&arrived[at..]) {
                Ok(piece) => piece,
                Err(error) => return SavedBody::refused(bytes.into(), Denial::Framing(error), None),
            };
            if decoder.declared() > bytes_max {
                return SavedBody::refused(bytes.into(), Denial::BodyTooLarge, None);
            }
            match piece {
                Piece::Data { start, end } => {
                    bytes.extend_from_slice(&arrived[at + start..at + end]);
                    at += end;
                }
                Piece::More { .. } => return SavedBody::cut(bytes.into(), "its last chunk"),
                Piece::End { consumed } => {
                    let whole = SavedBody::whole(&[], &arrived[at + consumed..]);
                    return SavedBody { bytes: bytes.into(), ..whole };
                }
            }
        }
    }

    fn whole(body: &'b [u8], rest: &[u8]) -> SavedBody<'b> {
        // A file that an editor saved ends with a line end.
        let more = rest.iter().filter(|byte| !byte.is_ascii_whitespace()).count();
        let note = (more > 0).then(|| {
            format!("{} bytes behind the body are not part of the request and were not looked at", rest.len())
        });
        SavedBody { bytes: Cow::Borrowed(body), refused: None, note }
    }

    fn cut(bytes: Cow<'b, [u8]>, lacks: &str) -> SavedBody<'b> {
        let note =
            format!("the body ends before {lacks}: the guard would wait for the rest until `timeouts.body`");
        SavedBody::refused(bytes, Denial::BodyTimeout, Some(note))
    }

    fn refused(bytes: Cow<'b, [u8]>, denial: Denial, note: Option<String>) -> SavedBody<'b> {
        SavedBody { bytes, refused: Some(denial), note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FieldSpans, HeadLimits, request};

    #[track_caller]
    fn check(fields: &str, arrived: &str, expect: (&str, Option<&str>, bool)) {
        let head = format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let mut spans = FieldSpans::default();
        let head =
            request::parse(head.as_bytes(), &mut spans, &HeadLimits { bytes_max: 4096, fields_max: 32 })
                .unwrap();
        let body = SavedBody::read(&head, arrived.as_bytes(), 10);
        let refused = body.refused.map(Denial::code);
        let text = std::str::from_utf8(&body.bytes).unwrap();
        assert_eq!((text, refused, body.note.is_some()), expect, "{fields} {arrived:?}");
    }

    #[test]
    fn a_saved_body_is_what_a_connection_would_have_read() {
        check("Content-Length: 2", "{}", ("{}", None, false));
        check("Content-Length: 2", "{}\r\n", ("{}", None, false));
        check("Content-Length: 2", "{}POST /", ("{}", None, true));
        check("Content-Length: 4", "{}", ("{}", Some("body_timeout"), true));
        check("Content-Length: 11", "{", ("{", Some("body_too_large"), false));
        check("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", ("{}", None, false));
        check("Transfer-Encoding: chunked", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", ("{}", None, false));
        check("Transfer-Encoding: chunked", "2\r\n{}", ("{}", Some("body_timeout"), true));
        check("Transfer-Encoding: chunked", "b\r\n{}", ("", Some("body_too_large"), false));
        check("Transfer-Encoding: chunked", "x", ("", Some("framing_chunk"), false));
        check("Accept: a", "", ("", None, false));
    }
}
