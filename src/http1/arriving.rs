//! A request head that has not arrived whole: refused at the byte behind which no completion could be accepted.
//!
//! Judges what has arrived as [`super::request::parse`] will judge the whole. Must not know deadlines.

use super::bytes::is_token_byte;
use super::error::FramingError;
use super::fields::{fault, field_line, line};
use super::head_end::{HeadLimits, leading_empty_lines};
use super::request::start_line;
use super::target;

/// How much of an arriving head is judged.
#[derive(Debug, Default)]
pub struct Arriving {
    /// Where the first line begins that was not judged whole; 0 while the request line is open.
    at: usize,
    fields: usize,
}

impl Arriving {
    /// Judges the head as far as it has arrived: each line once it is complete, the request line at every byte.
    /// `bytes` begins where it began at the last call, and [`super::head_end`] has found nothing wrong with it.
    pub fn judge(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<(), FramingError> {
        if self.at == 0 {
            let start = leading_empty_lines(bytes);
            let open = &bytes[start..];
            if memchr::memchr(b'\n', open).is_none() {
                return judge_open_request_line(open);
            }
            let (end, next) = line(bytes, start)?;
            let (_method, target, _version) = start_line(&bytes[start..end])?;
            target::parse(target)?;
            self.at = next;
        }
        while memchr::memchr(b'\n', &bytes[self.at..]).is_some() {
            let (end, next) = line(bytes, self.at)?;
            if end == self.at {
                return Ok(());
            }
            if self.fields >= usize::from(limits.fields_max) {
                return Err(FramingError::TooManyFields);
            }
            if field_line(bytes, self.at).is_none() {
                return Err(fault(&bytes[self.at..end]));
            }
            (self.at, self.fields) = (next, self.fields + 1);
        }
        Ok(())
    }
}

/// Judges the beginning of a request line that has no line end yet.
fn judge_open_request_line(open: &[u8]) -> Result<(), FramingError> {
    // One more empty line may be arriving.
    if open == b"\r" {
        return Ok(());
    }
    let Some(space) = memchr::memchr(b' ', open) else {
        return match open.iter().find(|&&byte| !is_token_byte(byte)) {
            None => Ok(()),
            Some(b'\r') => Err(FramingError::StartLine),
            Some(_) => Err(FramingError::Method),
        };
    };
    let (method, rest) = (&open[..space], &open[space + 1..]);
    super::request::judge_method(method)?;
    match memchr::memchr(b' ', rest) {
        // A line of two words: HTTP/0.9.
        None if rest.ends_with(b"\r") => Err(FramingError::StartLine),
        None => target::judge_open(rest),
        Some(space) => {
            target::parse(&rest[..space])?;
            judge_open_version(&rest[space + 1..])
        }
    }
}

fn judge_open_version(open: &[u8]) -> Result<(), FramingError> {
    let fits = [b"HTTP/1.1\r", b"HTTP/1.0\r"].into_iter().any(|version| version.starts_with(open));
    match fits {
        true => Ok(()),
        false if open.contains(&b' ') => Err(FramingError::StartLine),
        false => Err(FramingError::Version),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{FieldSpans, head_end, request};
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 3 };

    /// The shortest beginning of `text` that is refused, byte by byte as it arrives.
    #[track_caller]
    fn check(text: &[u8], expect: Option<(usize, FramingError)>) {
        let mut arriving = Arriving::default();
        let refused = (1..=text.len()).find_map(|length| {
            let bytes = &text[..length];
            let seen = head_end(bytes, length - 1, &LIMITS);
            let judged = seen.and_then(|_| arriving.judge(bytes, &LIMITS));
            judged.err().map(|error| (length, error))
        });
        assert_eq!(refused, expect, "{}", text.escape_ascii());
    }

    #[test]
    fn a_request_line_is_refused_at_the_byte_that_spoils_it() {
        for (text, at, error) in [
            (b"GET /\r\n".as_slice(), 6, FramingError::StartLine),
            (b"hello\r\n", 6, FramingError::StartLine),
            (b"GET / HTTP/0.9\r\n", 12, FramingError::Version),
            (b"GET / HTTP/1.2\r\n", 14, FramingError::Version),
            (b"GET / HTTP/1.\r\n", 14, FramingError::Version),
            (b"GET / HTTP/1.1x", 15, FramingError::Version),
            (b"GET /  HTTP/1.1", 7, FramingError::StartLine),
            (b"GET  / HTTP/1.1", 5, FramingError::Target),
            (b" GET / HTTP/1.1", 1, FramingError::Method),
            (b"PRI * HTTP/2.0\r\n", 5, FramingError::Target),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 7, FramingError::Target),
            (b"\x16\x03\x01\x02\x00\x01", 1, FramingError::ControlByte),
            (b"\x80\x2e\x01\x03\x01", 1, FramingError::Method),
            (b"(SMB", 1, FramingError::Method),
            (b"CONNECT a:1 HTTP/1.1", 8, FramingError::Forbidden),
            (b"TRACE / HTTP/1.1", 6, FramingError::Forbidden),
            (b"GET /a\tb", 7, FramingError::Target),
            (b"GET /a%2g", 9, FramingError::Target),
            (b"GET /a#b", 7, FramingError::Target),
            (b"GET ftp://a/ HTTP/1.1", 5, FramingError::Target),
            (b"GET http://u@a/ HTTP/1.1", 13, FramingError::Target),
            (b"GET http://a:8x/ HTTP/1.1", 15, FramingError::Target),
            (b"GET http:/// HTTP/1.1", 12, FramingError::Target),
            (b"\r\n\r\nGET /\r\n", 10, FramingError::StartLine),
        ] {
            check(text, Some((at, error)));
        }
        for text in [
            b"POST /mcp HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
            b"\r\n\r\nGET /a%2Fb?c=%20 HTTP/1.0\r\n",
            b"GET https://[::1]:80/x HTTP/1.1\r\n",
            b"GET HTTP://a.b:80?x HTTP/1.1\r\n",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_field_line_is_refused_when_it_is_complete() {
        let head = "GET / HTTP/1.1\r\n";
        for (lines, error) in [
            ("Host : a\r\n", FramingError::SpaceBeforeColon),
            ("nonsense\r\n", FramingError::FieldName),
            ("A: b\r\n c\r\n", FramingError::ObsFold),
            ("A: b\r\nC: d\r\nE: f\r\nG: h\r\n", FramingError::TooManyFields),
        ] {
            let text = format!("{head}{lines}X");
            check(text.as_bytes(), Some((text.len() - 1, error)));
        }
    }

    /// Pieces of request lines, in orders that are seldom right.
    fn line_like() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "GET ",
            "POST",
            " ",
            "/",
            "/a%2",
            "%",
            "4f",
            "?",
            "http:",
            "//",
            "HTTPS://",
            "a.b",
            ":",
            "80",
            "99999",
            " HTTP/1.1",
            "HTTP/1",
            ".0",
            "\r",
            "\r\n",
            "A: b\r\n",
            ": ",
            "#",
            "\t",
            "CONNECT ",
        ];
        let word = prop_oneof![
            8 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..3),
        ];
        proptest::collection::vec(word, 0..8).prop_map(|words| words.concat())
    }

    /// Whether some ending makes a request line of this.
    fn can_be_completed(open: &[u8]) -> bool {
        const LINES: [&str; 3] = ["M / HTTP/1.1", "M http://a/ HTTP/1.0", "M https://a/ HTTP/1.1"];
        let endings = LINES.into_iter().flat_map(|line| (0..=line.len()).map(move |at| &line[at..]));
        let escapes = ["0 HTTP/1.1", "00 HTTP/1.1", "\r"];
        endings.chain(escapes).any(|ending| {
            let line = [open, ending.as_bytes()].concat();
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            start_line(line).is_ok_and(|(_, target, _)| target::parse(target).is_ok())
        })
    }

    proptest! {
        // Sound: what is refused while it arrives would have been refused whole.
        #[test]
        fn nothing_is_refused_early_that_would_pass(text in line_like(), rest in line_like()) {
            let whole = [&text[..], &rest[..], b"Host: a\r\n\r\n"].concat();
            let mut arriving = Arriving::default();
            let early = (1..whole.len()).find_map(|length| arriving.judge(&whole[..length], &LIMITS).err());
            if let (Some(error), Ok(Some(end))) = (early, head_end(&whole, 0, &LIMITS)) {
                let mut spans = FieldSpans::default();
                let parsed = request::parse(&whole[..end], &mut spans, &LIMITS);
                prop_assert!(parsed.is_err(), "{} is refused early: {error}", whole.escape_ascii());
            }
        }

        // As early as one byte proves it: what is not refused can still become a request line.
        #[test]
        fn what_is_not_refused_can_still_be_completed(text in line_like()) {
            let open = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let fine = head_end(open, 0, &LIMITS) == Ok(None) && Arriving::default().judge(open, &LIMITS).is_ok();
            if fine && open != b"\r" {
                prop_assert!(can_be_completed(open), "{}", open.escape_ascii());
            }
        }
    }
}
