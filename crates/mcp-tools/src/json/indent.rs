//! JSON indented by two, as a text of its own or inside a string of JSON.
//!
//! Copies what stands between two marks in one piece. Must not know what the values mean.

use memchr::memchr2;

/// A line's end, and the blanks of the deepest line that is indented in one piece.
const LINE: &str = "\n                                ";
/// The same inside a string.
const LINE_IN_STRING: &str = "\\n                                ";

/// Where the indented text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    /// In a string of JSON: line ends, quotes and backslashes are escaped. Valid JSON has no other letter that needs it.
    InString,
}

/// Writes the value of a valid text in the layout of `serde_json::to_string_pretty`. `depth` is that of what it stands in.
pub(super) fn write(json: &str, place: Place, depth: usize, into: &mut String) {
    let mut writer = Indenter { made: into, place, depth, opened: false };
    let mut rest = json;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => {
                let string = StringToken::at_start_of(rest);
                writer.string(rest, string);
                string.length
            }
            b' ' | b'\t' | b'\n' | b'\r' => 1,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                writer.mark(first);
                1
            }
            _ => {
                let length = word_length(rest);
                writer.word(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
}

/// Writes a string without escapes as a part of a string of JSON.
pub(crate) fn write_plain_in_string(token: &str, into: &mut String) {
    into.push_str("\\\"");
    into.push_str(token.get(1..token.len() - 1).unwrap_or_default());
    into.push_str("\\\"");
}

struct Indenter<'a> {
    made: &'a mut String,
    place: Place,
    depth: usize,
    /// Whether nothing stands yet between the last opening bracket and here.
    opened: bool,
}

impl Indenter<'_> {
    fn mark(&mut self, mark: u8) {
        match mark {
            b'{' | b'[' => {
                self.before_value();
                self.made.push(char::from(mark));
                self.depth += 1;
                self.opened = true;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if !self.opened {
                    self.new_line();
                }
                self.opened = false;
                self.made.push(char::from(mark));
            }
            b',' => {
                self.made.push(',');
                self.new_line();
            }
            _ => self.made.push_str(": "),
        }
    }

    fn word(&mut self, word: &str) {
        self.before_value();
        self.made.push_str(word);
    }

    /// Writes the string that `text` begins with.
    fn string(&mut self, text: &str, StringToken { length, escapes }: StringToken) {
        self.before_value();
        let token = &text[..length];
        match (self.place, escapes) {
            (Place::Text, _) => self.made.push_str(token),
            (Place::InString, Escapes::None) => write_plain_in_string(token, self.made),
            (Place::InString, Escapes::Some) => {
                for piece in token.split_inclusive(['"', '\\']) {
                    let before = piece.strip_suffix(['"', '\\']).unwrap_or(piece);
                    let mark = &piece[before.len()..];
                    self.made.push_str(before);
                    self.made.push_str(if mark.is_empty() { "" } else { "\\" });
                    self.made.push_str(mark);
                }
            }
        }
    }

    fn before_value(&mut self) {
        if self.opened {
            self.new_line();
            self.opened = false;
        }
    }

    fn new_line(&mut self) {
        let (line, end) = match self.place {
            Place::Text => (LINE, "\n".len()),
            Place::InString => (LINE_IN_STRING, "\\n".len()),
        };
        let length = end + 2 * self.depth;
        match line.get(..length) {
            Some(line) => self.made.push_str(line),
            None => {
                self.made.push_str(line);
                self.made.extend(std::iter::repeat_n(' ', length - line.len()));
            }
        }
    }
}

/// A string of JSON that a text begins with.
#[derive(Debug, Clone, Copy)]
struct StringToken {
    /// With its quotes.
    length: usize,
    escapes: Escapes,
}

/// Whether a string has backslashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Some,
}

impl StringToken {
    fn at_start_of(text: &str) -> StringToken {
        let bytes = text.as_bytes();
        let (mut at, mut escapes) = (1, Escapes::None);
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            at += found + 1;
            if bytes.get(at - 1) == Some(&b'"') {
                return StringToken { length: at, escapes };
            }
            // What follows a backslash does not end the string.
            at += 1;
            escapes = Escapes::Some;
        }
        StringToken { length: text.len(), escapes: Escapes::Some }
    }
}

/// The length of the string that begins here, with its quotes.
pub(crate) fn string_length(text: &str) -> usize {
    StringToken::at_start_of(text).length
}

/// The length of the number or the word that begins here.
fn word_length(text: &str) -> usize {
    let ends =
        |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"');
    text.bytes().position(ends).unwrap_or(text.len()).max(1)
}
