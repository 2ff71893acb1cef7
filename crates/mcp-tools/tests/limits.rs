//! What arguments and rows may do: they are bound, counted and timed, and never end the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use mcp_testkit::ToolServer;

use crate::program::{run, start, start_in, text};
use crate::surface::block;

const CATALOGUE: &str = r#"
[[tool]]
name = "counts"
description = "Counts up to what is asked."
read_only = true
params.upto = { type = "integer", default = 1000 }
params.limit = { type = "integer", default = 5 }
params.offset = { type = "integer", default = 0 }
[tool.sql]
shape = "page"
limit = 50
limit_from = "limit"
offset_from = "offset"
cursor = { column = "n", name = "next_n" }
query = """
WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :upto) SELECT n FROM counted ORDER BY n"""

[[tool]]
name = "counts_all"
description = "Counts without end."
read_only = true
[tool.sql]
shape = "value"
timeout_ms = 200
query = "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted) SELECT COUNT(*) AS n FROM counted"

[[tool]]
name = "rows"
description = "A block for each row, three at most."
read_only = true
[tool.sql]
shape = "rows"
limit = 3
query = "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 9) SELECT n, 'row ' || n AS name FROM counted"

[[tool]]
name = "huge"
description = "Too large a result."
read_only = true
[tool.sql]
shape = "rows"
query = "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 20) SELECT hex(zeroblob(500000)) AS x FROM counted"

[[tool]]
name = "secret_write"
description = "Says that it reads."
read_only = true
[tool.sql]
shape = "row"
query = "DELETE FROM swf_runs RETURNING run_number"

[[tool]]
name = "half_write"
description = "Its second statement fails, so its first must not count."
read_only = false
[tool.sql]
shape = "row"
not_found = "no such thing"
query = "SELECT 1 AS one WHERE FALSE"
[[tool.sql.step]]
query = "DELETE FROM swf_runs RETURNING run_number"

[[tool]]
name = "runs"
description = "How many runs there are."
read_only = true
sql = { shape = "value", query = "SELECT COUNT(*) AS n FROM swf_runs" }

[[tool]]
name = "echo"
description = "Returns its argument."
read_only = true
params.word = { type = "string" }
params.since = { type = "string" }
params.find = { type = "string" }
[tool.sql]
shape = "row"
query = "SELECT :word AS word, :from AS since, :needle AS needle, 'a%_\\b' LIKE :needle ESCAPE '\\' AS found, ':word' AS kept"
boolean = ["found"]
let.from = { time = { param = "since" } }
let.needle = { contains = "find" }
"#;

