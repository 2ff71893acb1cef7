//! Copies of a field that agree byte for byte are one field: proxies and `fetch` add what a client has already set, on a line
//! of its own or behind a comma (RFC 9110, 5.3).

use super::KnownField;
use super::bytes::trim;
use super::fields::FieldSpans;

/// The fields of which clients are known to send copies. No list is a value of theirs.
const COPIED: [KnownField; 2] = [KnownField::McpProtocolVersion, KnownField::McpSessionId];

impl FieldSpans {
    /// Leaves one of the copies that agree; those that do not make the field a repeated one.
    pub(super) fn fold_copies(&mut self, block: &[u8]) {
        for known in COPIED {
            match self.count(known) {
                0 => {}
                1 => self.fold_line(block, known),
                _ => self.fold_lines(block, known),
            }
        }
    }

    /// One line: what stands between commas.
    fn fold_line(&mut self, block: &[u8], known: KnownField) {
        let Some(value) = self.lines_of(block, known).next() else { return };
        let Some(comma) = memchr::memchr(b',', value) else { return };
        let first = trim(&value[..comma]);
        // A session id may hold a comma. Who joins copies puts white space behind it.
        let is_opaque =
            known == KnownField::McpSessionId && !value.iter().any(|byte| matches!(byte, b' ' | b'\t'));
        if elements(value).all(|element| element == first) {
            self.keep_one(known, first.len());
        } else if !is_opaque {
            self.mark_repeated(known);
        }
    }

    /// Several lines, each of which may hold several copies.
    fn fold_lines(&mut self, block: &[u8], known: KnownField) {
        let mut copies = self.lines_of(block, known).flat_map(elements);
        let Some(first) = copies.next() else { return };
        let agree = copies.all(|copy| copy == first);
        drop(copies);
        if agree {
            self.keep_one(known, first.len());
        }
    }
}

fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

#[cfg(test)]
mod tests {
    use super::super::{FieldSpans, HeadLimits, KnownField, Occurs, request};

    /// What becomes of the lines: the value if there is one, and the lines that pass on.
    #[track_caller]
    fn check(name: &str, values: &[&str], expect: Option<&str>) {
        let lines: String = values.iter().map(|value| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}X-A: b\r\n\r\n");
        let limits = HeadLimits { bytes_max: 4096, fields_max: 32 };
        let mut spans = FieldSpans::default();
        let parsed = request::parse(head.as_bytes(), &mut spans, &limits).unwrap();
        let found = match parsed.fields.occurs(KnownField::recognise(name.as_bytes())) {
            Occurs::Once(value) => Some(std::str::from_utf8(value).unwrap()),
            Occurs::Never | Occurs::Repeated => None,
        };
        assert_eq!(found, expect, "{lines}");
        if let Some(value) = expect {
            let mut out = Vec::new();
            parsed.fields.append_lines(&mut out, |_| true);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, format!("Host: a\r\n{name}: {value}\r\nX-A: b\r\n"), "{lines}");
            assert_eq!(parsed.fields.iter().count(), 3, "{lines}");
        }
    }

    // "copies that agree byte for byte, on one line or several, are one"
    #[test]
    fn copies_that_agree_are_one() {
        for (name, value) in [("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Session-Id", "a-1")] {
            let joined = [", ", ",", " ,\t"].map(|comma| format!("{value}{comma}{value}"));
            check(name, &[value], Some(value));
            check(name, &[value, value], Some(value));
            check(name, &[value, value, value], Some(value));
            for joined in &joined {
                check(name, &[joined], Some(value));
                check(name, &[joined, value], Some(value));
            }
        }
    }

    #[test]
    fn copies_that_differ_are_a_repeated_field() {
        for name in ["MCP-Protocol-Version", "Mcp-Session-Id"] {
            for values in [
                &["2025-11-25", "2025-06-18"][..],
                &["2025-11-25", "2025-11-25, 2025-06-18"],
                &["2025-11-25, 2025-06-18"],
                &["2025-11-25, 2025-11-25, "],
                &["a", "A"],
                &["a", ""],
            ] {
                check(name, values, None);
            }
        }
        check("MCP-Protocol-Version", &["2025-11-25,2025-06-18"], None);
        // Visible ASCII, as MCP has it, comma and all.
        check("Mcp-Session-Id", &["a,b"], Some("a,b"));
    }

    #[test]
    fn other_fields_are_not_folded() {
        for name in ["Authorization", "Content-Type", "Mcp-Method", "Mcp-Name"] {
            check(name, &["a", "a"], None);
            check(name, &["a, a"], Some("a, a"));
        }
    }
}
