//! `[tool.sql]` on SQLite: errors in words, dry runs, statements without rows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{run, serve_on, start_in, text};
use crate::surface::block;

const CATALOGUE: &str = r#"
[[tool]]
name = "add"
description = "Adds a thing."
read_only = false
params.name = { type = "string" }
params.qty = { type = "integer" }
[tool.sql]
shape = "row"
query = "INSERT INTO things (name, qty) VALUES (:name, :qty)"
errors."things.name" = "There is already a thing named {name}."

[[tool]]
name = "names"
description = "Some names."
read_only = true
params.names = { type = "array", items = "string" }
[tool.sql]
shape = "map"
limit = 2
query = "SELECT 'k' || (qty % 2) AS k, name FROM things WHERE :names IS NULL OR name IN (SELECT value FROM json_each(:names)) ORDER BY name"
"#;

#[test]
fn an_infinite_number_of_sqlite_is_a_failure_that_names_the_column() {
    let catalogue = "[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = true\nsql = { shape = \"rows\", query = \"SELECT 1 AS near, -9e999 AS far\" }";
    let result = serve_on("sqlite::memory:", catalogue).call("t", json!({}));
    let expected = "the column far of the result holds an infinite number, which JSON cannot hold";
    assert_eq!((&result["isError"], &result["content"][0]["text"]), (&json!(true), &json!(expected)));
}

#[test]
fn sql_on_sqlite_tells_errors_undoes_dry_runs_and_counts_changes() {
    let home = tempfile::tempdir().expect("a directory");
    let database = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&database).expect("opens");
    let made = "CREATE TABLE things (name TEXT UNIQUE NOT NULL, qty INTEGER CHECK (qty > 0)); INSERT INTO things VALUES ('a', 1)";
    connection.execute_batch(made).expect("runs");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let (file, url) = (file.display().to_string(), format!("sqlite:{}", database.display()));
    let dry = run(&["call", "add", r#"{"name": "b"}"#, "--dry-run", "--catalog", &file, "--database", &url]);
    assert!(text(&dry.stdout).contains("dry run: everything was undone"), "{}", text(&dry.stdout));
    let server = start_in(home, &["--catalog", &file, "--database", &url], &[]);

    assert_eq!(block(&server.call("add", json!({ "name": "b", "qty": 3 }))), json!({ "affected": 1 }));
    let failure = |arguments: Value| {
        let result = server.call("add", arguments);
        assert_eq!(result["isError"], json!(true), "{result}");
        result["content"][0]["text"].as_str().expect("a text").to_owned()
    };
    assert_eq!(failure(json!({ "name": "b" })), "There is already a thing named b.");
    assert!(failure(json!({ "qty": 1 })).contains("see the argument name"));
    assert!(failure(json!({ "name": "c", "qty": -1 })).contains("not allowed"));

    assert_eq!(block(&server.call("names", json!({ "names": ["b", "x"] }))), json!({ "k1": "b" }));
    // Both have the key k1, and a third row is cut.
    assert_eq!(block(&server.call("add", json!({ "name": "c", "qty": 2 }))), json!({ "affected": 1 }));
    let result = server.call("names", json!({}));
    assert_eq!(
        result["_meta"],
        json!({ "mcp-tools/cut": ["result"], "mcp-tools/replaced": ["result"] }),
        "{result}"
    );
}

/// A file with two tables, and a catalogue of one tool.
fn site(tool: &str) -> (TempDir, String, String) {
    let home = tempfile::tempdir().expect("a directory");
    let database = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&database).expect("opens");
    let made = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
    connection.execute_batch(made).expect("runs");
    let file = home.path().join("c.toml");
    let catalogue = format!("[[tool]]\nname = \"t\"\ndescription = \"d\"\n{tool}");
    std::fs::write(&file, catalogue).expect("writes");
    let url = format!("sqlite:{}", database.display());
    (home, file.display().to_string(), url)
}

/// A tool that inserts 1 and runs a further statement.
fn inserts_and(query: &str) -> String {
    format!(
        "read_only = false\n[tool.sql]\nshape = \"row\"\nstep = [{{ query = \"INSERT INTO p VALUES (1)\" }}]\nquery = \"{query}\"\n"
    )
}

fn count(home: &TempDir) -> i64 {
    let connection = rusqlite::Connection::open(home.path().join("t.db")).expect("opens");
    connection.query_row("SELECT count(*) FROM p", [], |row| row.get(0)).expect("a number")
}

#[test]
fn a_statement_that_ends_the_transaction_or_changes_the_connection_is_refused() {
    for query in [
        "COMMIT",
        "/* x */ End",
        "-- x\\nROLLBACK",
        "SAVEPOINT s",
        "RELEASE s",
        "BEGIN",
        "PRAGMA query_only = OFF",
        "EXPLAIN PRAGMA query_only = OFF",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "VACUUM",
        "CREATE TEMP TABLE x (a)",
        "CREATE TEMPORARY VIEW x AS SELECT 1",
        "CREATE TABLE temp.x (a)",
    ] {
        let (home, file, url) = site(&inserts_and(query));
        let told = run(&["call", "t", "{}", "--dry-run", "--catalog", &file, "--database", &url]);
        assert_eq!(told.status.code(), Some(1), "{query}: {}", text(&told.stdout));
        assert_eq!(count(&home), 0, "{query}");
        let told = text(&run(&["check", &file, "--database", &url]).stdout);
        assert!(told.contains("cannot run here"), "{query}: {told}");
    }
    let query = "read_only = true\n[tool.sql]\nshape = \"row\"\nquery = \"PRAGMA query_only = OFF\"\n";
    let (_home, file, url) = site(query);
    let told = text(&run(&["check", &file, "--database", &url]).stdout);
    assert!(told.contains("cannot run here"), "{told}");
}

#[test]
fn a_dry_run_checks_what_commit_would_check() {
    for (value, code) in [(1, 0), (2, 1)] {
        let (home, file, url) = site(&inserts_and(&format!("INSERT INTO c VALUES ({value})")));
        let call =
            |dry: &[&str]| run(&[&["call", "t", "{}", "--catalog", &file, "--database", &url], dry].concat());
        for _ in 0..2 {
            let told = call(&["--dry-run"]);
            let words = text(&told.stdout) + &text(&told.stderr);
            assert_eq!(told.status.code(), Some(code), "{value}: {words}");
        }
        assert_eq!(count(&home), 0);
        assert_eq!(call(&[]).status.code(), Some(code), "{value}");
        assert_eq!(count(&home), i64::from(1 - code));
    }
}

#[test]
fn the_wait_for_a_lock_ends_with_the_time_of_the_tool() {
    let database = "[database.main]\nurl = \"sqlite:t.db\"\nlock_timeout_ms = 40000\n";
    let tool = "read_only = false\n[tool.sql]\nshape = \"row\"\ntimeout_ms = 500\nquery = \"INSERT INTO p VALUES (1)\"\n";
    let (home, file, _) = site(&format!("{tool}{database}"));
    let other = rusqlite::Connection::open(home.path().join("t.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let begun = Instant::now();
    let told = run(&["call", "t", "{}", "--catalog", &file]);
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stdout));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
