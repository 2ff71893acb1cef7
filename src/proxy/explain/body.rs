//! The body of a request that is only looked at: what a connection would have read of it.
//!
//! Must not know what a body says.

use std::borrow::Cow;

use crate::http1::chunked::{Decoder, Piece};
use crate::http1::{BodyLength, RequestHead};
use crate::policy::Denial;
use crate::policy::limits::excess_max;
use crate::wire::reply_id::{IdReader, PartialRequest};

/// What was read behind a head.
pub(super) struct SavedBody<'b> {
    pub(super) bytes: Cow<'b, [u8]>,
    /// Why it would not be taken.
    pub(super) refused: Option<Denial>,
    /// The call of a body that is refused and was read to its end.
    pub(super) addressee: Option<PartialRequest>,
    pub(super) note: Option<String>,
}

impl<'b> SavedBody<'b> {
    /// Reads the body of `head` from what stands behind it; `bytes_max` is the limit.
    pub(super) fn read(head: &RequestHead<'_>, arrived: &'b [u8], bytes_max: u64) -> SavedBody<'b> {
        match head.body {
            BodyLength::None | BodyLength::UntilClose => SavedBody::whole(&[], arrived),
            BodyLength::Bytes(length) => {
                let is_excess = length > bytes_max;
                match usize::try_from(length).ok().and_then(|length| arrived.split_at_checked(length)) {
                    Some((body, _)) if is_excess => SavedBody::excess(body.into()),
                    Some((body, rest)) => SavedBody::whole(body, rest),
                    None => {
                        let lacks = format!("the {length} bytes that Content-Length names");
                        SavedBody::cut(arrived.into(), &lacks, is_excess)
                    }
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
            if decoder.declared() > excess_max(bytes_max) {
                return SavedBody::refused(bytes.into(), Denial::BodyTooLarge, None);
            }
            let is_excess = decoder.declared() > bytes_max;
            match piece {
                Piece::Data { start, end } => {
                    bytes.extend_from_slice(&arrived[at + start..at + end]);
                    at += end;
                }
                Piece::More { .. } => return SavedBody::cut(bytes.into(), "its last chunk", is_excess),
                Piece::End { .. } if is_excess => return SavedBody::excess(bytes.into()),
                Piece::End { consumed } => {
                    let whole = SavedBody::whole(&[], &arrived[at + consumed..]);
                    return SavedBody { bytes: bytes.into(), ..whole };
                }
            }
        }
    }

    /// A body that is too large, and is read for the id of its call.
    fn excess(bytes: Cow<'b, [u8]>) -> SavedBody<'b> {
        let mut reader = IdReader::default();
        reader.feed(&bytes);
        let addressee = Some(reader.finish());
        SavedBody { bytes, refused: Some(Denial::BodyTooLarge), addressee, note: None }
    }

    fn whole(body: &'b [u8], rest: &[u8]) -> SavedBody<'b> {
        // A file that an editor saved ends with a line end.
        let more = rest.iter().filter(|byte| !byte.is_ascii_whitespace()).count();
        let note = (more > 0).then(|| {
            format!("{} bytes behind the body are not part of the request and were not looked at", rest.len())
        });
        SavedBody { bytes: Cow::Borrowed(body), refused: None, addressee: None, note }
    }

    fn cut(bytes: Cow<'b, [u8]>, lacks: &str, is_excess: bool) -> SavedBody<'b> {
        let note =
            format!("the body ends before {lacks}: the guard would wait for the rest until `timeouts.body`");
        let denial = if is_excess { Denial::BodyTooLarge } else { Denial::BodyTimeout };
        SavedBody::refused(bytes, denial, Some(note))
    }

    fn refused(bytes: Cow<'b, [u8]>, denial: Denial, note: Option<String>) -> SavedBody<'b> {
        SavedBody { bytes, refused: Some(denial), addressee: None, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FieldSpans, HeadLimits, request};

    #[track_caller]
    fn check(fields: &str, arrived: &str, expect: (&str, Option<&str>, &str)) {
        let head = format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let mut spans = FieldSpans::default();
        let head =
            request::parse(head.as_bytes(), &mut spans, &HeadLimits { bytes_max: 4096, fields_max: 32 })
                .unwrap();
        let body = SavedBody::read(&head, arrived.as_bytes(), 10);
        let refused = body.refused.map(Denial::code);
        let text = std::str::from_utf8(&body.bytes).unwrap();
        let found = match (&body.addressee, &body.note) {
            (None, None) => "",
            (Some(_), None) => "call",
            (None, Some(_)) => "note",
            (Some(_), Some(_)) => "both",
        };
        assert_eq!((text, refused, found), expect, "{fields} {arrived:?}");
    }

    #[test]
    fn a_saved_body_is_what_a_connection_would_have_read() {
        check("Content-Length: 2", "{}", ("{}", None, ""));
        check("Content-Length: 2", "{}\r\n", ("{}", None, ""));
        check("Content-Length: 2", "{}POST /", ("{}", None, "note"));
        check("Content-Length: 4", "{}", ("{}", Some("body_timeout"), "note"));
        check("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", ("{}", None, ""));
        check("Transfer-Encoding: chunked", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", ("{}", None, ""));
        check("Transfer-Encoding: chunked", "2\r\n{}", ("{}", Some("body_timeout"), "note"));
        check("Transfer-Encoding: chunked", "x", ("", Some("framing_chunk"), ""));
        check("Accept: a", "", ("", None, ""));
    }

    // A body over the limit of 10 is read on, up to 80, for the id of its call: the refusal is then addressed to that.
    #[test]
    fn a_saved_body_over_the_limit_is_read_on_for_its_call() {
        const ELEVEN: &str = "{\"id\":1234}";
        let large = Some("body_too_large");
        check("Content-Length: 11", ELEVEN, (ELEVEN, large, "call"));
        check("Content-Length: 11", "{", ("{", large, "note"));
        let chunked = "Transfer-Encoding: chunked";
        check(chunked, &format!("b\r\n{ELEVEN}\r\n0\r\n\r\n"), (ELEVEN, large, "call"));
        check(
            chunked,
            &format!("5\r\n{}\r\n6\r\n{}\r\n0\r\n\r\n", &ELEVEN[..5], &ELEVEN[5..]),
            (ELEVEN, large, "call"),
        );
        check(chunked, "b\r\n{}", ("{}", large, "note"));
        check(chunked, "51\r\n{}", ("", large, ""));
        check(chunked, &format!("b\r\n{ELEVEN}\r\nx"), (ELEVEN, Some("framing_chunk"), ""));
    }
}
