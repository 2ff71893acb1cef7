//! What is left out, what stays to the byte, and what is refused because it cannot be read without doubt.

use proptest::prelude::*;

use super::*;

fn visible(name: &str) -> bool {
    name.starts_with("ok")
}

/// A stream that has arrived whole.
fn events(stream: &[u8], visible: &dyn Fn(&str) -> bool) -> Result<Filtered, ScanError> {
    let mut filter = EventFilter::default();
    filter.feed(stream, visible)?;
    filter.finish(stream, visible)
}

#[track_caller]
fn check(json: &str, expect: &str) {
    let filtered = filter_message(json.as_bytes(), &visible).unwrap();
    let bytes = filtered.bytes.map_or_else(|| json.to_owned(), |bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(bytes, expect);
    assert!(filtered.is_response);
}

#[test]
fn leaves_out_what_is_not_shown_and_keeps_every_other_byte() {
    let before = "{\"jsonrpc\" : \"2.0\",\"id\":1e0, \"result\":{ \"nextCursor\":\"a\\u0062\",\"tools\":[ ";
    let after = " ] , \"_meta\":{\"tools\":[{\"name\":\"secret\"}]}}}\r\n";
    let (a, b, no) = (
        "{\"name\":\"ok_a\",\"inputSchema\":{\"properties\":{\"name\":{}}}}",
        "{\"title\":\"]\",\"name\":\"ok\\u005fb\"}",
        "{\"x\":[1,{\"name\":\"ok\"}],\"name\":\"no\"}",
    );
    let with = |list: &str| format!("{before}{list}{after}");
    check(&with(&format!("{a},\n {no} ,{b}")), &with(&format!("{a} ,{b}")));
    check(&with(&format!("{no}, {a}")), &with(a));
    check(&with(&format!("{a}, {no}")), &with(a));
    check(&with(&format!("{no},{no}")), &with(""));
    check(&with(&format!("{a},{b}")), &with(&format!("{a},{b}")));
    check(&with("1, null,\"ok\",{\"title\":\"ok\"},{\"name\":5}"), &with(""));
    check(&with(""), &with(""));
}

#[test]
fn what_is_no_list_passes_as_it_is() {
    for json in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"name":"no"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":[{"name":"no"}]}"#,
    ] {
        check(json, json);
    }
    let notification = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[]}}"#;
    assert_eq!(filter_message(notification, &visible), Ok(Filtered { bytes: None, is_response: false }));
}

