//! Verdicts on responses: by example, and against a reading of the whole body by other means.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn read(format: Format, pieces: &[&[u8]]) -> ResponseKind {
    let mut scan = ResponseScan::new(format);
    for piece in pieces {
        scan.feed(piece);
    }
    scan.kind()
}

/// Read at once, byte by byte, and cut in two anywhere: always the same.
#[track_caller]
fn check(format: Format, body: &str, expect: ResponseKind) {
    let bytes = body.as_bytes();
    assert_eq!(read(format, &[bytes]), expect, "{body}");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(format, &single), expect, "byte by byte: {body}");
    // A long body is cut at a few places only, odd ones.
    for at in (0..bytes.len()).step_by(bytes.len() / 1000 * 97 + 1) {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(format, &[head, &[], tail]), expect, "cut at {at}: {body}");
    }
}

#[track_caller]
fn check_json(body: &str, expect: ResponseKind) {
    check(Format::Json, body, expect);
}

#[test]
fn distinguishes_results_tool_errors_and_rpc_errors() {
    check_json(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#, ResponseKind::Ok);
    check_json(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, ResponseKind::Ok);
    check_json(r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true,"content":[]}}"#, ResponseKind::ToolError);
    check_json(
        r#"{"result":{"content":[{"a":[]}],"isError" : true } , "id":"x","jsonrpc":"2.0"} "#,
        ResponseKind::ToolError,
    );
    check_json(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#,
        ResponseKind::RpcError(-32603),
    );
    check_json(
        r#"{"jsonrpc":"2.0","id":null,"error":{"message":"m","data":{"code":1},"code":7}}"#,
        ResponseKind::RpcError(7),
    );
    check_json(r#"{"jsonrpc":"2.0","id":1,"result":{"isError":"true"}}"#, ResponseKind::Ok);
    check_json(r#"{"jsonrpc":"2.0","id":1,"result":null}"#, ResponseKind::Ok);
}

#[test]
fn is_not_fooled_by_the_same_names_elsewhere() {
    let decoys = [
        r#""content":[{"isError":true,"error":{"code":-32603}}]"#,
        r#""structuredContent":{"isError":true,"result":{"isError":true}}"#,
        r#""text":"\"isError\":true}} \\\" {[""#,
        r#""isErrorX":true"#,
        r#""iserror":true"#,
        r#""isError\\":true"#,
        r#""code":-32603"#,
    ];
    for decoy in decoys {
        check_json(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{decoy}}}}}"#), ResponseKind::Ok);
        check_json(
            &format!(r#"{{"jsonrpc":"2.0","id":1,"x":{{{decoy}}},"result":{{"y":1}}}}"#),
            ResponseKind::Ok,
        );
        check_json(
            &format!(r#"{{"jsonrpc":"2.0","result":{{{decoy},"isError":true}}}}"#),
            ResponseKind::ToolError,
        );
    }
    check_json(r#"{"jsonrpc":"2.0","isError":true,"code":5,"id":1,"result":{}}"#, ResponseKind::Ok);
    check_json(
        r#"{"jsonrpc":"2.0","error":{"code":4,"isError":true,"data":{"code":5}}}"#,
        ResponseKind::RpcError(4),
    );
}

#[test]
fn reads_escaped_names() {
    check_json(r#"{"json\u0072pc":"2\u002e0","re\u0073ult":{"\u0069sError":true}}"#, ResponseKind::ToolError);
    check_json(r#"{"jsonrpc":"2.0","\u0065rror":{"c\u006fde":-1}}"#, ResponseKind::RpcError(-1));
}

// The client's parser takes the last of equal keys; so does the record.
#[test]
fn lets_the_last_of_equal_keys_count() {
    check_json(r#"{"jsonrpc":"2.0","result":{"isError":true,"isError":false}}"#, ResponseKind::Ok);
    check_json(r#"{"jsonrpc":"2.0","result":{"isError":true},"result":{}}"#, ResponseKind::Ok);
    check_json(r#"{"jsonrpc":"2.0","error":{"code":1,"code":2}}"#, ResponseKind::RpcError(2));
    check_json(r#"{"jsonrpc":"2.0","error":{"code":1},"error":{}}"#, ResponseKind::NotRpc);
    check_json(r#"{"jsonrpc":"1.0","result":{},"jsonrpc":"2.0"}"#, ResponseKind::Ok);
    check_json(r#"{"jsonrpc":"2.0","result":{},"jsonrpc":2}"#, ResponseKind::NotRpc);
}

#[test]
fn finds_what_is_no_response() {
    for body in [
        "<html><body>Bad Gateway</body></html>",
        "null",
        "[]",
        r#"[{"jsonrpc":"2.0","result":{}}]"#,
        "{}",
        r#"{"error":"not found"}"#,
        r#"{"id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}x"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}{}"#,
        r#"{"jsonrpc":"2.0" "id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":01,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"isError":truE}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},}"#,
        " ",
    ] {
        check_json(body, ResponseKind::NotRpc);
    }
    check_json("", ResponseKind::Empty);
    check_json(r#"{"jsonrpc":"2.0","error":null,"result":{}}"#, ResponseKind::Ok);
}

#[test]
fn takes_a_response_that_is_cut_short_for_none() {
    let body =
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"3\n"}],"isError":false}}"#;
    for length in 1..body.len() {
        check_json(&body[..length], ResponseKind::NotRpc);
    }
}

#[test]
fn reads_the_end_of_responses_of_any_size() {
    let text = r#"line \"quoted\" {[ \\ "#.repeat(20_000);
    let item = r#"{"id":12,"tags":["a","b\"]"],"v":{"x":null}},"#.repeat(5_000);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"text":"{text}"}}],"s":[{item}0],"isError":true}}}}"#
    );
    check_json(&body, ResponseKind::ToolError);
    // A number that is too long to keep is not judged, in one piece or in many.
    for digit in ["1", "0", "-"] {
        let number = digit.repeat(60);
        check_json(
            &format!(r#"{{"jsonrpc":"2.0","result":{{"n":{number},"isError":true}}}}"#),
            ResponseKind::ToolError,
        );
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    check_json(
        &format!(r#"{{"jsonrpc":"2.0","x":{deep},"error":{{"code":-32603}}}}"#),
        ResponseKind::RpcError(-32603),
    );
}

#[test]
fn reads_nothing_of_other_formats() {
    check(Format::Opaque, r#"{"jsonrpc":"2.0","result":{}}"#, ResponseKind::NotRpc);
    check(Format::Opaque, "", ResponseKind::Empty);
    let format = |value: &str| Format::from_content_type(value.as_bytes());
    assert_eq!(format("application/json"), Format::Json);
    assert_eq!(format("Application/JSON ; charset=utf-8"), Format::Json);
    assert_eq!(format("text/event-stream;charset=utf-8"), Format::EventStream);
    for other in ["", "text/html", "application/jsonl", "application/json-rpc", "text/event-streams", "json"]
    {
        assert_eq!(format(other), Format::Opaque, "{other}");
    }
}

const NOTE: &str =
    r#"data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"error":{"code":1}}}"#;
const ASK: &str = r#"data: {"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}"#;
const DONE: &str = r#"data: {"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#;
const FAILED: &str = r#"data: {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}"#;

/// Lines, ended in each of the three ways.
#[track_caller]
fn check_events(lines: &[&str], expect: ResponseKind) {
    for end in ["\n", "\r\n", "\r"] {
        let body: String = lines.iter().flat_map(|line| [*line, end]).collect();
        check(Format::EventStream, &body, expect);
    }
}

// 2026-07-28, Receiving Messages: notifications come before the final response; before 2026 requests did as well.
#[test]
fn lets_the_last_response_of_a_stream_decide() {
    check_events(&[NOTE, "", ASK, "", DONE, ""], ResponseKind::ToolError);
    check_events(&[DONE, "", NOTE, "", ASK, ""], ResponseKind::ToolError);
    check_events(&[DONE, "", FAILED, ""], ResponseKind::RpcError(-32603));
    check_events(&["event: message", "id: 7", "retry: 10", FAILED, ""], ResponseKind::RpcError(-32603));
    check_events(
        &[": keep-alive", "", "id: 1", "data:", "", "event: message", DONE, "", ": bye"],
        ResponseKind::ToolError,
    );
    check_events(&[NOTE, "", ASK, ""], ResponseKind::NotRpc);
    check_events(&["data: rubbish", ""], ResponseKind::NotRpc);
    check_events(&[DONE, "", "data: rubbish", ""], ResponseKind::ToolError);
}

// WHATWG HTML, 9.2.6: fields, comments, the optional space, and events that end without an empty line.
#[test]
fn reads_event_streams_by_their_rules() {
    check_events(
        &[r#"data:{"jsonrpc":"2.0","#, "event:message", r#"data: "result":{"isError":"#, "data:true}}", ""],
        ResponseKind::ToolError,
    );
    check_events(&[&DONE.replace("data: ", "data:"), ""], ResponseKind::ToolError);
    check_events(&["data", r#"data: {"jsonrpc":"2.0","result":"#, "data", "data: {}}", ""], ResponseKind::Ok);
    check_events(&[DONE], ResponseKind::NotRpc);
    check_events(&["event: ping", DONE, ""], ResponseKind::NotRpc);
    check_events(&["event: ping", "event: message", DONE, ""], ResponseKind::ToolError);
    check_events(&["event: messages-of-another-kind", DONE, ""], ResponseKind::NotRpc);
    check_events(&["event: ping", "", DONE, ""], ResponseKind::ToolError);
    check_events(&["event", DONE, ""], ResponseKind::ToolError);
    check_events(&[&DONE.replace("data:", "datax:"), ""], ResponseKind::NotRpc);
    check_events(&[&DONE.replace("data:", " data:"), ""], ResponseKind::NotRpc);
    check_events(&[&format!("\u{feff}{DONE}"), ""], ResponseKind::ToolError);
    check_events(&["", &format!("\u{feff}{DONE}"), ""], ResponseKind::NotRpc);
    check_events(&[r#"data: {"jsonrpc":"2.0","result":{"te"#, r#"data: xt":1}}"#, ""], ResponseKind::Ok);
}

/// What the response says, read as a tree.
fn oracle(body: &[u8]) -> ResponseKind {
    let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(body) else {
        return ResponseKind::NotRpc;
    };
    if message.get("jsonrpc") != Some(&Value::from("2.0")) || message.contains_key("method") {
        return ResponseKind::NotRpc;
    }
    match (message.get("error"), message.get("result")) {
        (None | Some(Value::Null), Some(result)) => match result.get("isError") {
            Some(Value::Bool(true)) => ResponseKind::ToolError,
            _ => ResponseKind::Ok,
        },
        (Some(Value::Object(error)), _) => {
            error.get("code").and_then(Value::as_i64).map_or(ResponseKind::NotRpc, ResponseKind::RpcError)
        }
        _ => ResponseKind::NotRpc,
    }
}

/// JSON in which the names that matter stand anywhere.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::from("2.0")),
        r#"[a"\\{}\[\]\n]{0,80}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop::sample::select(vec![
            "jsonrpc", "id", "result", "error", "isError", "code", "method", "x\"{",
        ]);
        let members = prop::collection::vec((key.prop_map(str::to_owned), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Messages that are likely to be responses.
fn response() -> impl Strategy<Value = Value> {
    (json(), json(), json(), any::<u8>()).prop_map(|(result, error, other, shape)| {
        let mut message = serde_json::Map::new();
        let members =
            [("x", other, 1), ("error", error, 6), ("result", result, 8), ("jsonrpc", "2.0".into(), 0)];
        for (key, value, unless) in members {
            if unless == 0 || shape & unless == 0 {
                message.insert(key.to_owned(), value);
            }
        }
        Value::Object(message)
    })
}

/// `bytes` cut at the given places.
fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn agrees_with_a_tree_however_the_body_is_cut(
        value in prop_oneof![json(), response()],
        pretty: bool,
        cuts: [prop::sample::Index; 4],
    ) {
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let body = body.expect("a value can be written");
        let expect = oracle(body.as_bytes());
        prop_assert_eq!(read(Format::Json, &pieces(body.as_bytes(), &cuts)), expect);
        // The same as an event, its lines one by one.
        let event: String = body.lines().flat_map(|line| ["data: ", line, "\r\n"]).collect();
        let event = format!("event: message\r\n{event}\r\n");
        prop_assert_eq!(read(Format::EventStream, &pieces(event.as_bytes(), &cuts)), expect);
    }

    // Any bytes: no panic, and the cuts of the network do not show in the verdict.
    #[test]
    fn gives_one_verdict_on_any_bytes_however_they_are_cut(
        value in response(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts: [prop::sample::Index; 4],
    ) {
        let mut body = serde_json::to_vec(&value).expect("a value can be written");
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let event = [b"data: ", body.as_slice(), b"\n\n"].concat();
        for (format, bytes) in [(Format::Json, &body), (Format::EventStream, &event)] {
            prop_assert_eq!(read(format, &pieces(bytes, &cuts)), read(format, &[bytes]));
        }
    }

    // A token in one piece is read at once; byte by byte each is collected.
    #[test]
    fn reads_a_token_at_a_glance_as_byte_by_byte(
        parts in prop::collection::vec(part(), 0..6),
        result: bool,
        cuts: [prop::sample::Index; 2],
    ) {
        let head = if result { r#"{"jsonrpc":"2.0","result":{"#} else { r#"{"jsonrpc":"2.0","error":{"# };
        let body = [head, &parts.concat(), r#""z":0}}"#].concat();
        let single: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        let expect = read(Format::Json, &single);
        prop_assert_eq!(read(Format::Json, &[body.as_bytes()]), expect, "{}", body);
        prop_assert_eq!(read(Format::Json, &pieces(body.as_bytes(), &cuts)), expect, "{}", body);
    }
}

/// Pieces of members, well and badly formed: tokens of every length, escapes, numbers that are nearly some.
fn part() -> impl Strategy<Value = String> {
    let keys =
        vec!["isError", "code", "is\\u0045rror", "cod\\u0065", "cod", "code\u{1}", "k\\", "jsonrpc", ""];
    let token = prop_oneof![
        prop::sample::select(vec![
            "true", "false", "null", "truE", "tru", "true1", "nulll", "-", "0", "-0", "01"
        ]),
        prop::sample::select(vec![
            "-32603",
            "1.",
            "1.5",
            "2e9",
            "+1",
            "{}",
            "[1]",
            "\"2.0\"",
            "\"a\\\"b\"",
            "\"",
            ""
        ]),
    ];
    let member = (prop::sample::select(keys), token, prop::sample::select(vec!["", " ", "\r\n\t "]))
        .prop_map(|(key, token, space)| format!("{space}\"{key}\"{space}:{space}{token}{space}"));
    let long = (0usize..70, prop::sample::select(vec!["1", "0", "e", "-", "\\", "a", "é"]))
        .prop_map(|(length, of)| of.repeat(length));
    prop_oneof![
        4 => (member, prop::sample::select(vec![",", ",", ",", ",", ",", "", "}"])).prop_map(|(member, end)| member + end),
        1 => long.clone().prop_map(|key| format!("\"{key}\":1,")),
        2 => long.prop_map(|value| format!("\"code\":{value},")),
    ]
}
