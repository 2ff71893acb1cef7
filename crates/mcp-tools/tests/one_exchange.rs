//! A call on PostgreSQL whose statements have run before takes one exchange: it returns what the first call returned.
//!
//! Each case calls the tool once, which the driver runs, and then again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use mcp_testkit::{ToolServer, eventually_blocking};

use crate::pg::Postgres;
use crate::program::serve_on;

const TABLES: &str = "
CREATE TABLE things (id integer PRIMARY KEY, name text CHECK (name <> 'bad'), fits numeric);
INSERT INTO things SELECT n, 'thing ' || n, n / 3.0 FROM generate_series(1, 200) n;
CREATE FUNCTION loud(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'heard %', $1; RETURN $1; END $$;
";

const CATALOGUE: &str = r#"
[[tool]]
name = "state"
description = "The transaction and the session that it runs in."
read_only = true
[tool.sql]
shape = "row"
timeout_ms = 7000
query = "SELECT current_setting('transaction_read_only') AS ro, current_setting('transaction_isolation') AS level, current_setting('TimeZone') AS zone, current_setting('DateStyle') AS dates, current_setting('statement_timeout') AS most, (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'p%' AND statement LIKE '%transaction_isolation%' AND statement LIKE '%ONE_EXCHANGE%') AS kept -- ONE_EXCHANGE"

[[tool]]
name = "several"
description = "Several reads."
read_only = true
params.id = { type = "integer", required = true }
[tool.sql]
shape = "sections"
require = [{ query = "SELECT 1 AS n FROM things WHERE id = :id", message = "no thing {id}" }]
section = [
  { name = "level", shape = "value", query = "SELECT current_setting('transaction_isolation') AS level" },
  { name = "by_name", shape = "rows", query = "SELECT id, name FROM things WHERE id >= :id ORDER BY id LIMIT 2" },
  { name = "share", shape = "value", query = "SELECT 100 / (:id - 7) AS share" },
]

[[tool]]
name = "alike"
description = "The same statement twice."
read_only = true
[tool.sql]
shape = "sections"
section = [
  { name = "one", shape = "value", query = "SELECT 1 AS n" },
  { name = "other", shape = "value", query = "SELECT 1 AS n" },
]

[[tool]]
name = "some"
description = "Some of the things."
read_only = true
params.from = { type = "integer", required = true }
[tool.sql]
shape = "rows"
limit = 50
query = "SELECT id, name, fits, NULL AS nothing, jsonb_build_object('a', name) AS object FROM things WHERE id >= :from ORDER BY id"

[[tool]]
name = "long"
description = "One long value."
read_only = true
params.bytes = { type = "integer", required = true }
[tool.sql]
shape = "value"
query = "SELECT repeat('x', :bytes) AS text"

[[tool]]
name = "loud"
description = "A server that sends notices and a text of any kind."
read_only = true
params.text = { type = "string" }
[tool.sql]
shape = "value"
query = "SELECT loud(:text) AS text"

[[tool]]
name = "sleep"
description = "Takes its time."
read_only = true
params.seconds = { type = "number", required = true }
[tool.sql]
shape = "value"
timeout_ms = 1500
query = "SELECT 1 AS n FROM pg_sleep(:seconds)"

[[tool]]
name = "sneaks"
description = "Says that it reads."
read_only = true
params.id = { type = "integer", required = true }
[tool.sql]
shape = "value"
query = "SELECT CASE WHEN :id > 0 THEN nextval('one') ELSE 0 END AS n"

[[tool]]
name = "rename"
description = "Changes a thing."
read_only = false
params.id = { type = "integer", required = true }
params.name = { type = "string", required = true }
[tool.sql]
shape = "row"
query = "UPDATE things SET name = :name WHERE id = :id RETURNING id, name, current_setting('transaction_read_only') AS ro"
not_found = "there is no thing {id}"
"#;

fn server() -> (Postgres, ToolServer) {
    let postgres = Postgres::start();
    postgres.load(TABLES);
    postgres.load("CREATE SEQUENCE one");
    let server = serve_on(&postgres.url(), CATALOGUE);
    (postgres, server)
}

fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().expect("text")
}

