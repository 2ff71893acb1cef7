//! JSON-RPC messages: valid ones, and those that two programs read differently or that are none.

use crate::dice::Dice;

/// What stands in every body, so that a backend knows which request it got.
pub(crate) fn mark(number: u64) -> String {
    format!("case-{number}-")
}

/// Finds the mark in a body.
pub(crate) fn marked(body: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(body, b"case-")? + 5;
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let (mut number, mut length) = (0_u64, 0);
    for digit in digits.take(19) {
        number = number * 10 + u64::from(digit - b'0');
        length += 1;
    }
    (length > 0 && body.get(at + length) == Some(&b'-')).then_some(number)
}

/// Text of all kinds as a JSON string's content.
fn text(dice: &mut Dice) -> String {
    const PIECES: &[&str] = &[
        "plain words ",
        "\\u00e9\\ud83d\\ude00",
        "\u{e9}\u{4e2d}\u{1f600}",
        "\\\"quoted\\\"",
        "\\\\\\/\\b\\f\\n\\r\\t",
        "\\ud800",
        "}]{[,:",
        "POST /mcp HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n",
        "0\\r\\n\\r\\n",
        "\u{7f}\u{a0}\u{feff}",
    ];
    let count = if dice.chance(3) { dice.below(3000) } else { dice.below(8) };
    (0..count).map(|_| *dice.pick(PIECES)).collect()
}

/// A value to have around.
fn value(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth == 0 { 5 } else { 8 }) {
        0 => "null".to_owned(),
        1 => ["true", "false"][dice.below(2)].to_owned(),
        2 => (*dice.pick(&["0", "-1", "1.5e300", "12345678901234567890123", "1E-7"])).to_owned(),
        3 | 4 => format!("\"{}\"", text(dice)),
        5 => format!("[{}]", value(dice, depth - 1)),
        6 => format!("[{},{}]", value(dice, depth - 1), value(dice, depth - 1)),
        _ => format!("{{\"k{}\":{}}}", dice.below(9), value(dice, depth - 1)),
    }
}

/// Whitespace that JSON allows.
fn blank(dice: &mut Dice) -> &'static str {
    if dice.chance(85) { "" } else { dice.pick::<&str>(&[" ", "\t", "\r\n", "  \n"]) }
}

/// An object with its members in any order.
fn object(dice: &mut Dice, mut members: Vec<String>) -> String {
    for at in (1..members.len()).rev() {
        members.swap(at, dice.below(at + 1));
    }
    let mut text = String::from("{");
    for (index, member) in members.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        text.push_str(&format!("{comma}{}{member}{}", blank(dice), blank(dice)));
    }
    text + "}"
}

/// A call of `tool`.
pub(crate) fn call(dice: &mut Dice, number: u64, tool: &str, is_modern: bool) -> Vec<u8> {
    let arguments = format!("\"arguments\":{{\"mark\":\"{}\",\"x\":{}}}", mark(number), value(dice, 3));
    let mut params = vec![format!("\"name\":\"{tool}\""), arguments];
    if is_modern {
        let version = "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"";
        params.push(format!("\"_meta\":{{{version}}}"));
    } else if dice.chance(10) {
        params.push("\"_meta\":{\"progressToken\":\"p\"}".to_owned());
    }
    let params = format!("\"params\":{}", object(dice, params));
    let members = ["\"jsonrpc\":\"2.0\"".to_owned(), "\"method\":\"tools/call\"".to_owned(), params];
    let id = format!("\"id\":{}", id(number));
    object(dice, members.into_iter().chain([id]).collect()).into_bytes()
}

/// Ids are numbers or strings, as clients choose them.
pub(crate) fn id(number: u64) -> String {
    if number.is_multiple_of(3) { format!("\"n{number}\"") } else { number.to_string() }
}

/// A notification.
pub(crate) fn notification(number: u64) -> Vec<u8> {
    let token = mark(number);
    let params = format!("{{\"progressToken\":\"{token}\",\"progress\":1}}");
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{params}}}").into_bytes()
}

/// A body that must be refused.
pub(crate) struct BadBody {
    pub(crate) name: &'static str,
    /// The body; `@` stands for the mark, `#` for the id.
    text: &'static str,
}

const fn bad(name: &'static str, text: &'static str) -> BadBody {
    BadBody { name, text }
}

impl BadBody {
    pub(crate) fn bytes(&self, number: u64) -> Vec<u8> {
        let deep = "[".repeat(70);
        let text = self.text.replace('@', &mark(number)).replace('#', &id(number)).replace("DEEP", &deep);
        // Bytes that are no UTF-8 are written as ~ here.
        text.bytes().map(|byte| if byte == b'~' { 0xff } else { byte }).collect()
    }
}

