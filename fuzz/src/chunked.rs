//! Any bytes as a chunked body, and any body as chunks.

use mcp_guard::http1::FramingError;
use mcp_guard::http1::chunked::{Decoder, Piece};

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"5\r\nhello\r\n0\r\n\r\n",
    b"2;a=b\r\nhe\r\n03;c=\"d\\\"\"\r\nllo\r\n000\r\nX-T: a\r\n\r\nPOST /",
    b"a ; b\r\n0123456789\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFF\r\n",
];

type Decoded = Result<(Vec<u8>, usize, bool), FramingError>;

/// However the bytes arrive, they decode to the same; what is encoded decodes to itself.
pub fn target(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(decode(data, step), whole);
    }
    if let Ok((body, consumed, _)) = &whole {
        assert!(body.len() <= *consumed && *consumed <= data.len());
    }
    let size = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let encoded = encode(data, size);
    assert_eq!(decode(&encoded, size), Ok((data.to_vec(), encoded.len(), true)));
}

fn decode(input: &[u8], step: usize) -> Decoded {
    let mut decoder = Decoder::new();
    let (mut body, mut at, mut seen) = (Vec::new(), 0, 0);
    while seen < input.len() || at < seen {
        seen = (at + step).min(input.len()).max(seen);
        match decoder.next(&input[at..seen])? {
            Piece::Data { start, end } => {
                body.extend_from_slice(&input[at + start..at + end]);
                at += end;
            }
            Piece::More { consumed } => at += consumed,
            Piece::End { consumed } => return Ok((body, at + consumed, true)),
        }
    }
    Ok((body, at, false))
}

fn encode(body: &[u8], size: usize) -> Vec<u8> {
    let mut encoded = Vec::new();
    for chunk in body.chunks(size) {
        encoded.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\n\r\n");
    encoded
}