/// Calls a tool twice; both results are the same.
#[track_caller]
fn twice(server: &ToolServer, tool: &str, arguments: Value) -> Value {
    let first = server.call(tool, arguments.clone());
    let second = server.call(tool, arguments);
    assert_eq!(first, second, "{tool}");
    second
}

#[test]
fn one_exchange_has_the_transaction_of_every_call() {
    let (_postgres, server) = server();
    let read = || serde_json::from_str::<Value>(said(&server.call("state", json!({})))).expect("JSON");
    let (first, second, third) = (read(), read(), read());
    // The statement stays prepared under a name of the pipeline: the second call did take that way.
    assert_eq!((&first["kept"], &second["kept"], &third["kept"]), (&json!(0), &json!(1), &json!(1)));
    for state in [first, second, third] {
        assert_eq!(state["ro"], json!("on"));
        assert_eq!(state["level"], json!("read committed"));
        assert_eq!((&state["zone"], &state["dates"]), (&json!("UTC"), &json!("ISO, MDY")));
        let most = state["most"].as_str().and_then(|most| most.strip_suffix("ms").or(most.strip_suffix('s')));
        let most: u32 = most.expect("a time").parse().expect("a number");
        assert!(most == 7 || (5000..=7000).contains(&most), "{state}");
    }
}

#[test]
fn several_reads_in_one_exchange_see_one_state_and_end_where_a_row_is_missing() {
    let (_postgres, server) = server();
    assert_eq!(said(&twice(&server, "several", json!({ "id": 999 }))), "{\n  \"error\": \"no thing 999\"\n}");
    let found = twice(&server, "several", json!({ "id": 3 }));
    let found: Value = serde_json::from_str(said(&found)).expect("JSON");
    assert_eq!(found["level"], json!("repeatable read"));
    assert_eq!(found["by_name"], json!([{ "id": 3, "name": "thing 3" }, { "id": 4, "name": "thing 4" }]));
    assert_eq!(found["share"], json!(-25));
    // An error of a statement after the missing row is never reported.
    let failed = twice(&server, "several", json!({ "id": 7 }));
    assert_eq!(failed["isError"], json!(true), "{failed}");
    assert_eq!(said(&twice(&server, "several", json!({ "id": 999 }))), "{\n  \"error\": \"no thing 999\"\n}");
}

// A text that occurs twice in an exchange is compiled once: a second Parse of its name would fail.
#[test]
fn a_statement_that_occurs_twice_runs_twice() {
    let (_postgres, server) = server();
    for _ in 0..2 {
        let found: Value = serde_json::from_str(said(&twice(&server, "alike", json!({})))).expect("JSON");
        assert_eq!(found, json!({ "one": 1, "other": 1 }));
    }
}

#[test]
fn rows_of_one_exchange_are_cut_and_keep_their_digits() {
    let (_postgres, server) = server();
    let cut = twice(&server, "some", json!({ "from": 100 }));
    assert_eq!(cut["content"].as_array().map(Vec::len), Some(51), "{cut}");
    assert_eq!(cut["_meta"]["mcp-tools/cut"], json!(["result"]), "{cut}");
    assert!(said(&cut).contains("\"fits\": 33.3333333333333333"), "{cut}");
    let whole = twice(&server, "some", json!({ "from": 151 }));
    assert_eq!(whole["content"].as_array().map(Vec::len), Some(50), "{whole}");
    assert_eq!(twice(&server, "some", json!({ "from": 500 }))["content"], json!([]));
}

#[test]
fn a_long_row_passes_and_one_beyond_the_limit_is_refused_without_harm() {
    let (_postgres, server) = server();
    let long = twice(&server, "long", json!({ "bytes": 3_000_000 }));
    assert_eq!(said(&long).len(), 3_000_002);
    for _ in 0..2 {
        let refused = server.call("long", json!({ "bytes": 9_000_000 }));
        assert_eq!(refused["isError"], json!(true), "{}", said(&refused));
    }
    assert_eq!(said(&twice(&server, "long", json!({ "bytes": 3 }))), "\"xxx\"");
}