/// Sent with the token of a client that may call `ok_*` only. Each is no JSON-RPC message, or one in which some decoder
/// finds another method, name or version than some other decoder.
pub(crate) const BAD: &[BadBody] = &[
    bad("empty", ""),
    bad("no JSON", "hello @"),
    bad("cut", r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","x":"@""##),
    bad("something behind", r##"{"jsonrpc":"2.0","id":#,"method":"ping","params":{"x":"@"}} {}"##),
    bad("trailing comma", r##"{"jsonrpc":"2.0","id":#,"method":"ping","params":{"x":"@"},}"##),
    bad("comment", r##"{"jsonrpc":"2.0","id":#,/*@*/"method":"ping"}"##),
    bad("single quotes", "{'jsonrpc':'2.0','id':#,'method':'ping','x':'@'}"),
    bad(
        "byte order mark",
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}",
    ),
    bad("not a number", r##"{"jsonrpc":"2.0","id":#,"method":"ping","params":{"x":"@","y":NaN}}"##),
    bad("no UTF-8", r##"{"jsonrpc":"2.0","id":#,"method":"ping","params":{"x":"@~"}}"##),
    bad(
        "line end in a string",
        "{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\n\"}}",
    ),
    bad("too deep", r##"{"jsonrpc":"2.0","id":#,"method":"ping","params":{"x":"@","y":DEEP"##),
    bad("batch", r##"[{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","x":"@"}}]"##),
    bad("a string", "\"@\""),
    bad("another version", r##"{"jsonrpc":"1.0","id":#,"method":"ping","params":{"x":"@"}}"##),
    bad("no version", r##"{"id":#,"method":"ping","params":{"x":"@"}}"##),
    bad("id twice", r##"{"jsonrpc":"2.0","id":#,"id":7,"method":"ping","params":{"x":"@"}}"##),
    bad("id null", r##"{"jsonrpc":"2.0","id":null,"method":"ping","params":{"x":"@"}}"##),
    bad("id an object", r##"{"jsonrpc":"2.0","id":{},"method":"ping","params":{"x":"@"}}"##),
    bad("no id", r##"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"ok_a","x":"@"}}"##),
    bad(
        "method twice",
        r##"{"jsonrpc":"2.0","id":#,"method":"ping","params":{"name":"hidden","x":"@"},"method":"tools/call"}"##,
    ),
    bad("method no string", r##"{"jsonrpc":"2.0","id":#,"method":1,"params":{"name":"hidden","x":"@"}}"##),
    bad(
        "name twice",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","x":"@","name":"hidden"}}"##,
    ),
    bad(
        "name escaped and twice",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","x":"@","\u006eame":"hidden"}}"##,
    ),
    bad(
        "params twice",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a"},"params":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "Name",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","Name":"hidden","x":"@"}}"##,
    ),
    bad(
        "NAME first",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"NAME":"hidden","name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "Method",
        r##"{"jsonrpc":"2.0","id":#,"method":"ping","Method":"tools/call","params":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "PARAMS",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a"},"PARAMS":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "params with a long s",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a"},"paramſ":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "params with a long s, escaped",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a"},"param\u017f":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "Name, escaped",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","\u004eame":"hidden","x":"@"}}"##,
    ),
    bad(
        "method with a blank",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call ","params":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "method in other case",
        r##"{"jsonrpc":"2.0","id":#,"method":"Tools/Call","params":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "unknown method",
        r##"{"jsonrpc":"2.0","id":#,"method":"workflow/start","params":{"name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "name no string",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":["ok_a"],"x":"@"}}"##,
    ),
    bad("no name", r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"x":"@"}}"##),
    bad(
        "zero byte behind a key",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name\u0000":"hidden","name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "zero byte and more behind a key",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name\u0000x":"hidden","name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "zero byte behind method",
        r##"{"jsonrpc":"2.0","id":#,"method\u0000":"tools/call","method":"ping","params":{"name":"hidden","x":"@"}}"##,
    ),
    bad(
        "raw zero byte in a key",
        "{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"tools/call\",\"params\":{\"name\0\":\"hidden\",\"name\":\"ok_a\",\"x\":\"@\"}}",
    ),
    bad(
        "id with a dotted capital I",
        r##"{"jsonrpc":"2.0","id":#,"İd":7,"method":"tools/call","params":{"name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "id with a dotless i",
        r##"{"jsonrpc":"2.0","id":#,"ıd":7,"method":"tools/call","params":{"name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "id with a dotless i, escaped",
        r##"{"jsonrpc":"2.0","id":#,"\u0131d":7,"method":"tools/call","params":{"name":"ok_a","x":"@"}}"##,
    ),
    bad(
        "no UTF-8 in a key",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a","name~":"hidden","x":"@"}}"##,
    ),
    bad(
        "no UTF-8 in the tool",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_~","x":"@"}}"##,
    ),
    bad(
        "comment around a key",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a",/*"*/"name":"hidden"/*"*/,"x":"@"}}"##,
    ),
    bad(
        "comment to the end of the line",
        "{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"tools/call\",\"params\":{\"name\":\"ok_a\",//\"\n\"name\":\"hidden\",//\"\n\"x\":\"@\"}}",
    ),
    bad(
        "bare key",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a",name:"hidden","x":"@"}}"##,
    ),
    bad(
        "two commas",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_a",,"x":"@"}}"##,
    ),
    bad(
        "escape of an apostrophe",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_\'a","x":"@"}}"##,
    ),
    bad(
        "escape in hexadecimal",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_\x61","x":"@"}}"##,
    ),
    bad(
        "short escape",
        r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"ok_\u61","x":"@"}}"##,
    ),
    bad(
        "form feed within",
        "{\"jsonrpc\":\u{c}\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}",
    ),
    bad(
        "no-break space within",
        "{\"jsonrpc\":\u{a0}\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}",
    ),
    bad("zero byte before", "\0{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}"),
    bad("zero byte behind", "{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}\0"),
    bad(
        "record separator before",
        "\u{1e}{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}",
    ),
    bad(
        "prefix against script inclusion",
        ")]}',\n{\"jsonrpc\":\"2.0\",\"id\":#,\"method\":\"ping\",\"params\":{\"x\":\"@\"}}",
    ),
];
