//! Any bytes as the body of a call.

use mcp_guard::wire::{Kind, scan};

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"echo","arguments":{"x":[1,-2.5e3,null]}}}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    br#"{"jsonrpc":"2.0","id":2,"result":{"a":{"b":[[[]]]}}}"#,
    br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"caf\u{e9}\"}".as_bytes(),
];

/// What is accepted is UTF-8 and one object, and its id lies in it, raw.
pub fn target(data: &[u8]) {
    let Ok(message) = scan(data) else { return };
    let text = std::str::from_utf8(data).expect("an accepted body is UTF-8").trim();
    assert!(text.starts_with('{') && text.ends_with('}'));
    match message.kind {
        Kind::Request | Kind::Response => assert!(message.id.is_some()),
        Kind::Notification => assert!(message.id.is_none()),
    }
    if let Some(id) = message.id {
        assert!(data.as_ptr_range().contains(&id.as_ptr()));
        assert!(matches!(id.first(), Some(b'"' | b'-' | b'0'..=b'9')));
    }
}
