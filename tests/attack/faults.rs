//! The framing faults: each makes a valid request into one that some program reads differently, or not at all.
//!
//! The contract (section 3) refuses every one of them, closes the connection, and forwards nothing that stands behind.

use crate::draft::{Chunks, Draft};

/// What becomes of a fault at a proxy before the guard, which may remove it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Apache {
    /// Apache or the guard refuses it.
    Refused,
    /// Apache repairs or removes it, so that the guard gets a valid request with the same body.
    Mended,
    /// Apache answers it itself, and goes on with what stands behind.
    Answered,
}

/// A way to make a request invalid.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) bend: fn(&mut Draft),
    pub(crate) apache: Apache,
}

const fn fault(name: &'static str, bend: fn(&mut Draft)) -> Fault {
    Fault { name, bend, apache: Apache::Refused }
}

/// Apache answers these.
const fn answered(name: &'static str, bend: fn(&mut Draft)) -> Fault {
    Fault { name, bend, apache: Apache::Answered }
}

/// RFC 9112 lets a proxy repair these; Apache does.
const fn mended(name: &'static str, bend: fn(&mut Draft)) -> Fault {
    Fault { name, bend, apache: Apache::Mended }
}

fn replace(draft: &mut Draft, from: &str, to: &str) {
    for line in draft.fields.iter_mut().chain(&mut draft.length) {
        let text: String = line.iter().map(|byte| char::from(*byte)).collect();
        if text.contains(from) {
            *line = text.replacen(from, to, 1).chars().map(|letter| letter as u8).collect();
            return;
        }
    }
}

fn coding(draft: &mut Draft, line: &str) {
    draft.chunk(&Chunks::plain(30));
    draft.length = line.split('\n').map(|line| line.as_bytes().to_vec()).collect();
}

/// The last piece of a chunked body, bent.
fn chunks(draft: &mut Draft, bent: Chunks<'_>) {
    draft.chunk(&Chunks { size: 40, ..bent });
}

fn plain() -> Chunks<'static> {
    Chunks::plain(40)
}

/// Lengths and codings.
pub(crate) const LENGTHS: &[Fault] = &[
    fault("length twice, equal", |d| d.declare(&["Content-Length: N", "Content-Length: N"])),
    fault("length twice, different", |d| d.declare(&["Content-Length: 5", "Content-Length: N"])),
    fault("length as a list", |d| d.declare(&["Content-Length: N, N"])),
    fault("length with a plus", |d| d.declare(&["Content-Length: +N"])),
    fault("length negative", |d| d.declare(&["Content-Length: -1"])),
    fault("length in hexadecimal", |d| d.declare(&["Content-Length: 0xN"])),
    fault("length empty", |d| d.declare(&["Content-Length:"])),
    fault("length beyond 64 bits", |d| d.declare(&["Content-Length: 184467440737095516160N"])),
    fault("length with a tail", |d| d.declare(&["Content-Length: N;x"])),
    fault("length with a blank inside", |d| d.declare(&["Content-Length: N 1"])),
    mended("length and coding", |d| {
        coding(d, "Transfer-Encoding: chunked");
        d.length.push(format!("Content-Length: {}", d.wire_body().len()).into_bytes());
    }),
    mended("short length and coding", |d| {
        coding(d, "Transfer-Encoding: chunked");
        d.length.insert(0, b"Content-Length: 6".to_vec());
    }),
    fault("coding twice", |d| coding(d, "Transfer-Encoding: chunked\nTransfer-Encoding: chunked")),
    fault("coding as a list", |d| coding(d, "Transfer-Encoding: chunked, chunked")),
    fault("coding before chunked", |d| coding(d, "Transfer-Encoding: gzip, chunked")),
    fault("coding identity", |d| d.declare(&["Transfer-Encoding: identity", "Content-Length: N"])),
    fault("coding unknown", |d| coding(d, "Transfer-Encoding: xchunked")),
    fault("coding quoted", |d| coding(d, "Transfer-Encoding: \"chunked\"")),
    fault("coding behind a form feed", |d| coding(d, "Transfer-Encoding: \u{c}chunked")),
    fault("coding with an empty member", |d| coding(d, "Transfer-Encoding: , chunked")),
    fault("coding with a parameter", |d| coding(d, "Transfer-Encoding: chunked;q=1")),
    fault("coding and a misspelt one", |d| {
        coding(d, "Transfer-Encoding: chunked\nTransfer-Encoding: x");
    }),
    mended("coding in HTTP/1.0", |d| {
        coding(d, "Transfer-Encoding: chunked");
        replace_line(d, "HTTP/1.1", "HTTP/1.0");
    }),
    fault("blank before the colon of the length", |d| d.declare(&["Content-Length : N"])),
    fault("blank before the colon of the coding", |d| coding(d, "Transfer-Encoding : chunked")),
    mended("folded length", |d| d.declare(&["Content-Length:\r\n N"])),
];

fn replace_line(draft: &mut Draft, from: &str, to: &str) {
    draft.line = String::from_utf8_lossy(&draft.line).replacen(from, to, 1).into_bytes();
}