#[test]
fn notices_and_awkward_values_pass_in_one_exchange() {
    let (_postgres, server) = server();
    for value in [json!("a"), json!("\u{1F600} 'x' \\ $1 \"\n"), json!(""), Value::Null] {
        let told = twice(&server, "loud", json!({ "text": value }));
        assert_eq!(serde_json::from_str::<Value>(said(&told)).expect("JSON"), value);
    }
}

#[test]
fn errors_of_one_exchange_are_those_of_the_driver() {
    let (postgres, server) = server();
    twice(&server, "rename", json!({ "id": 1, "name": "good" }));
    let bad = twice(&server, "rename", json!({ "id": 1, "name": "bad" }));
    assert_eq!(bad["isError"], json!(true), "{bad}");
    assert!(said(&bad).contains("things_name_check"), "{bad}");
    let none = twice(&server, "rename", json!({ "id": 0, "name": "x" }));
    assert_eq!(said(&none), "{\n  \"error\": \"there is no thing 0\"\n}");
    let (id, big) = (json!({ "id": 1, "name": "x" }), json!({ "id": 5_000_000_000_i64, "name": "x" }));
    assert_eq!(said(&twice(&server, "rename", big)), said(&none).replace('0', "5000000000"));
    assert!(said(&twice(&server, "rename", id)).contains("\"ro\": \"off\""));
    assert_eq!(postgres.ask("SELECT name FROM things WHERE id = 1"), "x");
    // A transaction that failed is over.
    assert_eq!(postgres.ask("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"), "0");
}

#[test]
fn what_says_that_it_reads_cannot_write_in_one_exchange() {
    let (postgres, server) = server();
    twice(&server, "sneaks", json!({ "id": 0 }));
    let refused = twice(&server, "sneaks", json!({ "id": 1 }));
    assert_eq!(refused["isError"], json!(true), "{refused}");
    assert_eq!(postgres.ask("SELECT is_called FROM one"), "f");
}

#[test]
fn one_exchange_ends_in_time() {
    let (_postgres, server) = server();
    twice(&server, "sleep", json!({ "seconds": 0 }));
    let begun = Instant::now();
    let late = server.call("sleep", json!({ "seconds": 20 }));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(said(&late).contains("1.5 s"), "{late}");
    twice(&server, "sleep", json!({ "seconds": 0 }));
}

#[test]
fn a_server_that_ends_the_session_in_one_exchange_is_reported_and_the_next_call_works() {
    let (postgres, server) = server();
    twice(&server, "sleep", json!({ "seconds": 0 }));
    let told = std::thread::scope(|scope| {
        let call = scope.spawn(|| server.call("sleep", json!({ "seconds": 8 })));
        let sleeping = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let pid = eventually_blocking("a query that sleeps", || {
            Some(postgres.ask(sleeping)).filter(|pid| !pid.is_empty())
        });
        postgres.ask(&format!("SELECT pg_terminate_backend({pid})"));
        call.join().expect("a result")
    });
    assert_eq!(told["isError"], json!(true), "{told}");
    let line = server.wait_for_log("database_error");
    assert!(line.contains("57P01"), "{line}");
    twice(&server, "sleep", json!({ "seconds": 0 }));
}

#[test]
fn a_table_that_changes_between_two_exchanges_is_read_as_it_is_now() {
    let (postgres, server) = server();
    twice(&server, "some", json!({ "from": 200 }));
    postgres.load("ALTER TABLE things ALTER name TYPE varchar(40), ALTER id TYPE bigint");
    assert!(said(&twice(&server, "some", json!({ "from": 200 }))).contains("thing 200"));
    postgres.load("ALTER TABLE things RENAME name TO title");
    assert_eq!(twice(&server, "some", json!({ "from": 200 }))["isError"], json!(true));
    postgres.load("ALTER TABLE things RENAME title TO name");
    assert!(said(&twice(&server, "some", json!({ "from": 200 }))).contains("thing 200"));
}
