//! The promise behind `mcp-tools check`: a catalogue that is accepted never panics, whatever JSON its tools are called with.
//!
//! Generates random catalogues from everything a declaration may hold. Must not know how a call runs.

use std::cell::Cell;
use std::fmt::Write;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::InProcess;

/// Decisions, taken from random bytes.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.0.next().unwrap_or_default()) % of.len()]
    }

    /// One of `in_how_many`.
    fn seldom(&mut self, in_how_many: u8) -> bool {
        self.0.next().unwrap_or_default() % in_how_many == 1
    }
}

const PARAMS: [&str; 3] = ["a", "b", "c"];
const KINDS: [(&str, &str); 6] = [
    ("string", "\"x\""),
    ("integer", "7"),
    ("number", "0.5"),
    ("boolean", "true"),
    ("array", "[1]"),
    ("object", "{ k = 1 }"),
];

fn params(choices: &mut Choices) -> String {
    let mut text = String::new();
    for name in PARAMS {
        let (kind, default) = choices.one(&KINDS);
        let _ = write!(text, "params.{name} = {{ type = \"{kind}\"");
        if choices.seldom(4) {
            text.push_str(", required = true");
        } else if choices.seldom(3) {
            let _ = write!(text, ", default = {}", if choices.seldom(8) { "\"wrong\"" } else { default });
        }
        if choices.seldom(4) {
            text.push_str(", nullable = true");
        }
        if kind == "integer" && choices.seldom(3) {
            text.push_str(", minimum = -5, maximum = 9000000000000000000");
        }
        if kind == "string" && choices.seldom(4) {
            text.push_str(", enum = [\"x\", \"y\"]");
        }
        text.push_str(" }\n");
    }
    text
}

fn sql(choices: &mut Choices) -> String {
    let queries = [
        "SELECT :a AS x, :b AS y, :c AS z",
        "SELECT 1 AS n WHERE :a IS NULL",
        "SELECT key, value FROM json_each(:a)",
        "SELECT :a || :b AS t, :a / :b AS d, CAST(:c AS INTEGER) % 0 AS m, :uuid AS u",
        "SELECT * FROM swf_runs WHERE run_number > :a LIMIT :b",
        "SELECT :since AS s, :back AS k, :needle AS n, :given AS g, :now AS w",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :a) SELECT n FROM c",
        "SELECT nothing FROM nowhere",
        "SELECT x'00ff' AS b, 1e999 AS i, -1e999 AS j, 'it''s' AS q",
        "UPDATE swf_runs SET end_time = :now WHERE run_number = :a RETURNING run_number",
        "SELECT ':a' AS",
    ];
    let shape = choices.one(&["page", "row", "rows", "value", "map", "sections"]);
    let mut text =
        format!("[tool.sql]\nshape = \"{shape}\"\ntimeout_ms = 20\nunused = [\"a\", \"b\", \"c\"]\n");
    if shape != "sections" {
        let _ = writeln!(text, "query = \"{}\"", choices.one(&queries));
    }
    for line in [
        "limit = 3",
        "limit_from = \"a\"",
        "offset_from = \"b\"",
        "cursor = { column = \"x\", name = \"next\" }",
        "not_found = \"no {a} of {b}\"",
        "json = [\"x\", \"value\"]\nboolean = [\"y\", \"n\"]",
    ] {
        if choices.seldom(5) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(
        "let.since = { time = { param = \"a\", default_hours = 24 } }\nlet.needle = { contains = \"b\" }\n",
    );
    text.push_str("let.back = { before = { param = \"c\", unit = \"days\" } }\nlet.given = { object = [\"a\", \"b\", \"c\"] }\n");
    if shape == "sections" || choices.seldom(3) {
        let shape = choices.one(&["row", "rows", "value", "map"]);
        let _ = writeln!(
            text,
            "[[tool.sql.section]]\nname = \"part\"\nshape = \"{shape}\"\nquery = \"{}\"",
            choices.one(&queries)
        );
    }
    text
}

