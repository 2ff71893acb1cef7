//! What the scan accepts, refuses and finds; the cases of the hostile corpus at this level.

use super::*;

#[track_caller]
fn check(body: impl AsRef<[u8]>, expect: Result<Kind, ScanError>) {
    let body = body.as_ref();
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    assert_eq!(scan(body).map(|message| message.kind), expect, "{shown}");
}

/// A ping with this raw id.
fn with_id(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)
}

/// A ping with this raw value somewhere in its params.
fn with_value(value: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{value}}}}}"#)
}

const REQUEST: Result<Kind, ScanError> = Ok(Kind::Request);
const SYNTAX: Result<Kind, ScanError> = Err(ScanError::Syntax);
const ENVELOPE: Result<Kind, ScanError> = Err(ScanError::Envelope);
const FOLDED: Result<Kind, ScanError> = Err(ScanError::FoldedKey);
const DUPLICATE: Result<Kind, ScanError> = Err(ScanError::DuplicateKey);

#[test]
fn finds_what_policy_decides_on() {
    let body = br#" {"id" : "a\"b", "params": {"arguments": {"name": "decoy", "_meta": 1}, "name": "add",
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": 7}},
        "method": "tools/call", "jsonrpc": "2.0"}
        "#;
    let message = scan(body).expect("a valid call");
    assert_eq!(message.kind, Kind::Request);
    assert_eq!(message.id, Some(br#""a\"b""#.as_slice()));
    assert_eq!(message.method, Method::ToolsCall);
    assert_eq!(message.method_name, "tools/call");
    assert_eq!(message.name.as_deref(), Some("add"));
    assert_eq!(message.meta_version.as_deref(), Some("2026-07-28"));
    assert_eq!(message.initialize_version, None);
}

#[test]
fn takes_the_name_from_the_member_that_the_method_uses() {
    let name = |method: &str| {
        let params = r#"{"name":"n","uri":"u","taskId":"t","protocolVersion":"v"}"#;
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let message = scan(body.as_bytes()).expect("a valid call");
        let version = message.initialize_version.map(Cow::into_owned);
        (message.name.map(Cow::into_owned).unwrap_or_default(), version.unwrap_or_default())
    };
    let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    assert_eq!(name("tools/call"), pair("n", ""));
    assert_eq!(name("prompts/get"), pair("n", ""));
    assert_eq!(name("resources/read"), pair("u", ""));
    assert_eq!(name("tasks/get"), pair("t", ""));
    assert_eq!(name("initialize"), pair("", "v"));
    assert_eq!(name("tools/list"), pair("", ""));
}

// A backend reads `"to\u006fls/call"` as `tools/call`, so the guard must as well.
#[test]
fn decodes_escapes_in_keys_and_values_it_reads() {
    let body = r#"{"json\u0072pc":"2\u002e0","id":1,"m\u0065thod":"to\u006fls\/call",
        "params":{"na\u006De":"\u0061\ud83d\ude00\u00e9\n\"\\\/\b\f\r\t"}}"#;
    let message = scan(body.as_bytes()).expect("a valid call");
    assert_eq!(message.method, Method::ToolsCall);
    assert_eq!(message.name.as_deref(), Some("a😀é\n\"\\/\u{8}\u{c}\r\t"));
}

