//! A request before it is bytes, so that any part of it can be bent.

use crate::dice::Dice;

/// The parts of a request.
pub(crate) struct Draft {
    pub(crate) before: Vec<u8>,
    pub(crate) line: Vec<u8>,
    pub(crate) fields: Vec<Vec<u8>>,
    /// The lines that declare the body's length.
    pub(crate) length: Vec<Vec<u8>>,
    /// The body that a backend must get.
    pub(crate) body: Vec<u8>,
    /// The body as it goes over the wire, where that differs.
    pub(crate) raw: Option<Vec<u8>>,
    /// What ends the head.
    pub(crate) end: Vec<u8>,
}

impl Draft {
    pub(crate) fn new(target: &str, fields: Vec<Vec<u8>>, body: Vec<u8>) -> Draft {
        let length = vec![format!("Content-Length: {}", body.len()).into_bytes()];
        let line = format!("POST {target} HTTP/1.1").into_bytes();
        Draft { before: Vec::new(), line, fields, length, body, raw: None, end: b"\r\n\r\n".to_vec() }
    }

    /// Adds a field line.
    pub(crate) fn add(&mut self, line: &str) {
        self.fields.push(line.as_bytes().to_vec());
    }

    /// Replaces the field `name`.
    pub(crate) fn set(&mut self, name: &str, line: &str) {
        self.remove(name);
        self.add(line);
    }

    /// Removes the field `name`.
    pub(crate) fn remove(&mut self, name: &str) {
        let prefix = format!("{name}:");
        self.fields.retain(|line| {
            !line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        });
    }

    /// Declares the length with these lines; `N` stands for the body's length.
    pub(crate) fn declare(&mut self, lines: &[&str]) {
        let number = self.body.len().to_string();
        self.length = lines.iter().map(|line| line.replace('N', &number).into_bytes()).collect();
    }

    /// Sends the body in chunks.
    pub(crate) fn chunk(&mut self, how: &Chunks) {
        self.length = vec![b"Transfer-Encoding: chunked".to_vec()];
        let mut raw = Vec::new();
        let pieces = self.body.len().div_ceil(how.size.max(1));
        for (index, piece) in self.body.chunks(how.size.max(1)).enumerate() {
            let is_bent = index + 1 == pieces;
            let (before, after) = if is_bent { (how.before, how.after) } else { ("", "\r\n") };
            raw.extend_from_slice(format!("{before}{:x}{after}", piece.len()).as_bytes());
            raw.extend_from_slice(piece);
            raw.extend_from_slice(if is_bent { how.data_end } else { "\r\n" }.as_bytes());
        }
        raw.extend_from_slice(how.last.as_bytes());
        self.raw = Some(raw);
    }

    /// Moves the lines that declare the length among the other fields.
    pub(crate) fn shuffle(&mut self, dice: &mut Dice) {
        for line in std::mem::take(&mut self.length) {
            let at = dice.below(self.fields.len() + 1);
            self.fields.insert(at, line);
        }
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = self.before.clone();
        head.extend_from_slice(&self.line);
        for line in self.fields.iter().chain(&self.length) {
            head.extend_from_slice(b"\r\n");
            head.extend_from_slice(line);
        }
        head.extend_from_slice(&self.end);
        head
    }

    pub(crate) fn wire_body(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(&self.body)
    }
}

/// How a body is cut into chunks; `before`, `after` and `data_end` concern the last piece.
pub(crate) struct Chunks<'a> {
    pub(crate) size: usize,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    pub(crate) data_end: &'a str,
    pub(crate) last: &'a str,
}

impl Chunks<'static> {
    /// The usual spelling.
    pub(crate) fn plain(size: usize) -> Chunks<'static> {
        Chunks { size, before: "", after: "\r\n", data_end: "\r\n", last: "0\r\n\r\n" }
    }
}
