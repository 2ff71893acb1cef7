//! What `tools/list` shows a client whose tools are bounded: its own tools, never more, and every other byte as it was.

use mcp_testkit::{Guard, Message, backend, call, eventually, ok, post};

use crate::guard;
use crate::limits::{client, tool_call};

const LIST: &str = r#"{"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "swf_list", "inputSchema": {"type": "object"}},
 {"name": "panda_kill", "inputSchema": {}}, {"name":"swf_start"}], "nextCursor": "p\u0061ge2"}}"#;
const OWN: &str = r#"{"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "swf_list", "inputSchema": {"type": "object"}}, {"name":"swf_start"}], "nextCursor": "p\u0061ge2"}}"#;
const READS: &str = r#"{"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "swf_list", "inputSchema": {"type": "object"}}], "nextCursor": "p\u0061ge2"}}"#;
const NONE: &str = r#"{"jsonrpc": "2.0", "id": 1, "result": {"tools": [], "nextCursor": "p\u0061ge2"}}"#;

/// One client of each kind.
fn tokens() -> String {
    client("all", "")
        + &client("own", "tools = [\"swf_*\"]")
        + &client("denied", "deny_tools = [\"panda_*\"]")
        + &client("reader", "read_only = true")
        + &client("full", "tools = [\"swf_*\"]\ntools_list = \"full\"")
        + &client("nothing", "tools = []")
}

async fn list(guard: &Guard, token: &str) -> Message {
    guard.connect().await.exchange(post(token, "", &call(1, "tools/list"))).await
}

const READ_ONLY: &str = "[tools]\nread_only = [\"swf_list*\"]";

#[tokio::test]
async fn a_bounded_client_sees_its_own_tools_and_others_see_the_backend_s_bytes() {
    let backend = backend().await.serve(|request| {
        let is_list = request.json()["method"] == "tools/list";
        if is_list { ok(LIST) } else { ok(&mcp_testkit::result(7)) }
    });
    let guard = guard().tokens(&tokens()).config(READ_ONLY).upstream(&backend).start().await;
    for (token, expect) in
        [("all", LIST), ("own", OWN), ("denied", OWN), ("reader", READS), ("full", LIST), ("nothing", NONE)]
    {
        let answer = list(&guard, token).await;
        assert_eq!((answer.status(), answer.text()), (200, expect), "{token}");
        assert_eq!(answer.field("content-length"), Some(expect.len().to_string().as_str()), "{token}");
    }
    // "a tool that this client may not call, in either era: `200` with `-32602` "Unknown tool""
    for (token, tool, may) in [
        ("own", "swf_start", true),
        ("own", "panda_kill", false),
        ("own", "no_such_tool", false),
        ("denied", "panda_kill", false),
        ("reader", "swf_list", true),
        ("reader", "swf_start", false),
        ("full", "panda_kill", false),
        ("nothing", "swf_list", false),
        ("all", "panda_kill", true),
    ] {
        let answer = guard.connect().await.exchange(post(token, "", &tool_call(7, tool))).await;
        let unknown = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}"#;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text() == unknown, !may, "{token} {tool}: {}", answer.text());
    }
    let modern = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n";
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    assert_eq!(guard.connect().await.exchange(post("own", modern, body)).await.text(), OWN);
}

#[tokio::test]
async fn a_list_in_chunks_or_as_events_is_edited_too() {
    let backend = backend().await;
    let guard = guard().tokens(&tokens()).upstream(&backend).start().await;
    let mut client = guard.connect().await;
    client.send(post("own", "", &call(1, "tools/list"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in LIST.as_bytes().chunks(40) {
        peer.send(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece))).await;
    }
    peer.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), OWN);

    // Some servers keep a stream open after they have answered.
    client.send(post("own", "", &call(1, "tools/list"))).await;
    peer.request().await;
    let event = |list: &str| format!(": hello\n\nevent: message\ndata: {}\n\n", list.replace('\n', ""));
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    peer.send(format!("{:x}\r\n{}\r\n", event(LIST).len(), event(LIST))).await;
    let answer = client.response().await;
    assert_eq!(answer.text(), event(OWN));
    peer.closed().await;
}

// "never an unfiltered list"
#[tokio::test]
async fn what_cannot_be_edited_is_not_passed_on() {
    let backend = backend().await.serve(|request| {
        let wanted = request.field("x-wanted").unwrap_or_default().to_owned();
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"swf_a","description":"{}"}}]}}}}"#,
            "x".repeat(5 << 20)
        );
        let with = |kind: &str, body: &str| {
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        match wanted.as_str() {
            "long" => with("application/json", &long),
            "twice" => with(
                "application/json",
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"panda_kill"}]}}"#,
            ),
            "page" => with("text/html", "<ul><li>panda_kill</ul>"),
            "batch" => with("application/json", &format!("[{LIST}]")),
            _ => with("text/event-stream", "data: <panda_kill>\n\n"),
        }
    });
    let guard = guard().tokens(&tokens()).upstream(&backend).start().await;
    for wanted in ["long", "twice", "page", "batch", "event"] {
        let fields = format!("X-Wanted: {wanted}\r\n");
        let answer = guard.connect().await.exchange(post("own", &fields, &call(1, "tools/list"))).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (200, &(-31502).into()), "{wanted}");
        assert!(!answer.text().contains("panda_kill"), "{wanted}");
    }
    eventually("it is counted", || async {
        guard.metric(r#"mcp_guard_denials_total{code="backend_invalid"}"#).await >= 5.0
    })
    .await;
}