// A client whose parser takes the other one of two keys would see what was left out.
#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    for (json, error) in [
        (r#"{"result":{"tools":[]},"result":{"tools":[{"name":"no"}]}}"#, ScanError::DuplicateKey),
        (r#"{"result":{"tools":[],"tools":[{"name":"no"}]}}"#, ScanError::DuplicateKey),
        (r#"{"result":{"tools":[],"to\u006fls":[{"name":"no"}]}}"#, ScanError::DuplicateKey),
        (r#"{"result":{"tools":[{"name":"ok","name":"no"}]}}"#, ScanError::DuplicateKey),
        (r#"{"result":{"tools":[]},"Result":{"tools":[{"name":"no"}]}}"#, ScanError::FoldedKey),
        (r#"{"result":{"tools":[],"TOOLS":[{"name":"no"}]}}"#, ScanError::FoldedKey),
        (r#"{"result":{"tools":[{"name":"ok","n\u0041me":"no"}]}}"#, ScanError::FoldedKey),
        (r#"[{"result":{"tools":[{"name":"no"}]}}]"#, ScanError::Batch),
        (r#"{"result":{"tools":[{"name":"no"},]}}"#, ScanError::Syntax),
        (r#"{"result":{"tools":[{"name":"no"}]}"#, ScanError::Syntax),
        (r#"{"result":{"tools":[{"name":"no"}]}} {}"#, ScanError::Syntax),
        ("", ScanError::Syntax),
        ("<html>", ScanError::Syntax),
    ] {
        assert_eq!(filter_message(json.as_bytes(), &visible), Err(error), "{json}");
    }
    assert_eq!(filter_message(b"{\"result\":\"\xff\"}", &visible), Err(ScanError::Utf8));
}

#[track_caller]
fn check_events(stream: &str, expect: &str, is_response: bool) {
    let filtered = events(stream.as_bytes(), &visible).unwrap();
    let bytes = filtered.bytes.map_or_else(|| stream.to_owned(), |bytes| String::from_utf8(bytes).unwrap());
    assert_eq!((bytes.as_str(), filtered.is_response), (expect, is_response));
}

#[test]
fn edits_the_data_of_events_and_nothing_else_of_a_stream() {
    let list = r#"{"id":1,"result":{"tools":[{"name":"ok"},{"name":"no"}]}}"#;
    let less = r#"{"id":1,"result":{"tools":[{"name":"ok"}]}}"#;
    for end in ["\n", "\r\n", "\r"] {
        let stream = |list: &str| {
            [": ping", "", "id: 0", "data:", "", "event: message", &format!("data: {list}"), "id: 7", "", ""]
                .join(end)
        };
        check_events(&stream(list), &stream(less), true);
        check_events(&stream(less), &stream(less), true);
    }
    let split = "data: {\"id\":1,\"result\":\ndata:{\"tools\":[{\"name\":\"no\"},\nid: 1\ndata:  {\"name\":\"ok\"}]}}\n\n";
    let joined = "data: {\"id\":1,\"result\":\ndata: {\"tools\":[{\"name\":\"ok\"}]}}\nid: 1\n\n";
    check_events(split, joined, true);
    let note = "data: {\"method\":\"notifications/progress\"}\n\n";
    check_events(note, note, false);
    check_events(&format!("\u{feff}data: {list}\n\n"), &format!("\u{feff}data: {less}\n\n"), true);
    check_events(&format!("data: {list}"), &format!("data: {less}"), true);
    assert!(events(b"data: [1]\n\n", &visible).is_err());
    assert!(events(b"data: <html>\n\n", &visible).is_err());
    assert_eq!(events(b"", &visible), Ok(Filtered::default()));
}

proptest! {
    /// Whatever the list and its spacing: the result is the same JSON with exactly the tools that are shown.
    #[test]
    fn the_rest_means_what_it_meant(names in proptest::collection::vec("(ok|no)[a-z\"\\\\é]{0,3}", 0..8), pretty in any::<bool>()) {
        let tools: Vec<_> = names.iter().map(|name| serde_json::json!({"name": name, "inputSchema": {"a": [name]}})).collect();
        let mut value = serde_json::json!({"jsonrpc": "2.0", "id": 3, "result": {"tools": tools, "nextCursor": "x"}});
        let json = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let filtered = filter_message(&json, &visible).unwrap();
        let bytes = filtered.bytes.clone().unwrap_or_else(|| json.clone());
        value["result"]["tools"].as_array_mut().unwrap().retain(|tool| visible(tool["name"].as_str().unwrap()));
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), value);
        prop_assert_eq!(filtered.bytes.is_none(), names.iter().all(|name| visible(name)));
        prop_assert_eq!(filter_message(&bytes, &visible).unwrap().bytes, None);
    }

    #[test]
    fn never_panics_and_never_shows_more(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (filter_message(&bytes, &visible), events(&bytes, &visible));
    }
}

// A list as one event, or one event for each tool: the work is the bytes, not their square, however they arrive.
#[test]
fn each_event_is_read_once_however_the_stream_is_cut() {
    let note = "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\r\n\r\n: ping\n\n";
    let answer = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"ok\"},{\"name\":\"no\"}]}}\n\n";
    let filtered = answer.replace(",{\"name\":\"no\"}", "");
    let stream = note.repeat(2000) + answer;
    let expect = note.repeat(2000) + &filtered;
    for step in [1, 7, 4096, stream.len()] {
        let mut filter = EventFilter::default();
        let mut seen = 0;
        while seen < stream.len() {
            assert!(!filter.is_response());
            seen = (seen + step).min(stream.len());
            filter.feed(&stream.as_bytes()[..seen], &visible).unwrap();
        }
        assert!(filter.is_response());
        assert_eq!(filter.parsed, stream.len(), "in pieces of {step}");
        let filtered = filter.finish(stream.as_bytes(), &visible).unwrap();
        assert!(filtered.bytes.unwrap() == expect.as_bytes(), "in pieces of {step}");
    }
}

proptest! {
    #[test]
    fn pieces_do_not_show_in_an_edited_stream(
        stream in r"\u{feff}?(data: \{\}|data|id: 1|: x|\n|\r|\r\n|\n\n|\r\r|data: \{\x22result\x22:\{\x22tools\x22:\[\{\x22name\x22:\x22no\x22\}\]\}\}){0,12}",
        cuts: [prop::sample::Index; 3],
    ) {
        let bytes = stream.as_bytes();
        let whole = events(bytes, &visible);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut filter = EventFilter::default();
        let fed = places.iter().chain([&bytes.len()]).try_for_each(|end| filter.feed(&bytes[..*end], &visible));
        prop_assert_eq!(fed.and_then(|()| filter.finish(bytes, &visible)), whole, "{:?}", stream);
    }
}