/// Field lines and the request line.
pub(crate) const HEADS: &[Fault] = &[
    fault("bare line feed", |d| replace(d, "application/json", "application/json\nX-A: b")),
    fault("bare carriage return", |d| replace(d, "application/json", "application/json\rX-A: b")),
    fault("head that ends in bare line feeds", |d| d.end = b"\n\n".to_vec()),
    fault("head that ends in one bare line feed", |d| d.end = b"\r\n\n".to_vec()),
    mended("folded line", |d| replace(d, "application/json", "application/json;\r\n charset=utf-8")),
    fault("blank before the first field", |d| d.fields.insert(0, b" X-A: b".to_vec())),
    fault("zero byte in a value", |d| d.add("X-A: b\0c")),
    fault("control byte in a value", |d| d.add("X-A: b\u{1}c")),
    fault("delete in a value", |d| d.add("X-A: b\u{7f}c")),
    fault("control byte in a name", |d| d.add("X-\u{1}A: b")),
    fault("no colon", |d| d.add("Nonsense")),
    fault("empty name", |d| d.add(": b")),
    fault("name with a blank", |d| d.add("X A: b")),
    fault("name with a bracket", |d| d.add("X(A): b")),
    fault("blank before a colon", |d| d.add("X-A : b")),
    fault("no host", |d| d.remove("Host")),
    fault("two hosts", |d| d.add("Host: localhost")),
    fault("two different hosts", |d| d.add("Host: elsewhere")),
    fault("odd host", |d| d.set("Host", "Host: local/host")),
    fault("host with a user", |d| d.set("Host", "Host: user@localhost")),
    fault("lower-case version", |d| replace_line(d, "HTTP/1.1", "http/1.1")),
    mended("HTTP/2.0", |d| replace_line(d, "HTTP/1.1", "HTTP/2.0")),
    fault("version with two digits", |d| replace_line(d, "HTTP/1.1", "HTTP/1.10")),
    fault("no version", |d| replace_line(d, " HTTP/1.1", "")),
    fault("two blanks", |d| replace_line(d, " HTTP", "  HTTP")),
    fault("tab in the request line", |d| replace_line(d, "POST ", "POST\t")),
    fault("blank in the target", |d| replace_line(d, " HTTP", " x HTTP")),
    fault("blank behind the version", |d| replace_line(d, "HTTP/1.1", "HTTP/1.1 ")),
    fault("zero byte in the target", |d| replace_line(d, " HTTP", "\0 HTTP")),
    answered("high byte in the target", |d| replace_line(d, " HTTP", "\u{e9} HTTP")),
    fault("method with a bracket", |d| replace_line(d, "POST", "PO(ST")),
    mended("absolute form of another host", |d| {
        replace_line(d, "POST ", "POST http://elsewhere");
    }),
    fault("absolute form of another scheme", |d| replace_line(d, "POST ", "POST ftp://localhost")),
    fault("target without a slash", |d| replace_line(d, "POST /", "POST ")),
    answered("CONNECT", |d| d.line = b"CONNECT localhost:80 HTTP/1.1".to_vec()),
    answered("TRACE", |d| replace_line(d, "POST", "TRACE")),
    mended("Connection names the token", |d| d.add("Connection: Authorization")),
    mended("Connection names the length", |d| d.add("Connection: keep-alive, content-length")),
    mended("Connection names the host", |d| d.add("Connection: Host")),
    mended("Connection names the type", |d| d.add("Connection: close, Content-Type")),
    mended("unknown expectation", |d| d.add("Expect: the-worst")),
    fault("101 more fields", |d| (0..101).for_each(|n| d.add(&format!("X-{n}: {n}")))),
    fault("head beyond 16 KiB", |d| d.add(&format!("X-A: {}", "a".repeat(16_500)))),
    fault("target beyond 16 KiB", |d| replace_line(d, " HTTP", &format!("?{} HTTP", "a".repeat(16_500)))),
];

/// Chunked bodies.
pub(crate) const CHUNKS: &[Fault] = &[
    fault("chunk size with a plus", |d| chunks(d, Chunks { before: "+", ..plain() })),
    fault("chunk size negative", |d| chunks(d, Chunks { before: "-", ..plain() })),
    fault("chunk size with a prefix", |d| chunks(d, Chunks { before: "0x", ..plain() })),
    fault("blank before a chunk size", |d| chunks(d, Chunks { before: " ", ..plain() })),
    fault("blank in a chunk size", |d| chunks(d, Chunks { before: "0 ", ..plain() })),
    fault("chunk size beyond 64 bits", |d| chunks(d, Chunks { before: "1000000000000000000", ..plain() })),
    fault("chunk size behind an underscore", |d| chunks(d, Chunks { before: "0_", ..plain() })),
    fault("chunk line that ends in a line feed", |d| chunks(d, Chunks { after: "\n", ..plain() })),
    fault("line feed in a chunk extension", |d| chunks(d, Chunks { after: ";a\nb\r\n", ..plain() })),
    fault("carriage return in a chunk extension", |d| chunks(d, Chunks { after: ";a\rb\r\n", ..plain() })),
    fault("chunk that ends in a line feed", |d| chunks(d, Chunks { data_end: "\n", ..plain() })),
    fault("chunk that does not end", |d| chunks(d, Chunks { data_end: "X\r\n", ..plain() })),
    fault("chunk with one byte more", |d| chunks(d, Chunks { data_end: "X", ..plain() })),
    fault("trailer without a colon", |d| chunks(d, Chunks { last: "0\r\nNonsense\r\n\r\n", ..plain() })),
    fault("trailer with a blank", |d| chunks(d, Chunks { last: "0\r\nX A: b\r\n\r\n", ..plain() })),
    fault("trailer with a zero byte", |d| chunks(d, Chunks { last: "0\r\nX-A: \0\r\n\r\n", ..plain() })),
    fault("trailer that ends in a line feed", |d| chunks(d, Chunks { last: "0\r\nX-A: b\n\r\n", ..plain() })),
    fault("end that is a line feed", |d| chunks(d, Chunks { last: "0\n\r\n", ..plain() })),
    fault("end with a size that is none", |d| chunks(d, Chunks { last: "00x0\r\n\r\n", ..plain() })),
];
