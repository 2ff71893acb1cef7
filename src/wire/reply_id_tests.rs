//! Whatever is wrong with a body: its own id or none, never another one.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[track_caller]
fn check(body: impl AsRef<[u8]>, id: Option<&str>, method: Option<Method>) {
    let body = body.as_ref();
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    let found = read(body);
    assert_eq!((found.0.map(String::from_utf8_lossy).as_deref(), found.1), (id, method), "{shown}");
    // One byte at a time.
    let mut reader = IdReader::default();
    body.chunks(1).for_each(|byte| reader.feed(byte));
    let PartialRequest { id: in_pieces, method: method_in_pieces, .. } = reader.finish();
    assert_eq!(
        (in_pieces.as_deref(), method_in_pieces),
        (id.map(str::as_bytes), method),
        "in pieces: {shown}"
    );
}

const CALL: Option<Method> = Some(Method::ToolsCall);

/// A call in the order of the members that each SDK writes, with this value for an argument.
fn calls(argument: &[u8]) -> Vec<Vec<u8>> {
    let params =
        [br#""params":{"name":"n","arguments":{"id":5,"a":"#, argument, br#","method":"x"}}"#].concat();
    let (version, id, method) =
        (br#""jsonrpc":"2.0""#.as_slice(), br#""id":7"#.as_slice(), br#""method":"tools/call""#.as_slice());
    let orders: [[&[u8]; 4]; 4] = [
        [version, id, method, &params],
        [method, &params, version, id],
        [&params, id, method, version],
        [id, &params, version, method],
    ];
    orders.iter().map(|members| [b"{", members.join(b" ,\n".as_slice()).as_slice(), b"}"].concat()).collect()
}

// Contract, section 8: "once the body has a readable `id` - also where something behind it is refused (depth, size, UTF-8
// of an argument)". Python SDK 1 writes the id last.
#[test]
fn finds_the_id_before_and_behind_what_is_wrong() {
    let deep = [b"[".repeat(1000), b"]".repeat(1000)].concat();
    let objects = [br#"{"id":"#.repeat(300), b"1".to_vec(), b"}".repeat(300)].concat();
    let arguments: [&[u8]; 17] = [
        &deep,
        &objects,
        b"\"\xff\xfe\"",
        b"\"\xed\xa0\x80\"",
        br#""\ud83d""#,
        br#""\q""#,
        br#""\u12""#,
        b"\"\n\0\"",
        b"NaN",
        b"-Infinity",
        b"01",
        b"1e999",
        b"+1",
        b"undefined",
        b"'a'",
        b"1 2",
        br#"{"a":1,"a":1}"#,
    ];
    for argument in arguments {
        for body in calls(argument) {
            check(body, Some("7"), CALL);
        }
    }
}

#[test]
fn keeps_the_id_of_an_envelope_that_is_wrong_elsewhere() {
    for rest in [
        r#""params":[1]"#,
        r#""params":"x""#,
        r#""params":{},"params":{}"#,
        r#""PARAMS":{}"#,
        r#""jsonrpc":"1.0""#,
        r#""Jsonrpc":"2.0""#,
        r#""x":NaN"#,
        r#""params":{"name":"a","Name":"b"},"#,
        r#""params":{"na"#,
    ] {
        check(format!(r#"{{"id":"a\"b","method":"tools/call",{rest}}}"#), Some(r#""a\"b""#), CALL);
    }
    check(r#"{"id":7}"#, Some("7"), None);
    check(r#"{"id":7,"method":"tools/call","params":"#, Some("7"), CALL);
    check(r#"{"id":7,"method":"tools/call"}x}"#, Some("7"), CALL);
    check(r#"{"id":7,"method":"own/method"}"#, Some("7"), Some(Method::Other));
    check(r#"{"\u0069d":7,"m\u0065thod":"tools\/call"}"#, Some("7"), CALL);
    for id in ["1.0", "-0", "1e2", "123456789012345678901234567890", r#""""#, r#""\ud800""#, "\"é\""] {
        check(format!(r#"{{"id": {id} ,"method":"tools/call","x":}}"#), Some(id), CALL);
    }
    let long = format!("\"{}\"", "x".repeat(ID_BYTES_MAX - 2));
    check(format!(r#"{{"id":{long},"method":"tools/call"}}"#), Some(&long), CALL);
}

// What two parsers could read differently in the id itself gives no readable id; so does the method.
#[test]
fn doubt_about_the_id_or_the_method_leaves_none() {
    for body in [
        r#"{"id":1,"id":2,"method":"tools/call"}"#,
        r#"{"id":1,"id":1,"method":"tools/call"}"#,
        r#"{"id":1,"ID":2,"method":"tools/call"}"#,
        r#"{"Id":1,"method":"tools/call"}"#,
        r#"{"id":1,"\u0049d":1,"method":"tools/call"}"#,
        r#"{"id":null,"method":"tools/call"}"#,
        r#"{"id":[1],"method":"tools/call"}"#,
        r#"{"id":{"a":1},"method":"tools/call"}"#,
        r#"{"id":01,"method":"tools/call"}"#,
        r#"{"id":1.,"method":"tools/call"}"#,
        r#"{"id":"\q","method":"tools/call"}"#,
        r#"{"id":,"method":"tools/call"}"#,
        r#"{"method":"tools/call","id":1"#,
        r#"{"method":"tools/call"}"#,
        r#"{"method":"tools/call","params":{"id":1}}"#,
        r#"{"id":1,"method":"tools/call"}{"id":2,"method":"ping"}"#,
    ] {
        check(body, None, CALL);
    }
    check(b"{\"id\":\"\xff\",\"method\":\"tools/call\"}", None, CALL);
    check(r#"{"id":"abc,"method":"tools/call"}"#, None, None);
    check(format!(r#"{{"id":"{}","method":"tools/call"}}"#, "x".repeat(ID_BYTES_MAX)), None, CALL);
    for body in ["", "7", "[{\"id\":1}]", "\u{feff}{\"id\":1}", "{\"a\"", "{]"] {
        check(body, None, None);
    }
    for method in [
        r#""method":"ping","method":"tools/call""#,
        r#""method":"ping","Method":"tools/call""#,
        r#""method":null"#,
    ] {
        check(format!(r#"{{"id":1,{method}}}"#), Some("1"), None);
    }
}

// The id of a response is the server's own: an error with it would end another call.
#[test]
fn a_response_has_no_id_to_reply_to() {
    for answer in [r#""result":{}"#, r#""error":{}"#, r#""RESULT":1"#, r#""\u0065rror":1,"method":"ping""#] {
        check(format!(r#"{{"id":1,{answer}}}"#), None, None);
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[{}",:\\\[\]id]{0,12}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![Just("id".to_owned()), Just("method".to_owned()), "[a-z{}\"]{0,3}"];
        let members = prop::collection::vec((key, inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A call as text, and where the member `id` lies in it.
fn call() -> impl Strategy<Value = (Vec<u8>, std::ops::Range<usize>, Value)> {
    let id = prop_oneof![any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
    let order = Just(vec!["jsonrpc", "id", "method", "params"]).prop_shuffle();
    (id, order, json()).prop_map(|(id, order, argument)| {
        let mut text = b"{".to_vec();
        let mut place = 0..0;
        for (at, key) in order.iter().enumerate() {
            text.extend_from_slice(if at == 0 { b"" } else { b"," });
            let start = text.len();
            let value = match *key {
                "id" => id.clone(),
                "jsonrpc" => "2.0".into(),
                "method" => "tools/call".into(),
                _ => serde_json::json!({"name": "n", "arguments": argument.clone()}),
            };
            text.extend_from_slice(format!("\"{key}\":{value}").as_bytes());
            if *key == "id" {
                place = start..text.len();
            }
        }
        text.push(b'}');
        (text, place, id)
    })
}

fn parsed(raw: Option<&[u8]>) -> Option<Value> {
    raw.map(|raw| serde_json::from_slice(raw).expect("an id is JSON"))
}

proptest! {
    // One byte is changed, put in or taken out, anywhere but in the id.
    #[test]
    fn one_fault_leaves_the_id_or_none(
        (text, place, id) in call(),
        at: prop::sample::Index,
        byte in prop_oneof![any::<u8>(), prop::sample::select(br#"{}[]",:\ x"#.to_vec())],
        how in 0..3,
    ) {
        prop_assert_eq!(parsed(read(&text).0), Some(id.clone()));
        let at = at.index(text.len());
        prop_assume!(!(place.start..=place.end).contains(&at));
        let mut broken = text;
        match how {
            0 => broken[at] = byte,
            1 => broken.insert(at, byte),
            _ => { broken.remove(at); }
        }
        let found = parsed(read(&broken).0);
        prop_assert!(found.is_none() || found == Some(id), "{}", String::from_utf8_lossy(&broken));
        // Cut behind the fault, the same holds.
        let cut = parsed(read(&broken[..at]).0);
        prop_assert!(cut.is_none() || cut == found || found.is_none());
    }

    #[test]
    fn never_says_another_id_than_a_parser(bytes: Vec<u8>, (text, ..) in call(), length in 0usize..40) {
        let doubled = [&text[..text.len().min(length)], b",\"id\":1,", &text[text.len().min(length)..]].concat();
        for body in [&bytes, &text, &doubled] {
            if let (Some(found), Ok(value)) = (parsed(read(body).0), serde_json::from_slice::<Value>(body)) {
                prop_assert_eq!(Some(&found), value.get("id"));
            }
        }
    }
}
