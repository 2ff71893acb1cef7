//! Where a message head ends, and what refuses it before it is whole.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::bytes::is_value_byte;
use super::error::FramingError;

/// Bounds on a message head. Both are finite by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of start line and fields, the final empty line included.
    pub bytes_max: u32,
    /// Number of field lines.
    pub fields_max: u16,
}

/// The end of the last field line, and the empty line.
const EMPTY_LINE: &[u8] = b"\r\n\r\n";
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(EMPTY_LINE));

/// Looks for the end of a head block in `bytes`, resuming at `scanned` (what an earlier call already saw).
///
/// Returns the length of the head including its final empty line, `None` when more bytes are needed, and an error as
/// soon as no completion could make the head acceptable: a bare LF, a control byte or too many bytes must be refused
/// at once, not when the deadline strikes. What a returned head holds is for [`super::request::parse`] or [`super::response::parse`]
/// to judge. Empty lines before the start line belong to the head (RFC 9112, 2.2) and count.
pub fn head_end(bytes: &[u8], scanned: usize, limits: &HeadLimits) -> Result<Option<usize>, FramingError> {
    let start = leading_empty_lines(bytes);
    let from = scanned.min(bytes.len()).max(start);
    let begun = from.saturating_sub(EMPTY_LINE.len() - 1).max(start);
    if let Some(found) = FINDER.find(&bytes[begun..]) {
        let end = begun + found + EMPTY_LINE.len();
        return if end > limits.bytes_max as usize { Err(too_large(bytes, limits)) } else { Ok(Some(end)) };
    }
    for lf in memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
        if lf == start || bytes[lf - 1] != b'\r' {
            return Err(FramingError::BareLf);
        }
    }
    // A byte before `scanned` may have been a CR whose LF is only now due.
    judge_partial(&bytes[from.saturating_sub(1).max(start)..])?;
    if bytes.len() >= limits.bytes_max as usize {
        return Err(too_large(bytes, limits));
    }
    Ok(None)
}

/// The length of the empty lines (CRLF) before a request line.
pub(super) fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2
}

/// Refuses what no further byte can mend.
fn judge_partial(bytes: &[u8]) -> Result<(), FramingError> {
    let mut rest = bytes.iter().peekable();
    while let Some(&byte) = rest.next() {
        match byte {
            b'\r' if rest.peek().is_some_and(|&&next| next != b'\n') => return Err(FramingError::BareCr),
            b'\r' | b'\n' => {}
            byte if is_value_byte(byte) => {}
            _ => return Err(FramingError::ControlByte),
        }
    }
    Ok(())
}

