//! The response to one call: its id, where a stream could be appended to, and what a beginning says.

use proptest::prelude::*;

use super::*;

const NOTE: &str = r#"data: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
const ASK: &str = r#"data: {"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#;
const ANSWER: &str = r#"data: {"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#;
const CALL: &[u8] = b"1";

fn read_of_call(format: Format, pieces: &[&[u8]]) -> ResponseKind {
    let mut scan = ResponseScan::of_call(format, Some(CALL));
    for piece in pieces {
        scan.feed(piece);
    }
    scan.kind()
}

// JSON-RPC 2.0, 5: "It MUST be the same as the value of the id member in the Request Object." A JSON body is the only
// answer there can be: there, any id but null will do.
#[test]
fn only_a_response_with_the_id_of_the_call_counts() {
    let (ok, none) = (ResponseKind::Ok, ResponseKind::NotRpc);
    for (id, in_json, in_events) in [
        ("\"id\":1,", ok, ok),
        ("\"id\": 1.0 ,", ok, ok),
        ("\"\\u0069d\":1e0,", ok, ok),
        ("\"id\":\"1\",", ok, ok),
        ("\"id\":2,\"id\":1,", ok, ok),
        ("\"id\":1,\"id\":2,", ok, none),
        ("\"id\":\"2\",", ok, none),
        ("\"id\":-1.5e3,", ok, none),
        ("\"id\":123456789012345678901234567890123456789012345678901234567890123456789,", ok, none),
        ("\"id\":11,", ok, none),
        ("\"id\":1,\"id\":null,", none, none),
        ("\"id\":null,", none, none),
        ("\"id\":true,", none, none),
        ("\"id\":[1],", none, none),
        ("\"id\":{\"a\":1},", none, none),
        ("", none, none),
    ] {
        for body in [
            format!(r#"{{{id}"jsonrpc":"2.0","result":{{}}}}"#),
            format!(r#"{{"jsonrpc":"2.0",{id}"result":{{}}}}"#),
        ] {
            let event = format!("data: {body}\n\n");
            for (format, bytes, expect) in
                [(Format::Json, body.as_bytes(), in_json), (Format::EventStream, event.as_bytes(), in_events)]
            {
                assert_eq!(read_of_call(format, &[bytes]), expect, "{body}");
                assert_eq!(
                    read_of_call(format, &bytes.chunks(1).collect::<Vec<_>>()),
                    expect,
                    "byte by byte: {body}"
                );
            }
        }
    }
    let other = ANSWER.replace(":1,", ":2,");
    for (events, expect) in
        [([&other, ASK, NOTE], ResponseKind::NotRpc), ([&other, ANSWER, &other], ResponseKind::ToolError)]
    {
        let body: String = events.iter().flat_map(|event| [*event, "\n\n"]).collect();
        assert_eq!(read_of_call(Format::EventStream, &[body.as_bytes()]), expect);
    }
}

/// After each of these pieces the stream stands there, whichever way its lines end and wherever the network cuts.
#[track_caller]
fn check_boundary(text: &str, expect: Boundary) {
    for end in ["\n", "\r\n", "\r"] {
        let text = text.replace('\n', end);
        let mut scan = ResponseScan::of_call(Format::EventStream, Some(CALL));
        text.as_bytes().chunks(1).for_each(|byte| scan.feed(byte));
        assert_eq!(scan.events(), Some((false, expect)), "{text:?}");
    }
}

#[test]
fn knows_where_an_event_could_be_appended() {
    for text in
        ["", "\n", "data: x\n\n", ": ping\n\n", "id: 1\nretry: 5\n\n", "data: x\n\n\n", "\u{feff}data: x\n\n"]
    {
        check_boundary(text, Boundary::Between);
    }
    for text in [
        "\u{feff}",
        ": ping",
        ": ping\n",
        "i",
        "id: 1\nretry",
        "event: message\n",
        "data",
        "data:",
        "data: ",
        "data:\n",
        "data: x\n\nid: 2\n",
    ] {
        check_boundary(text, Boundary::Blank);
    }
    for text in ["data: x", "data:x\n", "data: x\nid: 1", "id: 1\ndata: {\n", "data: x\n\ndata: {"] {
        check_boundary(text, Boundary::Inside);
    }
}

/// The rules of the WHATWG once more, on whole text: each event's type and data.
fn events_of(stream: &str) -> Vec<(String, String)> {
    let text = stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut kind, mut data) = (Vec::new(), String::new(), String::new());
    // What lies behind the last line end is no line.
    let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    for line in lines.split('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() => {
                if !data.is_empty() {
                    events.push((std::mem::take(&mut kind), data.trim_end_matches('\n').to_owned()));
                }
                (kind, data) = (String::new(), String::new());
            }
            "data" => data.extend([value, "\n"]),
            "event" => value.clone_into(&mut kind),
            _ => {}
        }
    }
    events
}

proptest! {
    // Contract, section 8: "one last event with the error, if its last event is whole".
    #[test]
    fn an_event_that_is_appended_is_read_as_an_event_of_its_own(
        stream in r"\u{feff}?(data|id|event|:|retry|x|: ?|a|\n|\r|\r\n|\n\n|1){0,14}",
    ) {
        let mut scan = ResponseScan::of_call(Format::EventStream, Some(CALL));
        scan.feed(stream.as_bytes());
        let Some((false, boundary)) = scan.events() else { return Ok(()) };
        let end = match boundary {
            Boundary::Between => "",
            Boundary::Blank => "\n\n",
            Boundary::Inside => return Ok(()),
        };
        let own = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-31502,"message":"m"}}"#;
        let events = events_of(&format!("{stream}{end}data: {own}\n\n"));
        prop_assert_eq!(events.last(), Some(&(String::new(), own.to_owned())), "{:?}", stream);
        // Nothing that the backend had begun becomes an event of its own by it.
        let before: Vec<_> = events_of(&format!("{stream}\n")).into_iter().filter(|(_, data)| !data.is_empty()).collect();
        let after: Vec<_> = events[..events.len() - 1].iter().filter(|(_, data)| !data.is_empty()).cloned().collect();
        prop_assert!(before.len() >= after.len(), "{:?}", stream);
    }
}

// What JSON begins with decides, not more than is needed.
#[test]
fn finds_the_beginning_of_a_response() {
    let beginning = |text: &str| {
        let mut scan = ResponseScan::of_call(Format::Json, Some(CALL));
        text.as_bytes().chunks(3).for_each(|piece| scan.feed(piece));
        scan.beginning()
    };
    for (text, expect) in [
        (" ", Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","id":1"#, Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","id":1,"result":"#, Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"#, Beginning::Response),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"#, Beginning::Response),
        (r#"{"jsonrpc":"2.0","result":{},"id":"#, Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","result":{},"id":1,"#, Beginning::Response),
        (r#"{"jsonrpc":"2.0","result":{},"id":2,"#, Beginning::Response),
        (r#"{"jsonrpc":"2.0","result":{},"id":null,"#, Beginning::Other),
        (r#"{"jsonrpc":"2.0","id":true,"result":{"#, Beginning::Other),
        ("<", Beginning::Other),
        ("[", Beginning::Other),
        ("nu", Beginning::Other),
    ] {
        assert_eq!(beginning(text), expect, "{text}");
    }
}