fn server() -> ToolServer {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("limits.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let file = file.display().to_string();
    let checked = run(&["check", &file, "--database", "sqlite::memory:"]);
    // The tool is there to show that it cannot write.
    let told = text(&checked.stdout);
    let lines: Vec<&str> = told.lines().collect();
    let place = CATALOGUE.lines().position(|line| line == "name = \"secret_write\"").expect("declared");
    let expected = format!("{file}:{place}: tool.secret_write: sql.query: this statement writes");
    assert!(lines[0].starts_with(&expected), "{told}");
    assert_eq!(lines[1..], ["1 problem"]);
    start_in(home, &["--catalog", &file, "--demo"], &[])
}

#[track_caller]
fn failure(result: &Value) -> String {
    assert_eq!(result["isError"], json!(true), "{result}");
    result["content"][0]["text"].as_str().expect("text").to_owned()
}

#[test]
fn a_page_says_how_much_there_is_and_how_to_go_on() {
    let server = server();
    let page = |arguments| block(&server.call("counts", arguments));
    let numbers = |from: u64, to: u64| (from..=to).map(|n| json!({ "n": n })).collect::<Vec<_>>();
    let told = |items: Vec<Value>, total: u64, more: bool, next: Value| json!({ "items": items, "total_count": total, "has_more": more, "next_n": next });
    assert_eq!(page(json!({})), told(numbers(1, 5), 1000, true, json!(5)));
    assert_eq!(page(json!({ "offset": 998 })), told(numbers(999, 1000), 1000, false, Value::Null));
    assert_eq!(page(json!({ "offset": 5000 })), told(vec![], 1000, false, Value::Null));
    assert_eq!(page(json!({ "limit": 10_000_000 })), told(numbers(1, 50), 1000, true, json!(50)));
    assert_eq!(page(json!({ "limit": -3, "offset": -3 })), told(numbers(1, 1), 1000, true, json!(1)));
    assert_eq!(page(json!({ "upto": 2.0, "limit": i64::MAX })), told(numbers(1, 2), 2, false, Value::Null));
}

#[test]
fn rows_become_one_block_each_and_are_cut_at_the_limit() {
    let result = server().call("rows", json!({}));
    let blocks: Vec<&Value> =
        result["content"].as_array().expect("blocks").iter().map(|block| &block["text"]).collect();
    let expected: Vec<String> =
        (1..=3).map(|n| format!("{{\n  \"n\": {n},\n  \"name\": \"row {n}\"\n}}")).collect();
    let (said, blocks) = blocks.split_last().expect("blocks");
    assert_eq!(json!(blocks), json!(expected));
    assert_eq!(
        **said,
        "only the first 3 rows are shown, and there are more; narrow the arguments to see the rest"
    );
}

#[test]
fn a_statement_is_ended_at_its_time_and_a_result_at_its_size() {
    let server = server();
    let asked = Instant::now();
    assert!(failure(&server.call("counts_all", json!({}))).contains("longer than 0.2 s"));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(failure(&server.call("huge", json!({}))).contains("larger than 8 MiB"));
    assert_eq!(block(&server.call("runs", json!({}))), json!(3), "the connection is of use afterwards");
}

#[test]
fn a_tool_that_reads_cannot_write_and_half_a_write_is_none() {
    let server = server();
    assert!(failure(&server.call("secret_write", json!({}))).contains("takes no changes"));
    assert!(server.wait_for_log("database_error").contains("readonly"));
    assert_eq!(block(&server.call("half_write", json!({}))), json!({ "error": "no such thing" }));
    assert_eq!(block(&server.call("runs", json!({}))), json!(3));
}

#[test]
fn arguments_are_values_and_never_sql() {
    let server = server();
    for word in
        ["'; DELETE FROM swf_runs; --", "' OR '1'='1", "?1", ":word", "\\", "\"", "\u{1F980}\n", "NULL"]
    {
        let told = block(&server.call("echo", json!({ "word": word })));
        assert_eq!((&told["word"], &told["kept"]), (&json!(word), &json!(":word")));
    }
    let found = |text: &str| block(&server.call("echo", json!({ "find": text })))["found"].clone();
    assert_eq!(
        [found("%"), found("_"), found("\\"), found("A%"), found("x%"), found("a_%")]
            .map(|f| f == json!(true)),
        [true, true, true, true, false, false]
    );
    assert!(
        failure(&server.call("echo", json!({ "word": "a\u{0}" }))).contains("word: must not contain a NUL")
    );
    assert_eq!(block(&server.call("runs", json!({}))), json!(3));
}

// A filter that cannot be bound must not become no filter.
#[test]
fn a_number_that_no_database_holds_is_refused() {
    let server = start(&[]);
    for number in [json!(1e20), json!(u64::MAX), json!(-1e300)] {
        let told = failure(&server.call("panda_list_jobs", json!({ "taskid": number })));
        assert!(told.contains("taskid") && told.contains("does not fit in 64 bits"), "{told}");
    }
}

#[test]
fn times_are_read_in_utc_however_they_are_written() {
    let server = server();
    let since = |text: &str| server.call("echo", json!({ "since": text }));
    for (written, meant) in [
        ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00+00:00"),
        ("2026-11-21T09:00:00.250+02:00", "2026-11-21T07:00:00.25+00:00"),
        ("2026-11-21 09:00:00", "2026-11-21T09:00:00+00:00"),
        ("2026-11-21", "2026-11-21T00:00:00+00:00"),
    ] {
        assert_eq!(block(&since(written))["since"], meant, "{written}");
    }
    for nonsense in ["yesterday", "2026-13-01", "", "99999999999999"] {
        assert!(failure(&since(nonsense)).contains("since: is not a time; write ISO 8601"), "{nonsense}");
    }
}

#[test]
fn a_reload_under_calls_loses_none() {
    let server = server();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut calls = 0;
                    while !stop.load(Ordering::Relaxed) || calls == 0 {
                        assert_eq!(block(&server.call("runs", json!({}))), json!(3));
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        for _ in 0..20 {
            server.signal(rustix::process::Signal::HUP);
            server.wait_for_log("\"event\":\"reloaded\"");
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.join().expect("no call failed") > 0);
        }
    });
}

/// Any JSON value, with what breaks programs more often than chance would.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1e300)),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("%"),
            Just("' --"),
            Just("\u{0}"),
            Just("9223372036854775807"),
            Just("-1"),
            Just("true")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,4}", inner), 0..3).prop_map(Value::from_iter),
        ]
    })
}

#[test]
fn no_argument_of_any_kind_ends_the_server_or_goes_without_a_response() {
    let server = start(&[]);
    let listed = server.request("tools/list", json!({}))["result"]["tools"].clone();
    for tool in listed.as_array().expect("tools") {
        let name = tool["name"].as_str().expect("a name");
        let params: Vec<String> =
            tool["inputSchema"]["properties"].as_object().expect("properties").keys().cloned().collect();
        let values = prop::collection::vec(any_json(), params.len());
        let mut runner =
            TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
        let tried = runner.run(&values, |values| {
            let arguments: Map<String, Value> = params.iter().cloned().zip(values).collect();
            let result = server.call(name, Value::Object(arguments));
            prop_assert!(result["content"][0]["text"].is_string(), "{result}");
            prop_assert!(!result.to_string().contains("panicked"), "{result}");
            Ok(())
        });
        tried.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
