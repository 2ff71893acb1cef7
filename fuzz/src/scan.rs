//! Any bytes as the body of a call, also as other decoders read them.

use mcp_guard::wire::{Kind, Method, ScanError, scan};
use serde_json::Value;

use super::decoder::{self, trim};

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"echo","arguments":{"x":[1,-2.5e3,null]}}}"#,
    br#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"uri":"a\ud83d\ude00"},"id":0,"method":"resources/read","jsonrpc":"2.0"}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    br#"{"jsonrpc":"2.0","id":2,"result":{"a":{"b":[[[]]]}}}"#,
    br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"caf\u{e9}\"}".as_bytes(),
    br#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"ok_a","Name":"hidden"}}"#,
    br#"{"jsonrpc":"2.0","id":1e2,"method":"ping","Method":"tools/call","params":{"name":"hidden"}}"#,
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok_a"},"PARAMS":{"name":"hidden"}}"#,
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"param\u{17f}\":{\"name\":\"hidden\"},\"ta\u{17f}\u{212a}ID\":1}".as_bytes(),
    br#"{"jsonrpc":"2.0","id":"\ud800","method":" tools/call\u0000","params":{"name":" \udc00 ","ar\u0047uments":{}}}"#,
    br#"{"jsonrpc":"2.0","method":"tools/call","ID":7,"params":{"taskId":"t","_META":{"IO.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    br#"{"params\u0000x":{"name":"hidden"},"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"\u0130d":1," name":"b","name":"ok_a"}}"#,
];

/// What is accepted is the call that every other decoder reads: `serde_json`, the parser of one backend, and the most
/// careless one. Its id lies in the body, raw. What is refused as broken JSON is broken to `serde_json` too.
pub fn target(data: &[u8]) {
    let parsed = serde_json::from_slice::<Value>(data);
    // What only `serde_json` refuses: a number that no f64 holds, and half a surrogate pair.
    let stricter = parsed.as_ref().is_err_and(|error| {
        let text = error.to_string();
        ["number out of range", "surrogate", "end of hex escape"].iter().any(|what| text.contains(what))
    });
    let message = match scan(data) {
        Ok(message) => message,
        Err(ScanError::Empty | ScanError::Utf8 | ScanError::Syntax) => return assert!(parsed.is_err()),
        Err(ScanError::DuplicateKey | ScanError::FoldedKey | ScanError::MissingId | ScanError::Envelope) => {
            return assert!(parsed.is_ok() || stricter);
        }
        Err(ScanError::Depth | ScanError::Batch) => return,
    };
    assert_eq!(message.kind == Kind::Notification, message.id.is_none());
    if let Some(id) = message.id {
        assert!(data.as_ptr_range().contains(&id.as_ptr()));
        assert!(matches!(id.first(), Some(b'"' | b'-' | b'0'..=b'9')));
    }
    let text = std::str::from_utf8(data).expect("what is accepted is UTF-8");
    let careless = decoder::read(text).expect("what is accepted is an object");
    assert_eq!(message.id, careless.id.as_ref().map(String::as_bytes));
    assert_eq!(trim(&message.method_name), careless.method.as_deref().unwrap_or(""));
    assert_eq!(message.meta_version.as_deref().map(trim), careless.version.as_deref());
    // A method that only trimming makes a known one is the policy's to refuse.
    if message.method != Method::Other {
        assert_eq!(message.name.as_deref().map(trim), careless.name.as_deref());
    }
    if stricter {
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