fn http(choices: &mut Choices) -> String {
    let path = choices.one(&["/", "/x/{a}", "/{{x}}/{b}.{a}"]);
    let extra = choices.one(&[
        "",
        "needs = [\"b\"]\n",
        "defaults = { a = 7 }\n",
        "result = { ok = \"{a} {now}\" }\n",
    ]);
    format!(
        "[tool.http]\nservice = \"closed\"\nmethod = \"POST\"\npath = \"{path}\"\nquery = {{ a = \"{{a}}\", since = \"{{since}}\" }}\n\
         let.since = {{ before = {{ param = \"a\", unit = \"hours\" }} }}\n{extra}json = {{ b = \"{{b}}\", c = [\"{{c}}\", \"<{{c}}>\"] }}\n"
    )
}

fn catalogue_of(choices: &mut Choices) -> String {
    let writes = choices.seldom(3);
    let handler = match choices.one(&[0, 1, 2, 2, 2, 2, 3, 3, 4]) {
        0 => "text.body = \"hi\"\n".to_owned(),
        1 => "catalog = {}\n".to_owned(),
        2 => sql(choices),
        3 => http(choices),
        _ => "refuse.reason = \"no\"\n".to_owned(),
    };
    let read_only = !writes && !handler.contains("[tool.http]");
    let params = params(choices);
    format!(
        "[service.closed]\nbase_url = \"http://127.0.0.1:1\"\n[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = {read_only}\n{params}{handler}"
    )
}

fn value(choices: &mut Choices) -> Value {
    let texts = [
        "",
        "x",
        "%_\\",
        "'; --",
        "\u{0}",
        "\u{1F980}\n",
        "-1",
        "true",
        "2026-01-01",
        "..",
        "[1, 2]",
        "{\"k\": ",
    ];
    match choices.one(&[0, 1, 1, 2, 2, 3, 4, 5]) {
        0 if choices.seldom(2) => json!(true),
        0 => json!(null),
        1 => json!(choices.one(&texts)),
        2 => json!(choices.one(&[0, 1, -1, 7, i64::MAX, i64::MIN, 1 << 53])),
        3 => json!(choices.one(&[0.0, -0.5, 7.0, 1e20, 1e300, f64::MIN_POSITIVE])),
        4 => json!([choices.one(&texts), null, [1]]),
        _ => json!({ "k": choices.one(&texts), "n": {} }),
    }
}

fn message(choices: &mut Choices) -> Vec<u8> {
    let mut arguments = json!({});
    for name in PARAMS.into_iter().chain(["unknown"]) {
        if !choices.seldom(4) {
            arguments[name] = value(choices);
        }
    }
    let params = json!({ "name": "t", "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string().into_bytes()
}

#[test]
fn what_is_accepted_answers_every_call() {
    const CALLS: usize = 8;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let process = InProcess::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let [accepted, failed, succeeded] = [Cell::new(0), Cell::new(0), Cell::new(0)];
    let tried = runner.run(&prop::collection::vec(any::<u8>(), 160), |bytes| {
        let mut choices = Choices(bytes.into_iter());
        let catalogue = catalogue_of(&mut choices);
        let Ok(server) = process.with_catalogue(&catalogue) else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        for _ in 0..CALLS {
            let message = message(&mut choices);
            let reply = runtime.block_on(server.respond(&message));
            let reply: Value = serde_json::from_slice(&reply.unwrap().pieces.concat()).unwrap();
            prop_assert!(reply["result"]["content"].is_array(), "{catalogue}\n{reply}");
            let outcome = if reply["result"]["isError"] == json!(true) { &failed } else { &succeeded };
            outcome.set(outcome.get() + 1);
        }
        Ok(())
    });
    tried.unwrap();
    let (accepted, failed, succeeded) = (accepted.get(), failed.get(), succeeded.get());
    // Else this would prove nothing. Usually it is 280, 2,150 and 64, give or take 8.
    assert!(
        accepted > 50 && failed > 50 && succeeded > 20,
        "{accepted} catalogues, {failed} and {succeeded} calls"
    );
}
