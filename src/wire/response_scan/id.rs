//! Whether the id of a response is the id of the call: raw JSON compared as a client's parser would compare it.
//!
//! Strings are equal after unescaping, numbers by value (`1`, `1.0` and `1e0` are one number). A string of digits passes for
//! the number: some servers respond so, and clients take it. JSON-RPC 2.0, 5, is stricter: the id "MUST be the same as the
//! value of the id member in the Request Object".

use crate::wire::lexer::Lexer;

/// The id that a response must carry, and the bytes of one that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Expected<'i> {
    wanted: Wanted<'i>,
    pieces: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Wanted<'i> {
    /// None is needed.
    #[default]
    Any,
    /// A string or a number. A JSON body is the only response there can be: its connection says to which call.
    Present,
    /// This raw JSON.
    Same(&'i [u8]),
}

impl<'i> Expected<'i> {
    fn new(wanted: Wanted<'i>) -> Expected<'i> {
        Expected { wanted, pieces: Vec::new() }
    }

    /// Any id, or none.
    pub(super) fn any() -> Expected<'i> {
        Expected::new(Wanted::Any)
    }

    /// Any id but null.
    pub(super) fn present() -> Expected<'i> {
        Expected::new(Wanted::Present)
    }

    /// The id of this raw JSON.
    pub(super) fn same(raw: &'i [u8]) -> Expected<'i> {
        Expected::new(Wanted::Same(raw))
    }

    /// The same id for the next message.
    pub(super) fn again(&self) -> Expected<'i> {
        Expected::new(self.wanted)
    }

    /// Whether any id will do.
    pub(super) fn is_any(&self) -> bool {
        matches!(self.wanted, Wanted::Any)
    }

    /// Whether this raw JSON is the id.
    pub(super) fn is(&self, found: &[u8]) -> bool {
        match self.wanted {
            Wanted::Any => true,
            Wanted::Present => matches!(found.first(), Some(b'"' | b'-' | b'0'..=b'9')),
            Wanted::Same(raw) => raw == found || is_same(raw, found),
        }
    }

    /// A string begins that may be the id, and arrives in pieces.
    pub(super) fn begin(&mut self) {
        self.pieces.clear();
        self.keep(b"\"");
    }

    /// Keeps a piece of an id. What is much longer than the id, however it is escaped, cannot be it.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        let most = match self.wanted {
            Wanted::Any => 0,
            Wanted::Present => 1,
            Wanted::Same(raw) => 6 * raw.len() + 64,
        };
        let room = most.saturating_sub(self.pieces.len());
        self.pieces.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Whether the pieces are the id; they are forgotten.
    pub(super) fn is_in_pieces(&mut self) -> bool {
        let pieces = std::mem::take(&mut self.pieces);
        self.is(&pieces)
    }
}

#[cold]
fn is_same(expected: &[u8], found: &[u8]) -> bool {
    let (Ok(expected), Ok(found)) = (str::from_utf8(expected), str::from_utf8(found)) else { return false };
    match (expected.starts_with('"'), found.starts_with('"')) {
        (true, true) => {
            let (mut left, mut right) = (Lexer::new(expected), Lexer::new(found));
            match (left.string_value(0), left.end(), right.string_value(0), right.end()) {
                (Ok(Some(left)), Ok(()), Ok(Some(right)), Ok(())) => left.decode() == right.decode(),
                _ => false,
            }
        }
        (false, false) => is_same_number(expected, found),
        (true, false) => is_number_in_string(found, expected),
        (false, true) => is_number_in_string(expected, found),
    }
}

fn is_number_in_string(number: &str, string: &str) -> bool {
    let inside = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    is_number(number) && inside == Some(number)
}

fn is_same_number(expected: &str, found: &str) -> bool {
    let whole = |text: &str| text.parse::<i128>().ok();
    match (whole(expected), whole(found)) {
        (Some(expected), Some(found)) => expected == found,
        // One of them has a fraction or an exponent, which parsers read as a double.
        _ => {
            let double = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
            is_number(expected)
                && is_number(found)
                && double(expected).is_some_and(|left| Some(left) == double(found))
        }
    }
}

/// Rust reads `inf` and `nan` as numbers, too.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: &str, found: &str, same: bool) {
        let mut id = Expected::same(expected.as_bytes());
        assert_eq!(id.is(found.as_bytes()), same, "{expected} {found}");
        found.as_bytes().chunks(3).for_each(|piece| id.keep(piece));
        assert_eq!(id.is_in_pieces(), same, "{expected} {found} in pieces");
    }

    #[test]
    fn ids_are_equal_as_parsers_compare_them() {
        for (left, right) in [
            ("1", "1"),
            ("1", "1.0"),
            ("1.0", "1"),
            ("1", "1e0"),
            ("0", "-0"),
            ("12345678901234567890", "12345678901234567890"),
            (r#""a""#, r#""a""#),
            (r#""a""#, r#""\u0061""#),
            (r#""\u00e9""#, r#""é""#),
            ("1", r#""1""#),
            (r#""-17""#, "-17"),
        ] {
            check(left, right, true);
        }
        for (left, right) in [
            ("1", "2"),
            ("1", r#""2""#),
            ("1", r#""""#),
            ("null", r#""null""#),
            (r#""1""#, "11"),
            ("1", "1.5"),
            ("1", "null"),
            ("null", "nan"),
            ("1", "[1]"),
            ("9007199254740993", "9007199254740992"),
            (r#""a""#, r#""A""#),
            (r#""a""#, r#""a "#),
            (r#""a""#, r#""aa""#),
        ] {
            check(left, right, false);
        }
        let long = format!("\"{}\"", "x".repeat(5000));
        check(&long, &long, true);
        check(&long, &format!("\"{}\"", "x".repeat(60_000)), false);
    }
}
