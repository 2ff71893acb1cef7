//! SQLite files: attached siblings are asked for, and a file that is replaced is noticed.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{run, start, text};

const TOOLS: &str = r#"
[[tool]]
name = "read"
description = "Reads."
read_only = true
[tool.sql]
shape = "value"
query = "SELECT a FROM t"

[[tool]]
name = "write"
description = "Writes."
read_only = false
[tool.sql]
shape = "value"
query = "UPDATE t SET a = a + 1 RETURNING a"

[[tool]]
name = "beside"
description = "Reads another file."
read_only = true
[tool.sql]
shape = "value"
query = "SELECT a FROM other.t"
"#;

fn database(file: &Path, a: u32) {
    let connection = rusqlite::Connection::open(file).expect("opens");
    connection.execute_batch(&format!("CREATE TABLE t (a); INSERT INTO t VALUES ({a})")).expect("runs");
}

#[track_caller]
fn value(result: &Value) -> &str {
    assert_eq!(result["isError"], json!(false), "{result}");
    result["content"][0]["text"].as_str().expect("text")
}

#[test]
fn a_sqlite_file_that_is_replaced_is_read_from_then_on() {
    let home = tempfile::tempdir().expect("a directory");
    let (file, catalogue) = (home.path().join("a.db"), home.path().join("c.toml"));
    std::fs::write(&catalogue, TOOLS).expect("writes");
    database(&file, 1);
    let url = format!("sqlite:{}", file.display());
    let server = start(&["--catalog", &catalogue.display().to_string(), "--database", &url]);
    for _ in 0..2 {
        assert_eq!(value(&server.call("read", json!({}))), "1");
    }
    assert_eq!(value(&server.call("write", json!({}))), "2");
    let new = home.path().join("new.db");
    database(&new, 10);
    std::fs::rename(&new, &file).expect("replaces");
    assert_eq!(value(&server.call("read", json!({}))), "10");
    assert_eq!(value(&server.call("write", json!({}))), "11");
    assert_eq!(value(&server.call("read", json!({}))), "11");
    std::fs::remove_file(&file).expect("removes");
    assert_eq!(server.call("read", json!({}))["isError"], json!(true));
}

#[test]
fn siblings_of_a_sqlite_file_are_attached_where_that_is_asked_for() {
    let home = tempfile::tempdir().expect("a directory");
    let (file, catalogue) = (home.path().join("a.db"), home.path().join("c.toml"));
    std::fs::write(&catalogue, TOOLS).expect("writes");
    let catalogue = catalogue.display().to_string();
    database(&file, 1);
    database(&home.path().join("a.other.db"), 7);
    let alone = format!("sqlite:{}", file.display());
    let with = format!("{alone}?attach=siblings");
    let call = |url: &str, tool: &str| run(&["call", tool, "--catalog", &catalogue, "--database", url]);
    assert_eq!(text(&call(&with, "beside").stdout), "7\n");
    assert_eq!(call(&alone, "beside").status.code(), Some(1));
    for number in 1..=10 {
        std::fs::write(home.path().join(format!("a.bak{number}.db")), "").expect("writes");
    }
    assert_eq!(text(&call(&alone, "read").stdout), "1\n");
    let told = text(&call(&with, "read").stderr);
    assert!(told.contains("has 11 siblings") && told.contains("bak10") && told.contains("other"), "{told}");
}