// Contract, section 5: "It refuses: invalid UTF-8, nesting over 64, duplicate keys on any path it reads, batches (`[`),
// non-objects, `jsonrpc` other than "2.0"."
#[test]
fn refuses_duplicates_of_every_key_it_reads() {
    let top = |more: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{}},{more}}}"#);
    for key in
        ["jsonrpc\":\"2.0", "id\":\"1", "method\":\"tools/call", r#"met\u0068od":"x"#, r#"\u0069d":"2"#]
    {
        check(top(&format!("\"{key}\"")), DUPLICATE);
    }
    check(top(r#""params":{"name":"a"}"#), DUPLICATE);
    check(r#"{"jsonrpc":"2.0","id":1,"result":1,"result":2}"#, DUPLICATE);
    let call =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#);
    check(call(r#""name":"a","name":"b""#), DUPLICATE);
    check(call(r#""name":"a","\u006eame":"b""#), DUPLICATE);
    check(call(r#""name":"a","name":5"#), DUPLICATE);
    check(call(r#""uri":"a","uri":"b""#), DUPLICATE);
    check(call(r#""taskId":"a","taskId":"b""#), DUPLICATE);
    check(call(r#""protocolVersion":"a","protocolVersion":"b""#), DUPLICATE);
    check(call(r#""arguments":{},"arguments":{}"#), DUPLICATE);
    check(call(r#""_meta":{},"_meta":{}"#), DUPLICATE);
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    check(call(&format!(r#""_meta":{{{version},{version}}}"#)), DUPLICATE);
    check(
        call(&format!(r#""_meta":{{{version},"io.modelcontextprotocol\/protocolVersion":""}}"#)),
        DUPLICATE,
    );
}

// Contract, section 5: "keys that equal a name it reads under case folding (ASCII case, U+017F, U+212A: Go's decoder)
// without being that name". And what cJSON, Java and programs that trim take for it.
#[test]
fn refuses_every_other_spelling_of_a_key_it_reads() {
    let member = |key: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{}},"{key}":1}}"#);
    let param = |key: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"ok_a","{key}":"hidden"}}}}"#
        )
    };
    let meta = |key: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"_meta":{{"{key}":"2026-07-28"}}}}}}"#)
    };
    check_spellings(NAMES_IN_MESSAGE, member);
    check_spellings(NAMES_IN_PARAMS, param);
    check_spellings(&[META_VERSION], meta);
    // One spelling alone, too: what it stands for, the guard would not have judged.
    check(r#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"ping"}"#, FOLDED);
    check(r#"{"jsonrpc":"2.0","id":1,"METHOD":"tools/call"}"#, FOLDED);
    check(param("arguments\":{\"Name\":1},\"x"), REQUEST);
}

#[track_caller]
fn check_spellings(names: &[&str], body: impl Fn(&str) -> String) {
    for name in names {
        for key in spellings(name) {
            check(body(&key), FOLDED);
        }
        for other in [format!("{name}s"), format!("x {name}"), name.replace('e', "é") + "x"] {
            check(body(&other), REQUEST);
        }
    }
}

/// Other spellings of `name` that fold to it, plain and escaped.
fn spellings(name: &str) -> Vec<String> {
    let mut first = name.to_owned();
    let letter = name.find(|character: char| character.is_ascii_alphabetic()).expect("a letter");
    first[letter..=letter].make_ascii_uppercase();
    let escaped =
        |text: &str| text.chars().map(|one| format!("\\u{:04x}", u32::from(one))).collect::<String>();
    let mut all =
        vec![name.to_uppercase(), first, name.replace('s', "\u{17f}"), name.replace('k', "\u{212a}")];
    all.extend([
        name.replace('i', "\u{131}"),
        name.replace('i', "\u{130}"),
        format!(" {name}"),
        format!("\u{feff}{name}"),
    ]);
    all.retain(|spelling| spelling != name);
    let escapes: Vec<_> = all.iter().map(|spelling| escaped(spelling)).collect();
    all.extend(escapes);
    all.extend([r"\u0000", r"\u0000x", r"\ud800"].map(|end| format!("{name}{end}")));
    all.push(format!(r"{name}\u0000{}", "x".repeat(1000)));
    all
}

// Corpus jd-05, jz-05: what a tool does with its arguments is the tool's affair.
#[test]
fn lets_duplicates_pass_where_it_does_not_read() {
    check(with_value(r#"{"a":1,"a":2,"name":1,"name":2}"#), REQUEST);
    let many = r#""k":1,"#.repeat(500_000);
    check(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{many}"z":1}}}}"#), REQUEST);
}

#[test]
fn refuses_what_is_not_one_json_object() {
    for empty in ["", " \r\n\t"] {
        check(empty, Err(ScanError::Empty));
    }
    for batch in ["[]", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, " [1,2,3]", "["] {
        check(batch, Err(ScanError::Batch));
    }
    for scalar in ["1", "true", "null", r#""ping""#] {
        check(scalar, ENVELOPE);
    }
    let ping = with_id("1");
    for text in
        ["hello", "nul", "1x", "{", "{]", "{}}", "{,}", "{1:2}", r#"{"a"}"#, r#"{"a":}"#, r#"{"a":1,}"#]
    {
        check(text, SYNTAX);
    }
    check(format!("{ping}x"), SYNTAX);
    check(format!("{ping}\n{ping}"), SYNTAX);
    check(format!("{ping}\0"), SYNTAX);
    check(&ping[..ping.len() - 1], SYNTAX);
    check(ping.replace("\"}", "\",}"), SYNTAX);
    check(format!("\u{feff}{ping}"), SYNTAX);
    check(format!(" {ping}\r\n"), REQUEST);
    for encode in [u16::to_le_bytes, u16::to_be_bytes] {
        let utf_16: Vec<u8> = ping.encode_utf16().flat_map(encode).collect();
        check(utf_16, SYNTAX);
    }
}

// RFC 3629, 3: overlong forms, surrogates and what lies above U+10FFFF are not UTF-8.
#[test]
fn refuses_invalid_utf_8_anywhere() {
    for bytes in [b"\xC0\xAF".as_slice(), b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\x80", b"\xE2\x82", b"\xFF"]
    {
        let body = [br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#, bytes, br#""}}"#].concat();
        check(body, Err(ScanError::Utf8));
    }
    check(with_value("\"é😀\u{10ffff}\u{7f}\""), REQUEST);
}

// RFC 8259, 6 and 7, rule by rule.
#[test]
fn keeps_the_grammar_of_numbers_strings_and_literals() {
    for number in ["0", "-0", "10", "-1.5", "0.1e1", "1E+2", "1e-20", &"1".repeat(1_000_000)] {
        check(with_value(number), REQUEST);
    }
    for number in
        ["01", "-", "+1", "1.", ".1", "1e", "1e+", "-01", "0x1", "1.e1", "NaN", "Infinity", "- 1", "1 2"]
    {
        check(with_value(number), SYNTAX);
    }
    for string in [r#""""#, r#""\u0000""#, r#""\"\\\/\b\f\n\r\t""#, r#""\ud83d\uDE00""#, "\"\u{7f}\u{2028}\""]
    {
        check(with_value(string), REQUEST);
    }
    for string in
        ["\"a\nb\"", "\"\t\"", "\"\0\"", "\"\u{1f}\"", r#""\q""#, r#""\u12""#, r#""\u123g""#, r#""\U0041""#]
    {
        check(with_value(string), SYNTAX);
    }
    // RFC 8259, 8.2: "this ABNF allows member names and string values to contain bit sequences that cannot encode Unicode
    // characters; for example, "\uDEAD"".
    for string in [r#""\ud800""#, r#""\ud800x""#, r#""\ud800\u0041""#, r#""\udc00""#, r#""\udc00\ud800""#] {
        check(with_value(string), REQUEST);
        check(with_id(string), REQUEST);
    }
    for string in [r#""\ud80""#, r#""\ud800\""#, r#""\ud800\u""#, r#""\ud800\udc0g""#, "'a'"] {
        check(with_value(string), SYNTAX);
    }
    for literal in ["true", "false", "null", "[]", "{}", "[ ]", "{ }", r#"[true,{"a":[null]}]"#] {
        check(with_value(literal), REQUEST);
    }
    for literal in
        ["True", "tru", "nulll", "[1,]", "[,1]", "[1 2]", "[1}", r#"{"a":1]"#, "[", "undefined", "/**/1"]
    {
        check(with_value(literal), SYNTAX);
    }
}

// A control byte must be found wherever it stands in a string, whatever stride finds it.
#[test]
fn refuses_a_control_byte_at_any_place_of_a_string() {
    for length in 0..200 {
        let plain = "a".repeat(length);
        check(with_value(&format!("\"{plain}\"")), REQUEST);
        for at in 0..length {
            let mut text = plain.clone();
            text.replace_range(at..=at, "\u{b}");
            check(with_value(&format!("\"{text}\"")), SYNTAX);
        }
    }
}

// Contract, section 5: "nesting over 64".
#[test]
fn bounds_the_nesting() {
    let nested = |depth: usize, open: &str, close: &str| {
        with_value(&(open.repeat(depth) + "1" + &close.repeat(depth)))
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let step = open.matches(['[', '{']).count();
        // The message is at depth 1, its params at depth 2.
        check(nested(62 / step, open, close), REQUEST);
        check(nested(62 / step + 1, open, close), Err(ScanError::Depth));
    }
    check(r#"{"a":"#.repeat(100_000), Err(ScanError::Depth));
}

// JSON-RPC 2.0, 4: "Numbers SHOULD NOT contain fractional parts", so they may; MCP: an id MUST NOT be null.
#[test]
fn takes_strings_and_numbers_as_ids_and_nothing_else() {
    let long = format!("\"{}\"", "a".repeat(1_000_000));
    for id in [
        "0",
        "-0",
        "-7",
        "1.0",
        "1e2",
        "-0.5E-9",
        "18446744073709551616",
        "1e999",
        r#""""#,
        r#""a\r\n\"b""#,
        long.as_str(),
    ] {
        check(with_id(id), REQUEST);
        assert_eq!(scan(with_id(id).as_bytes()).expect("valid").id, Some(id.as_bytes()));
    }
    for id in ["null", "true", "[1]", r#"{"a":1}"#] {
        check(with_id(id), ENVELOPE);
    }
    for id in ["01", "1.", "1e", "NaN", "\"a\nb\""] {
        check(with_id(id), SYNTAX);
    }
}

#[test]
fn refuses_envelopes_that_are_not_json_rpc_2() {
    for body in [
        r#"{}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.1","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
    ] {
        check(body, ENVELOPE);
    }
    check(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, REQUEST);
    check(r#"{"jsonrpc":"2.0","id":1,"method":""}"#, REQUEST);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"ping\r\nX-Injected: 1"}"#, REQUEST);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"ping","methods":"x","__proto__":{}}"#, REQUEST);
}

#[test]
fn distinguishes_requests_notifications_and_responses() {
    check(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Ok(Kind::Notification));
    check(r#"{"jsonrpc":"2.0","method":"notifications/own/x"}"#, Ok(Kind::Notification));
    check(r#"{"jsonrpc":"2.0","method":"notif\u0069cations/own"}"#, Ok(Kind::Notification));
    check(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Ok(Kind::Response));
    check(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":""}}"#, Ok(Kind::Response));
    let response = scan(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).expect("valid");
    assert_eq!((response.method, &*response.method_name), (Method::Response, ""));
}

// Contract, section 5: "a request method without an id (-32600)". JSON-RPC calls it a notification, and some backends
// run it: no response, no limit.
#[test]
fn refuses_every_method_without_an_id_that_is_no_notification() {
    let known = Method::ALL.map(Method::as_str).into_iter().filter(|name| !name.starts_with(NOTIFICATIONS));
    for method in
        known.chain(["", "x", "tools/call ", " notifications/x", "Notifications/x", "notifications"])
    {
        check(format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#), Err(ScanError::MissingId));
        check(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#), REQUEST);
    }
}

// What is not JSON is -32700 even where the envelope is wrong as well (corpus jp-05, jp-07, jp-09).
#[test]
fn reports_broken_json_before_a_broken_envelope() {
    check(r#"{"jsonrpc":"1.0","id":1,"id":2,"method":"ping"}x"#, SYNTAX);
    check(r#"{"jsonrpc":"1.0","id":null,"id":2,"method":"pi"#, SYNTAX);
    let codes = [ScanError::Empty, ScanError::Utf8, ScanError::Syntax].map(ScanError::code);
    assert_eq!(codes, [-32700; 3]);
    let codes = [
        ScanError::Depth,
        ScanError::DuplicateKey,
        ScanError::FoldedKey,
        ScanError::MissingId,
        ScanError::Batch,
        ScanError::Envelope,
    ];
    assert_eq!(codes.map(ScanError::code), [-32600; 6]);
}