/// Names the part that is too long: a start line that takes half of the allowance has an oversized target.
fn too_large(bytes: &[u8], limits: &HeadLimits) -> FramingError {
    let rest = &bytes[leading_empty_lines(bytes)..];
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let oversized = line.len() > limits.bytes_max as usize / 2 && line.contains(&b' ');
    if oversized { FramingError::TargetTooLong } else { FramingError::HeadTooLarge }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{FieldSpans, request, response};

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 64, fields_max: 8 };

    #[track_caller]
    fn check(bytes: &[u8], expect: Result<Option<usize>, FramingError>) {
        assert_eq!(head_end(bytes, 0, &LIMITS), expect, "{}", bytes.escape_ascii());
    }

    #[test]
    fn the_head_ends_behind_its_empty_line() {
        check(b"", Ok(None));
        check(b"GET / HTTP/1.1\r\n", Ok(None));
        check(b"GET / HTTP/1.1\r\n\r", Ok(None));
        check(b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18)));
        check(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\n\x00", Ok(Some(24)));
    }

    // RFC 9112, 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty
    // line (CRLF) received prior to the request-line".
    #[test]
    fn empty_lines_before_the_start_line_belong_to_the_head() {
        check(b"\r\n", Ok(None));
        check(b"\r\n\r\n\r\n", Ok(None));
        check(b"\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(20)));
    }

    // "bare LF or CR", "NUL or control bytes": at once, not when the deadline strikes.
    #[test]
    fn what_no_byte_can_mend_is_refused_at_once() {
        check(b"\n", Err(FramingError::BareLf));
        check(b"\r\n\n", Err(FramingError::BareLf));
        check(b"GET / HTTP/1.1\n", Err(FramingError::BareLf));
        check(b"GET / HTTP/1.1\r\n\n", Err(FramingError::BareLf));
        check(b"GET / HTTP/1.1\r\n\rZ", Err(FramingError::BareCr));
        check(b"\r\r", Err(FramingError::BareCr));
        check(b"\x16\x03\x01\x00", Err(FramingError::ControlByte));
        check(b"GET / HTTP/1.1\r\nA: \x00", Err(FramingError::ControlByte));
        check(b"\r\n\r\n\0\r\nQUIT\n", Err(FramingError::BareLf));
    }

    // "header block over 16 KiB": 431, and 414 where the target is to blame.
    #[test]
    fn a_head_without_end_is_refused_at_the_limit() {
        check(&[b'A'; 63], Ok(None));
        check(&[b'A'; 64], Err(FramingError::HeadTooLarge));
        check(format!("GET /{}", "a".repeat(64)).as_bytes(), Err(FramingError::TargetTooLong));
        check(
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64)).as_bytes(),
            Err(FramingError::TargetTooLong),
        );
        check(format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(64)).as_bytes(), Err(FramingError::HeadTooLarge));
        check("\r\n".repeat(32).as_bytes(), Err(FramingError::HeadTooLarge));
    }

    /// Bytes that look like a head more often than chance would have it.
    fn head_like() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"\r\n".to_vec()),
            Just(b"A: b\r\n".to_vec()),
            Just(b"POST /mcp HTTP/1.1\r\n".to_vec()),
            Just(b"Host: a\r\n".to_vec()),
            Just(b"Content-Length: 3\r\n".to_vec()),
            Just(b"Connection: close, a\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..4),
            proptest::collection::vec(proptest::sample::select(b"\r\n :a".to_vec()), 0..4),
        ];
        proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn looking_piece_by_piece_finds_what_one_look_finds(bytes in head_like(), pieces in proptest::collection::vec(1_usize..9, 0..40)) {
            let limits = HeadLimits { bytes_max: 4096, fields_max: 8 };
            let (mut seen, mut incremental) = (0, Ok(None));
            for piece in pieces.into_iter().chain([bytes.len()]) {
                let now = (seen + piece).min(bytes.len());
                incremental = head_end(&bytes[..now], seen, &limits);
                seen = now;
                if incremental != Ok(None) {
                    break;
                }
            }
            let whole = head_end(&bytes, 0, &limits);
            match (incremental, whole) {
                // One look at everything may find the end before it minds what stands in the head; parsing minds.
                (Err(_), Ok(Some(end))) => {
                    prop_assert!(request::parse(&bytes[..end], &mut FieldSpans::default(), &limits).is_err());
                }
                // Several things may be wrong; which is met first depends on the pieces.
                (Err(_), Err(_)) => {}
                (incremental, whole) => prop_assert_eq!(incremental, whole),
            }
        }

        #[test]
        fn parsing_any_head_never_panics_and_spans_lie_inside(bytes in head_like()) {
            let limits = HeadLimits { bytes_max: 4096, fields_max: 8 };
            let mut spans = FieldSpans::default();
            let inside = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr()) || part.is_empty() || part == b"/";
            if let Ok(head) = request::parse(&bytes, &mut spans, &limits) {
                prop_assert!(inside(head.method) && inside(head.path) && inside(head.host));
                prop_assert!(head.fields.iter().all(|field| inside(field.name) && inside(field.value)));
                prop_assert!(head.fields.iter().count() <= 8);
                prop_assert_eq!(head_end(&bytes, 0, &limits), Ok(Some(bytes.len())));
            }
            let _ = response::parse(&bytes, &mut spans, &limits);
        }
    }
}
