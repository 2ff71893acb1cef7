//! JSON-RPC error objects.
//!
//! Must not know when an error is sent or with which HTTP status: that is `policy`.

use std::io::Write;

/// A JSON-RPC error object's parts, rendered by [`write_error`].
#[derive(Debug, Clone)]
pub struct ErrorParts<'a> {
    /// The raw JSON of the request's `id`; `None` renders `null`.
    pub id: Option<&'a [u8]>,
    /// The JSON-RPC code.
    pub code: i32,
    /// Plain text; escaped here.
    pub message: &'a str,
    /// Raw JSON of `data`, if any.
    pub data: Option<&'a str>,
}

/// Appends `{"jsonrpc":"2.0","id":…,"error":{…}}` to `out`.
pub fn write_error(out: &mut Vec<u8>, parts: &ErrorParts<'_>) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(parts.id.unwrap_or(b"null"));
    // Writing to a Vec cannot fail.
    let _ = write!(out, r#","error":{{"code":{},"message":"#, parts.code);
    write_string(out, parts.message);
    if let Some(data) = parts.data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
    }
    out.extend_from_slice(b"}}");
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_errors_that_any_parser_reads_back() {
        let render = |id: Option<&[u8]>, data| {
            let mut out = Vec::new();
            let message = "a \"quoted\"\\ line\r\n\u{1}é\u{7f}";
            write_error(&mut out, &ErrorParts { id, code: -31503, message, data });
            serde_json::from_slice::<serde_json::Value>(&out).expect("valid JSON")
        };
        let message = "a \"quoted\"\\ line\r\n\u{1}é\u{7f}";
        let full = serde_json::json!({"jsonrpc": "2.0", "id": "a\"b", "error": {"code": -31503, "message": message, "data": {"x": 1}}});
        assert_eq!(render(Some(br#""a\"b""#), Some(r#"{"x":1}"#)), full);
        let bare =
            serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": -31503, "message": message}});
        assert_eq!(render(None, None), bare);
    }

    // The id is echoed with its exact spelling: a client that sent 1 must not get "1".
    #[test]
    fn renders_the_exact_bytes() {
        let mut out = Vec::new();
        write_error(
            &mut out,
            &ErrorParts { id: Some(b"-7"), code: -32602, message: "Unknown tool", data: None },
        );
        assert_eq!(out, br#"{"jsonrpc":"2.0","id":-7,"error":{"code":-32602,"message":"Unknown tool"}}"#);
    }
}
