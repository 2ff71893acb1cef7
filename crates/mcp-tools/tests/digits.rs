//! Numbers in arguments keep their digits on their way to a database or a service, or are refused.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::pg::Postgres;
use crate::program::{run, serve, serve_on, text};
use crate::service::Service;
use crate::surface::block;

const CATALOGUE: &str = r#"
[[tool]]
name = "compare"
description = "Whether numbers arrive as the texts beside them."
read_only = true
params.n = { type = "number", required = true }
params.list = { type = "array", items = "number", required = true }
params.doc = { type = "object", required = true }
params.texts = { type = "array", items = "string", required = true }
[tool.sql]
shape = "row"
let.both = { object = ["n", "doc"] }
query = '''
SELECT (:n)::numeric = (:texts::text[])[1]::numeric AS scalar,
  :list::numeric[] = :texts::text[]::numeric[] AS list,
  (:doc -> 'deep' -> 0)::numeric = (:texts::text[])[1]::numeric AS document,
  (:both -> 'n')::numeric = (:texts::text[])[1]::numeric AND (:both -> 'doc') = :doc AS object
'''
"#;

/// One call whose arguments are sent byte for byte.
fn call(server: &ToolServer, name: &str, arguments: &str) -> Value {
    let params = format!(r#"{{"name":"{name}","arguments":{arguments}}}"#);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
    serde_json::from_str(server.http("POST", &headers, body.as_bytes()).text()).expect("JSON")
}

fn number() -> impl Strategy<Value = String> {
    ("-?", "0|[1-9][0-9]{0,40}", "(\\.[0-9]{1,40})?", prop::option::of(-300_i32..260)).prop_map(
        |(sign, whole, fraction, exponent)| {
            let exponent = exponent.map(|exponent| format!("e{exponent}")).unwrap_or_default();
            format!("{sign}{whole}{fraction}{exponent}")
        },
    )
}

// Requirement: an argument reaches `numeric` and `jsonb` with the digits that PostgreSQL reads in its text.
#[test]
fn a_number_of_an_argument_is_the_numeric_that_postgresql_reads_in_its_text() {
    let postgres = Postgres::start();
    let server = serve_on(&postgres.url(), CATALOGUE);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(number(), number(), any::<bool>()), |(one, other, quoted)| {
        // Models write numbers as texts, too.
        let n = if quoted { format!("\"{one}\"") } else { one.clone() };
        let arguments = format!(
            r#"{{"n":{n},"list":[{one},{other}],"doc":{{"deep":[{one}]}},"texts":["{one}","{other}"]}}"#
        );
        let result = call(&server, "compare", &arguments)["result"].take();
        prop_assert_eq!(&result["isError"], &json!(false), "{}: {}", arguments, result);
        let expected = json!({ "scalar": true, "list": true, "document": true, "object": true });
        prop_assert_eq!(block(&result), expected, "{}", arguments);
        Ok(())
    });
    outcome.expect("every number arrives");
}

#[test]
fn a_number_that_its_type_cannot_hold_is_refused() {
    let catalogue = r#"
[[tool]]
name = "t"
description = "d"
read_only = true
params.i = { type = "integer" }
params.is = { type = "array", items = "integer" }
params.n = { type = "number" }
params.ns = { type = "array", items = "number" }
params.doc = { type = "object" }
sql = { shape = "row", query = "SELECT :i AS i, :is AS is_, :n AS n, :ns AS ns, :doc AS doc" }
"#;
    let postgres = Postgres::start();
    let everywhere = [
        (r#"{"i": 9223372036854775808}"#, "i: 9223372036854775808 does not fit in 64 bits"),
        (r#"{"is": [1, 9223372036854775808]}"#, "is: 9223372036854775808 does not fit in 64 bits"),
        (
            r#"{"i": 9007199254740993.0}"#,
            "i: 9007199254740993.0 is no whole number of 64 bits without a fraction",
        ),
    ];
    let on_sqlite = [
        (
            r#"{"n": 12345678901234567890.5}"#,
            "n: 12345678901234567890.5 does not fit in a number of SQLite, which has 17 digits",
        ),
        (r#"{"n": 18446744073709551615}"#, "n: 18446744073709551615 does not fit in a number of SQLite"),
        (
            r#"{"ns": [0.5, 9223372036854775809]}"#,
            "ns: 9223372036854775809 does not fit in a number of SQLite",
        ),
        (r#"{"n": 1e-400}"#, "n: 1e-400 does not fit in a number of SQLite"),
    ];
    let sqlite = serve_on("sqlite::memory:", catalogue);
    let on_postgres = serve_on(&postgres.url(), catalogue);
    for (arguments, told) in everywhere.iter().chain(&on_sqlite) {
        let result = &call(&sqlite, "t", arguments)["result"];
        assert_eq!(result["isError"], json!(true), "{arguments}: {result}");
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        assert!(said.contains(told), "{arguments}: {said}");
    }
    for (arguments, told) in everywhere {
        let said = call(&on_postgres, "t", arguments).to_string();
        assert!(said.contains(told), "{arguments}: {said}");
    }
    let told = call(&sqlite, "t", r#"{"n": 1e400}"#);
    assert!(told["error"]["message"].as_str().is_some_and(|said| said.contains("1.8e308")), "{told}");
    // What a float holds is bound as one, and a document is a text.
    let kept = r#"{"n": 0.10000000000000001, "doc": {"d": 12345678901234567890.5}}"#;
    let row = block(&call(&sqlite, "t", kept)["result"]);
    assert_eq!((&row["n"], &row["doc"]), (&json!(0.1), &json!(r#"{"d":12345678901234567890.5}"#)), "{row}");
}

#[test]
fn a_number_of_an_argument_reaches_a_service_with_its_digits() {
    let service = Service::responding(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    );
    let catalogue = format!(
        r#"
[service.s]
base_url = "{}"
[[tool]]
name = "t"
description = "d"
read_only = false
params.n = {{ type = "number", required = true }}
params.ns = {{ type = "array" }}
[tool.http]
service = "s"
method = "POST"
path = "/{{n}}"
query = {{ ns = "{{ns}}" }}
headers = {{ X-N = "n {{n}}" }}
json = {{ n = "{{n}}", text = "n={{n}}", deep = [{{ ns = "{{ns}}" }}] }}
result = {{ n = "{{n}}" }}
"#,
        service.url
    );
    let server = serve(&catalogue, &[]);
    let n = "12345678901234567890.5";
    let result = call(&server, "t", &format!(r#"{{"n": {n}, "ns": [1, {n}]}}"#));
    assert_eq!(result["result"]["content"][0]["text"], format!("{{\n  \"n\": {n}\n}}"), "{result}");
    let asked = service.next();
    assert_eq!(asked.line, format!("POST /{n}?ns=1&ns={n} HTTP/1.1"));
    assert_eq!(asked.header("x-n"), Some(format!("n {n}").as_str()));
    assert_eq!(asked.body, format!(r#"{{"n":{n},"text":"n={n}","deep":[{{"ns":[1,{n}]}}]}}"#));
}

#[test]
fn the_command_line_keeps_the_digits_of_arguments() {
    let postgres = Postgres::start();
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let n = "12345678901234567890.5";
    let arguments = format!(r#"{{"n": {n}, "list": [{n}], "doc": {{"deep": [{n}]}}, "texts": ["{n}"]}}"#);
    let file = file.display().to_string();
    let url = postgres.url();
    let ran = run(&["call", "compare", &arguments, "--catalog", &file, "--database", &url]);
    assert_eq!(text(&ran.stdout).matches("true").count(), 4, "{ran:?}");
}
