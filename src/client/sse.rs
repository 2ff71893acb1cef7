//! Server-sent events, as far as an MCP answer needs them: the `data` of each event, as the bytes arrive.

/// Splits a stream of bytes into events. Bounded by the caller, who bounds the bytes.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_carriage_return: bool,
}

impl Events {
    /// Takes the next bytes and calls `event` with the data of each event that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut event: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_carriage_return) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.line.extend_from_slice(rest);
                return;
            };
            self.line.extend_from_slice(&rest[..end]);
            self.after_carriage_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line(&mut event);
        }
    }

    fn end_line(&mut self, event: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            if self.has_data {
                event(&self.data);
            }
            self.data.clear();
            self.has_data = false;
        } else if let Some(data) = line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            self.has_data = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expect: &[&str]) {
        for step in [1, 3, input.len().max(1)] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for part in input.chunks(step) {
                events.push(part, |data| found.push(String::from_utf8_lossy(data).into_owned()));
            }
            assert_eq!(found, expect, "in steps of {step}");
        }
    }

    #[test]
    fn reads_events_however_the_bytes_are_cut() {
        check(b"data: {\"a\":1}\n\n", &["{\"a\":1}"]);
        check(b"event: message\r\ndata: a\r\ndata: b\r\n\r\n: ping\r\n\r\ndata:c\r\r", &["a\nb", "c"]);
        check(b"id: 1\nretry: 5\n\n", &[]);
        check(b"data\n\ndata: unfinished", &[]);
        check(b"data: a\r\r\ndata: b\n\r\n\n", &["a", "b"]);
    }
}
