//! `[tool.sql]` on SQLite: errors in words, dry runs, statements without rows.

use serde_json::{Value, json};

use crate::program::{run, start_in, text};
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
