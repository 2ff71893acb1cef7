//! Any bytes as the body of a call, also as another parser reads them.

use mcp_guard::wire::{Kind, ScanError, scan};
use serde_json::Value;

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"echo","arguments":{"x":[1,-2.5e3,null]}}}"#,
    br#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"uri":"a\ud83d\ude00"},"id":0,"method":"resources/read","jsonrpc":"2.0"}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    br#"{"jsonrpc":"2.0","id":2,"result":{"a":{"b":[[[]]]}}}"#,
    br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"caf\u{e9}\"}".as_bytes(),
];

/// What is accepted is the call that `serde_json`, the parser of one backend, reads; its id lies in the body, raw. What
/// is refused as broken JSON is broken to `serde_json` too.
pub fn target(data: &[u8]) {
    let parsed = serde_json::from_slice::<Value>(data);
    // The one thing that only `serde_json` refuses: a number that no f64 holds.
    let out_of_range = parsed.as_ref().is_err_and(|error| error.to_string().contains("number out of range"));
    let message = match scan(data) {
        Ok(message) => message,
        Err(ScanError::Empty | ScanError::Utf8 | ScanError::Syntax) => return assert!(parsed.is_err()),
        Err(ScanError::DuplicateKey | ScanError::FoldedKey | ScanError::Envelope) => {
            return assert!(parsed.is_ok() || out_of_range);
        }
        Err(ScanError::Depth | ScanError::Batch) => return,
    };
    assert_eq!(message.kind == Kind::Notification, message.id.is_none());
    if let Some(id) = message.id {
        assert!(data.as_ptr_range().contains(&id.as_ptr()));
        assert!(matches!(id.first(), Some(b'"' | b'-' | b'0'..=b'9')));
    }
    if out_of_range {
        return;
    }
    let value = parsed.expect("what is accepted is JSON");
    let method = value.get("method").and_then(Value::as_str);
    assert_eq!(message.method_name, method.unwrap_or(""));
    assert_eq!(message.kind == Kind::Response, method.is_none());
    let param = |path: &str| value.pointer(path).and_then(Value::as_str);
    let name = match method {
        Some("tools/call" | "prompts/get") => param("/params/name"),
        Some("resources/read") => param("/params/uri"),
        _ => return,
    };
    assert_eq!(message.name.as_deref(), name);
    let version = param("/params/_meta/io.modelcontextprotocol~1protocolVersion");
    assert_eq!(message.meta_version.as_deref(), version);
}
