//! Any bytes as the answer of a backend, in any pieces.

use mcp_guard::wire::response_scan::{Format, ResponseKind, ResponseScan};
use serde_json::Value;

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a \"{b\" \\"}],"isError":true}}"#,
    br#"{"id":1,"error":{"data":{"code":1},"code":-32603,"message":"m"},"jsonrpc":"2.0"}"#,
    br#"{"jsonrpc":"2.0","result":{"structuredContent":{"rows":[[1,2],{"isError":true}],"text":"0123456789012345678901234567890123456789"},"\u0069sError":false}}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#,
    b"event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"isError\":true}}\r\n\r\n",
    b"\xEF\xBB\xBFid: 1\ndata\n\n: ping\n\rdata:{\"jsonrpc\":\"2.0\",\ndata: \"error\":{\"code\":7}}\n\n",
];

/// The pieces do not show in the verdict; on valid JSON the verdict is that of a tree.
pub fn target(data: &[u8]) {
    for format in [Format::Json, Format::EventStream, Format::Opaque] {
        let whole = read(format, data, data.len().max(1));
        for step in [1, 3, 64, 65] {
            assert_eq!(read(format, data, step), whole, "{format:?} in pieces of {step}");
        }
        assert_eq!(whole == ResponseKind::Empty, data.is_empty());
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        assert_eq!(read(Format::Json, data, 100), tree(&value));
    }
}

fn read(format: Format, data: &[u8], step: usize) -> ResponseKind {
    let mut scan = ResponseScan::new(format);
    data.chunks(step).for_each(|piece| scan.feed(piece));
    scan.kind()
}

/// The verdict, read off a tree, where the last of equal keys has won as well.
fn tree(message: &Value) -> ResponseKind {
    if message.get("jsonrpc") != Some(&Value::from("2.0")) || message.get("method").is_some() {
        return ResponseKind::NotRpc;
    }
    match (message.get("error"), message.get("result")) {
        (None | Some(Value::Null), Some(result)) if result.get("isError") == Some(&Value::Bool(true)) => {
            ResponseKind::ToolError
        }
        (None | Some(Value::Null), Some(_)) => ResponseKind::Ok,
        (Some(error), _) => {
            error.get("code").and_then(Value::as_i64).map_or(ResponseKind::NotRpc, ResponseKind::RpcError)
        }
        (None, None) => ResponseKind::NotRpc,
    }
}
