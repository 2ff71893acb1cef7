//! The scan against `serde_json`, which is the parser of one backend: on any bytes they must not see different calls.
//!
//! Named differences: nesting is bounded at [`super::error::DEPTH_MAX`]; `serde_json` refuses numbers that no `f64` can hold, and half
//! a surrogate pair. A careless decoder, which ignores the case of keys and takes the last one, must see the same call, too.

use proptest::prelude::*;
use serde_json::Value;

use super::error::ScanError;
use super::scan::{Kind, scan};
use crate::wire::method::Method;

#[path = "../../fuzz/src/decoder.rs"]
#[expect(unreachable_pub, reason = "a crate of its own there")]
mod decoder;

/// Whether `serde_json` refuses what is JSON.
fn is_stricter(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["number out of range", "surrogate", "end of hex escape"].iter().any(|what| text.contains(what))
}

/// A backend that ignores case and trims must run the call that was judged.
fn check_careless(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = scan(body) else { return Ok(()) };
    let careless = decoder::read(str::from_utf8(body).expect("accepted")).expect("an object");
    prop_assert_eq!(message.id, careless.id.as_ref().map(String::as_bytes));
    prop_assert_eq!(decoder::trim(&message.method_name), careless.method.as_deref().unwrap_or(""));
    prop_assert_eq!(message.meta_version.as_deref().map(decoder::trim), careless.version.as_deref());
    // A method that only trimming makes a known one is the policy's to refuse.
    if message.method != Method::Other {
        prop_assert_eq!(message.name.as_deref().map(decoder::trim), careless.name.as_deref());
    }
    Ok(())
}

/// What must hold of the scan's verdict on any bytes.
pub(super) fn check(body: &[u8]) -> Result<(), TestCaseError> {
    check_careless(body)?;
    let parsed = serde_json::from_slice::<Value>(body);
    match scan(body) {
        Ok(message) => {
            let value = match parsed {
                Ok(value) => value,
                Err(error) if is_stricter(&error) => return Ok(()),
                Err(error) => {
                    return Err(TestCaseError::fail(format!("accepted what serde_json refuses: {error}")));
                }
            };
            let id = message.id.map(|id| serde_json::from_slice::<Value>(id).unwrap_or_default());
            prop_assert_eq!(id.as_ref(), value.get("id"));
            if let Some(id) = message.id {
                let start = id.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
                prop_assert!(
                    start < body.len() && start + id.len() <= body.len(),
                    "the id lies outside the body"
                );
            }
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let member = |key: &str| value.get("params").and_then(|params| params.get(key)).and_then(text);
            let method = value.get("method").and_then(text);
            prop_assert_eq!(&message.method_name, method.as_deref().unwrap_or(""));
            prop_assert_eq!(message.kind == Kind::Response, method.is_none());
            prop_assert_eq!(message.kind == Kind::Notification, value.get("id").is_none());
            let name = match method.as_deref() {
                Some("tools/call" | "prompts/get") => member("name"),
                Some("resources/read") => member("uri"),
                Some("tasks/get") => member("taskId"),
                _ => None,
            };
            prop_assert_eq!(message.name.map(String::from), name);
            let version =
                value.pointer("/params/_meta/io.modelcontextprotocol~1protocolVersion").and_then(text);
            prop_assert_eq!(message.meta_version.map(String::from), version);
        }
        Err(ScanError::Empty | ScanError::Utf8 | ScanError::Syntax) => {
            prop_assert!(parsed.is_err(), "took JSON for something else");
        }
        Err(ScanError::Depth | ScanError::Batch) => {}
        Err(ScanError::DuplicateKey | ScanError::FoldedKey | ScanError::MissingId | ScanError::Envelope) => {
            let is_json = parsed.as_ref().map_or_else(is_stricter, |_| true);
            prop_assert!(is_json, "took rubbish for JSON");
        }
    }
    Ok(())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[a"\\\n/é😀]{0,100}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "name",
                "uri",
                "taskId",
                "_meta",
                "io.modelcontextprotocol/protocolVersion",
                "Name",
                "ta\u{17f}\u{212a}id",
                "_Meta",
                "ur\u{131}",
                "name\0x",
                " _meta",
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ];
        let members = prop::collection::vec((key, inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn message() -> impl Strategy<Value = Value> {
    let method = prop::sample::select(vec![
        "tools/call",
        "resources/read",
        "tasks/get",
        "ping",
        "notifications/x",
        "x",
        "",
    ]);
    let id = prop_oneof![any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
    let odd =
        prop::sample::select(vec!["Method", "ID", "PARAMS", "param\u{17f}", "JsonRpc", "Error", "other"]);
    let odd = prop::option::weighted(0.3, (odd, json()));
    (method, prop::option::of(id), json(), any::<bool>(), odd).prop_map(|(method, id, params, last, odd)| {
        let mut message = serde_json::Map::from_iter([("jsonrpc".to_owned(), Value::from("2.0"))]);
        if last {
            message.insert("params".to_owned(), params.clone());
        }
        message.extend(id.map(|id| ("id".to_owned(), id)));
        message.insert("method".to_owned(), Value::from(method));
        message.extend(odd.map(|(key, value)| (key.to_owned(), value)));
        if !last {
            message.insert("params".to_owned(), params);
        }
        Value::Object(message)
    })
}

proptest! {
    #[test]
    fn sees_the_calls_that_a_tree_parser_sees(value in prop_oneof![message(), json()], pretty: bool) {
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        check(&body.expect("a value can be written"))?;
    }

    // Bytes of the grammar go where they hurt; whole spans are repeated and dropped.
    #[test]
    fn agrees_on_damaged_bodies(
        value in message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..5),
    ) {
        let mut body = serde_json::to_vec(&value).expect("a value can be written");
        for (place, damage) in changes {
            let place = place.index(body.len().max(1));
            match damage {
                Damage::Replace(byte) => if let Some(there) = body.get_mut(place) { *there = byte },
                Damage::Insert(text) => { body.splice(place.min(body.len())..place.min(body.len()), text.bytes()); }
                Damage::Remove(length) => { body.drain(place.min(body.len())..(place + length).min(body.len())); }
                Damage::Repeat(length) => {
                    let span = body[place.min(body.len())..(place + length).min(body.len())].to_vec();
                    body.splice(place.min(body.len())..place.min(body.len()), span);
                }
            }
        }
        check(&body)?;
    }

    #[test]
    fn agrees_on_any_bytes(bytes: Vec<u8>, text: String) {
        check(&bytes)?;
        check(text.as_bytes())?;
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Replace(u8),
    Insert(&'static str),
    Remove(usize),
    Repeat(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let grammar = br#"{}[]",:\/0123456789+-.eEtrufalsn "#.to_vec();
    let pieces = vec![
        r"\u", r"\ud83d", r"\udc00", r"\u0061", "\\", "\"", "0", "-", ".", "e", ",", "null", "[", "\u{1}",
        " ",
    ];
    prop_oneof![
        any::<u8>().prop_map(Damage::Replace),
        prop::sample::select(grammar).prop_map(Damage::Replace),
        prop::sample::select(pieces).prop_map(Damage::Insert),
        (1usize..9).prop_map(Damage::Remove),
        (1usize..30).prop_map(Damage::Repeat),
    ]
}
