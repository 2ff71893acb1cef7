//! Statements on a real PostgreSQL: which ones run, how values are bound, how much of a result is read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::pg::Postgres;
use crate::program::{run, serve_on, text};

/// A catalogue of one tool.
fn tool(read_only: bool, params: &str, shape: &str, query: &str) -> String {
    format!(
        "[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = {read_only}\n{params}\n[tool.sql]\nshape = \"{shape}\"\nlimit = 5\nquery = '''{query}'''\n"
    )
}

/// What `check` says of a catalogue on a database.
fn checked(url: &str, catalogue: &str) -> String {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, catalogue).expect("writes");
    text(&run(&["check", &file.display().to_string(), "--database", url]).stdout)
}

/// The blocks of a result that is no error.
#[track_caller]
fn blocks(result: &Value) -> Vec<String> {
    assert_eq!(result["isError"], json!(false), "{result}");
    let blocks = result["content"].as_array().expect("blocks").iter();
    blocks.map(|block| block["text"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn numbers_keep_their_digits() {
    let postgres = Postgres::start();
    let query = "SELECT 12345678901234567890.1234567891::numeric(30,10) AS n, 1.50::numeric AS price, '{\"deep\": [98765432109876543210.5]}'::jsonb AS j, 9007199254740993 AS big";
    let schema = "output_schema = '{\"type\":\"object\"}'";
    for (shape, schema, copies) in [("row", "", 1), ("rows", "", 1), ("row", schema, 2)] {
        let server = serve_on(&postgres.url(), &tool(true, schema, shape, query));
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t", "arguments": {} } });
        let body = text(&server.post(&call).body);
        for digits in
            ["12345678901234567890.1234567891", "1.50", "98765432109876543210.5", "9007199254740993"]
        {
            assert_eq!(body.matches(digits).count(), copies, "{digits} in {body}");
        }
    }
}

#[test]
fn a_number_reaches_the_database_with_every_digit() {
    let postgres = Postgres::start();
    postgres.load("CREATE TABLE t (id numeric PRIMARY KEY, amount numeric, near float8, few real)");
    let params = "params.id = { type = \"number\" }\nparams.amount = { type = \"number\" }\nparams.ids = { type = \"array\", items = \"number\" }";
    let insert = "INSERT INTO t VALUES (:id, :amount, :amount, :amount) RETURNING amount";
    let writes = tool(false, params, "value", insert) + "unused = [\"ids\"]\n";
    let server = serve_on(&postgres.url(), &writes);
    for (id, amount) in [("1234567890123456", "123456789012.3456"), ("9007199254740993", "0.1")] {
        let arguments: Value =
            serde_json::from_str(&format!("{{\"id\": {id}, \"amount\": {amount}}}")).expect("JSON");
        assert_eq!(blocks(&server.call("t", arguments.clone()))[0], amount);
        let conditions = [
            "id = :id AND :ids IS NULL AND :amount > 0",
            "id = ANY(:ids) AND near = :amount AND power(near * 0, :amount) = 0 AND :id > 0",
            "id = :id AND few <> :amount + 1 AND sqrt(:amount) > 0 AND near * :amount > 0 AND 1.5 = ANY(:ids)",
        ];
        for (place, condition) in conditions.iter().enumerate() {
            let mut arguments = arguments.clone();
            if place > 0 {
                arguments["ids"] = json!([arguments["id"], 1.5]);
            }
            let query = format!("SELECT id FROM t WHERE {condition}");
            let told =
                blocks(&serve_on(&postgres.url(), &tool(true, params, "value", &query)).call("t", arguments));
            assert_eq!(told[0], id, "{query}");
        }
    }
    let params = "params.id = { type = \"number\" }";
    let catalogue = tool(true, params, "row", "SELECT :id = 9007199254740993 AS n, :id / 2 AS h");
    let lite = serve_on("sqlite::memory:", &catalogue);
    let told = blocks(&lite.call("t", json!({ "id": 9_007_199_254_740_993_i64 })));
    assert!(told[0].contains("\"n\": 1"), "{told:?}");
    let told = blocks(&lite.call("t", json!({ "id": 5 })));
    assert!(told[0].contains("\"h\": 2.5"), "{told:?}");
}

#[test]
fn a_temporary_table_does_not_reach_the_next_call() {
    let postgres = Postgres::start();
    for query in [
        "CREATE TEMP TABLE x (a integer)",
        "CREATE GLOBAL TEMPORARY TABLE x AS SELECT 1 AS a",
        "CREATE OR REPLACE TEMP VIEW x AS SELECT 1 AS a",
        "CREATE TABLE pg_temp.x (a integer)",
    ] {
        let catalogue = tool(false, "", "rows", query);
        let told = checked(&postgres.url(), &catalogue);
        assert!(told.contains("would stay on the connection"), "{query}: {told}");
        let told = serve_on(&postgres.url(), &catalogue).call("t", json!({}));
        assert_eq!(told["isError"], json!(true), "{query}");
    }
    for query in
        ["CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1 AS a", "CREATE TABLE temp (temporary integer)"]
    {
        blocks(&serve_on(&postgres.url(), &tool(false, "", "rows", query)).call("t", json!({})));
    }
}

#[test]
fn comments_and_continued_texts_end_where_postgresql_ends_them() {
    let postgres = Postgres::start();
    postgres.load("CREATE TABLE t (id serial, v text)");
    for (value, expected) in [(r"'a' -- '\r", "a"), (r"E'a'\n'\\''", "a'")] {
        let query = format!("\"INSERT INTO t (v) VALUES ({value}) RETURNING v, 1.50 AS n\"");
        let catalogue = tool(false, "", "row", "QUERY").replace("'''QUERY'''", &query);
        let told = blocks(&serve_on(&postgres.url(), &catalogue).call("t", json!({})));
        // Without its form as JSON, PostgreSQL would not write the digits of a numeric.
        assert_eq!(told[0], format!("{{\n  \"v\": \"{expected}\",\n  \"n\": 1.50\n}}"), "{query}");
    }
}

#[test]
fn a_limit_reaches_the_database() {
    let postgres = Postgres::start();
    let query = "SELECT n FROM generate_series(1, 100000000) AS n";
    // The function alone would make all rows before the first is returned.
    let query = format!("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) {query}")
        .replace("generate_series(1, 100000000) AS n", "r");
    let server = serve_on(&postgres.url(), &tool(true, "", "rows", &query));
    let begun = Instant::now();
    let told = blocks(&server.call("t", json!({})));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(told.len() >= 5 && told[4].contains('5'), "{told:?}");
}

#[test]
fn every_kind_of_statement_runs() {
    let postgres = Postgres::start();
    postgres.load("CREATE TABLE t (id integer PRIMARY KEY, v text); CREATE TABLE log (id integer);");
    for (read_only, query, expected) in [
        (false, "INSERT INTO t VALUES (1, 'a'), (2, 'b')", None),
        (
            false,
            "WITH n AS (INSERT INTO t VALUES (3, 'c') RETURNING id), l AS (INSERT INTO log SELECT id FROM n) SELECT id FROM n",
            Some("3"),
        ),
        (
            false,
            "MERGE INTO t USING (VALUES (1, 'z')) AS s(id, v) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v",
            None,
        ),
        (
            false,
            "WITH k AS (SELECT 1 AS id) UPDATE t SET v = 'w' FROM k WHERE t.id = k.id RETURNING v",
            Some("w"),
        ),
        (false, "DELETE FROM t WHERE id = 2", None),
        (false, "UPDATE t SET v = v || '!' RETURNING v", Some("w!")),
        (true, "SHOW TimeZone", Some("UTC")),
        (true, "EXPLAIN (COSTS OFF) SELECT 1", Some("Result")),
        (true, "EXPLAIN (FORMAT JSON) SELECT 1", Some("Plan")),
        (true, "VALUES (41 + 1)", Some("42")),
        (true, "TABLE log", Some("3")),
        (true, "(SELECT 7) UNION ALL (SELECT 8)", Some("7")),
        (true, "SELECT 1 AS _mcp_row, 2 AS _row", Some("2")),
    ] {
        let catalogue = tool(read_only, "", "rows", query);
        assert_eq!(checked(&postgres.url(), &catalogue), "OK: 1 tools\n", "{query}");
        let told = blocks(&serve_on(&postgres.url(), &catalogue).call("t", json!({}))).join(" ");
        assert!(expected.is_none_or(|expected| told.contains(expected)), "{query}: {told}");
    }
    assert_eq!(postgres.ask("SELECT id, v FROM t ORDER BY id"), "1|w!\n3|c!");
}

#[test]
fn what_would_end_the_transaction_is_refused() {
    let postgres = Postgres::start();
    for query in ["COMMIT", "SET work_mem = '8MB'", "PREPARE p AS SELECT 1"] {
        let told = checked(&postgres.url(), &tool(false, "", "rows", query));
        assert!(told.contains("a statement of this kind cannot run here"), "{query}: {told}");
    }
}

#[test]
fn two_columns_of_one_name_are_refused() {
    let postgres = Postgres::start();
    let catalogue = tool(true, "", "row", "SELECT 1 AS a, 2 AS b, 3 AS a");
    for url in [postgres.url(), "sqlite::memory:".to_owned()] {
        let told = checked(&url, &catalogue);
        assert!(told.contains("two columns are named a"), "{url}: {told}");
        assert_eq!(serve_on(&url, &catalogue).call("t", json!({}))["isError"], json!(true), "{url}");
    }
}

const TYPED: &str = "CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE t (id uuid PRIMARY KEY, m mood, day date, small smallint, at timestamptz, price numeric(12,2), ok boolean,
  doc jsonb, tags text[], moods mood[], nums integer[], code char(5), kind varchar(8));";

const PARAMS: &str = r#"
[tool.params]
id = { type = "string", required = true }
m = { type = "string" }
day = { type = "string" }
small = { type = "integer" }
at = { type = "string" }
price = { type = "number" }
ok = { type = "boolean" }
doc = { type = "object" }
tags = { type = "array", items = "string" }
nums = { type = "array", items = "integer" }
code = { type = "string" }
"#;

#[test]
fn values_take_the_type_that_the_statement_gives_them() {
    let postgres = Postgres::start();
    postgres.load(TYPED);
    let insert = "INSERT INTO t VALUES (:id, :m, :day, :small, :at, :price, :ok, :doc, :tags, NULL, :nums, :code, :code) RETURNING *";
    let server = serve_on(&postgres.url(), &tool(false, PARAMS, "row", insert));
    let id = "6f0b0c1e-1111-4222-8333-444455556666";
    let sent = json!({ "id": id, "m": "happy", "day": "2026-02-28", "small": 7, "at": "2026-01-02T03:04:05Z", "price": 1.25,
        "ok": true, "doc": { "a": [1, "x"] }, "tags": ["a,b", "c\"d\\", ""], "nums": [1, -2], "code": "ab" });
    let told: Value = serde_json::from_str(&blocks(&server.call("t", sent))[0]).expect("JSON");
    let expected = json!({ "id": id, "m": "happy", "day": "2026-02-28", "small": 7, "at": "2026-01-02T03:04:05+00:00",
        "price": 1.25, "ok": true, "doc": { "a": [1, "x"] }, "tags": ["a,b", "c\"d\\", ""], "moods": null, "nums": [1, -2],
        "code": "ab   ", "kind": "ab" });
    assert_eq!(told, expected);
    let other = "7f0b0c1e-1111-4222-8333-444455556666";
    let told = blocks(&server.call("t", json!({ "id": other })));
    assert_eq!(told[0].matches("null").count(), 12, "NULL fits every type: {}", told[0]);

    for (query, arguments, expected) in uses() {
        let unused = ["m", "day", "small", "at", "price", "ok", "doc", "tags", "nums", "code"]
            .iter()
            .filter(|name| !query.contains(&format!(":{name}")));
        let unused: Vec<String> = unused.map(|name| format!("\"{name}\"")).collect();
        let catalogue = tool(true, PARAMS, "value", query) + &format!("unused = [{}]\n", unused.join(", "));
        assert_eq!(checked(&postgres.url(), &catalogue), "OK: 1 tools\n", "{query}");
        let mut arguments = arguments;
        arguments["id"] = json!(id);
        let told = blocks(&serve_on(&postgres.url(), &catalogue).call("t", arguments));
        assert_eq!(told[0].trim_matches('"'), expected, "{query}");
    }
}

/// Statements with values, and the first value that they return.
fn uses() -> Vec<(&'static str, Value, &'static str)> {
    let id = "6f0b0c1e-1111-4222-8333-444455556666";
    vec![
        ("SELECT small AS n FROM t WHERE id = :id AND m = :m", json!({ "m": "happy" }), "7"),
        (
            "SELECT small AS n FROM t WHERE id = :id AND day + :small = '2026-03-01'",
            json!({ "small": 1 }),
            "7",
        ),
        (
            "SELECT small AS n FROM t WHERE id::text = ANY(:tags) AND :id IS NOT NULL",
            json!({ "tags": ["x", id] }),
            "7",
        ),
        (
            "SELECT count(*) AS n FROM t WHERE m = ANY(:tags) AND :id <> ''",
            json!({ "tags": ["happy", "sad"] }),
            "1",
        ),
        (
            "SELECT count(*) AS n FROM unnest(:tags) AS tag WHERE :id <> tag",
            json!({ "tags": ["x", "y"] }),
            "2",
        ),
        ("SELECT :small AS n WHERE :id IS NOT NULL", json!({ "small": 5 }), "5"),
        ("SELECT 1 AS n WHERE :id IS NOT NULL AND :m IS NULL", json!({}), "1"),
        ("SELECT :m::mood AS n WHERE :id::uuid IS NOT NULL", json!({ "m": "sad" }), "sad"),
        ("SELECT :id::text || :m AS n", json!({ "m": "!" }), "6f0b0c1e-1111-4222-8333-444455556666!"),
        (
            "SELECT jsonb_build_object('k', :m, 'n', :small)->>'k' AS n WHERE :id IS NOT NULL",
            json!({ "m": "v" }),
            "v",
        ),
        ("SELECT (:doc)->>'k' AS n WHERE :id IS NOT NULL", json!({ "doc": { "k": "v" } }), "v"),
        (
            "SELECT count(*) AS n FROM t WHERE small < :price AND :id IS NOT NULL",
            json!({ "price": 7.5 }),
            "1",
        ),
    ]
}

#[test]
fn a_column_that_is_added_while_the_server_runs_appears() {
    let postgres = Postgres::start();
    let table = "CREATE TABLE t (a integer); INSERT INTO t VALUES (1)";
    postgres.load(table);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection.execute_batch(table).expect("runs");
    for url in [postgres.url(), format!("sqlite:{}", file.display())] {
        let server = serve_on(&url, &tool(true, "", "row", "SELECT * FROM t"));
        for _ in 0..2 {
            assert!(!blocks(&server.call("t", json!({})))[0].contains("\"b\""));
        }
        let change = "ALTER TABLE t ADD COLUMN b integer DEFAULT 2";
        if url.starts_with("sqlite:") {
            connection.execute_batch(change).expect("runs");
        } else {
            postgres.load(change);
        }
        let told = blocks(&server.call("t", json!({})));
        assert!(told[0].contains("\"b\": 2"), "{url}: {}", told[0]);
    }
}
