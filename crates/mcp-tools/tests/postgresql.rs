//! The same catalogue on a real PostgreSQL: same answers as on SQLite, the same limits, and a server that goes and comes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::pg::Postgres;
use crate::program::{run, start, text};
use crate::surface::{block, read_calls};

/// Answers without what depends on the moment of asking; 50 and 50.0 are the same number.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().filter(|(key, _)| !matches!(key.as_str(), "as_of" | "since"));
            let sorted: BTreeMap<String, Value> =
                kept.map(|(key, value)| (key.clone(), comparable(value))).collect();
            json!(sorted)
        }
        Value::Array(values) => values.iter().map(comparable).collect(),
        Value::Number(number) => json!(number.as_f64()),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

fn sqlite_file(folder: &std::path::Path, at: &str) -> String {
    let script = text(&run(&["schema", "--demo", "--at", at]).stdout);
    let attached = folder.join("swf.doma_panda.db").display().to_string();
    let file = folder.join("swf.db");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection.execute_batch(&script.replace("swf.doma_panda.db", &attached)).expect("the script runs");
    file.display().to_string()
}

#[test]
fn answers_the_same_as_sqlite() {
    let postgres = Postgres::start();
    let at = jiff::Timestamp::now().to_string();
    postgres.load(&text(&run(&["schema", "--dialect", "postgres", "--demo", "--at", &at]).stdout));
    // The tables of the server that is replaced have no defaults: its framework writes them with each row.
    postgres.load(NO_DEFAULTS);
    let home = tempfile::tempdir().expect("a directory");
    let file = sqlite_file(home.path(), &at);
    let on_sqlite = start(&["--database", &format!("sqlite:{file}?attach=siblings")]);
    let on_postgres = start(&["--database", &postgres.url()]);

    for (name, arguments) in read_calls() {
        let [sqlite, postgres] =
            [&on_sqlite, &on_postgres].map(|server| server.call(name, arguments.clone()));
        assert_eq!(postgres["isError"], json!(false), "{name} {arguments}: {postgres}");
        assert_eq!(comparable(&block(&postgres)), comparable(&block(&sqlite)), "{name} {arguments}");
    }
    // The tools that write, one after the other, and what they left behind.
    for (name, arguments, expected) in writes() {
        let [sqlite, postgres] = [&on_sqlite, &on_postgres].map(|server| {
            let mut answer = comparable(&block(&server.call(name, arguments.clone())));
            without_times(&mut answer);
            answer
        });
        assert_eq!(postgres, sqlite, "{name} {arguments}");
        let told = sqlite.to_string();
        assert!(told.contains(expected), "{name} {arguments}: {told}");
    }
}

/// Calls that write or are refused to, in order, and what the answer of each holds.
fn writes() -> Vec<(&'static str, Value, &'static str)> {
    let mut calls = vec![
        (
            "swf_record_ai_memory",
            json!({ "username": "zoe", "session_id": "s", "role": "user", "content": "it's \"quoted\"; -- \u{2192}" }),
            "\"success\":true",
        ),
        ("swf_get_ai_memory", json!({ "username": "zoe" }), "quoted"),
    ];
    for expected in ["terminated", "is not running"] {
        let id = json!({ "execution_id": "stf_datataking-torre-0042" });
        calls.push(("swf_end_execution", id, expected));
    }
    // The tag r2 is a draft.
    for (reco, expected) in
        [("r2", "locked tag"), ("r1", "\"created\":true"), ("r1", "\"created\":false,\"created_by\":\"mcp\"")]
    {
        let intake = json!({ "source_location": "DIS/NC/18x275.csv", "physics_tag": "p1001", "evgen_tag": "e1", "simu_tag": "s1",
            "reco_tag": reco, "detector_version": "26.03.0", "detector_config": "epic_craterlake" });
        calls.push(("pcs_dataset_intake", intake, expected));
    }
    let from = json!({ "source_kind": "csv_manifest", "source_location": "DIS/NC/18x275.csv" });
    calls.push(("pcs_dataset_list", from, DID));
    calls.extend(writes_of_tasks());
    calls
}

const DID: &str = "group.EIC.evgen:group.EIC.evgen.26.03.0.epic_craterlake.p1001.e1.s1.r1.b1";

fn writes_of_tasks() -> Vec<(&'static str, Value, &'static str)> {
    let row = |row: &str| {
        json!({ "public_catalog_csv_path": "a.csv", "public_catalog_row_key": row, "prod_config": "standard-26.02", "name": "t-1",
            "dataset": DID })
    };
    let again = json!({ "public_catalog_csv_path": "a.csv", "public_catalog_row_key": "r-1", "public_catalog_pr": 7, "description": "new" });
    let overrides = "\"overrides\":{\"input_dataset_dids\":[\"group.EIC.evgen:group.EIC.evgen.26.03.0.epic_craterlake.p1001.e1.s1.r1.b1\"],\"public_catalog_csv_path\":\"a.csv\",\"public_catalog_pr\":7.0,\"public_catalog_row_key\":\"r-1\"}";
    let mut calls = vec![
        ("pcs_prodtask_intake", json!({ "name": "t-1" }), "Give public_catalog_issue"),
        ("pcs_prodtask_intake", row("r-1"), "\"created\":true"),
        ("pcs_prodtask_intake", row("r-2"), "Another production task is named t-1"),
        ("pcs_prodtask_intake", again, "\"description\":\"new\""),
    ];
    for (inputs, expected) in [
        (json!({ "did": DID }), "\"input_dataset_did\":\"group"),
        (json!({ "dids": [DID] }), overrides),
        (json!({ "dids": [] }), "Give did"),
        (json!({ "dids": ["no:such"] }), "Not every did"),
    ] {
        let mut arguments = inputs;
        arguments["task_name"] = json!("t-1");
        calls.push(("pcs_prodtask_link_input", arguments, expected));
    }
    for (task, status, expected) in [
        ("t-1", "READY", "\"status\":\"ready\""),
        ("t-1", "flying", "it is flying"),
        ("t-1", "completed", "cannot become completed"),
        ("t-1", "submitted", "\"status\":\"submitted\""),
        ("t-1", "draft", "cannot become draft"),
        ("t-1", "completed", "\"status\":\"completed\""),
        ("t-0", "ready", "t-0 not found"),
    ] {
        calls.push(("pcs_prodtask_set_status", json!({ "task_name": task, "status": status }), expected));
    }
    calls.push(("pcs_prodtask_get", json!({ "name": "t-1" }), overrides));
    calls
}

const NO_DEFAULTS: &str = r#"
DO $$
DECLARE found record;
BEGIN
  FOR found IN SELECT table_schema, table_name, column_name FROM information_schema.columns
               WHERE table_schema IN ('public', 'doma_panda') AND column_default IS NOT NULL LOOP
    EXECUTE format('ALTER TABLE %I.%I ALTER COLUMN %I DROP DEFAULT', found.table_schema, found.table_name, found.column_name);
  END LOOP;
END $$;
"#;

/// Removes the moments of writing.
fn without_times(value: &mut Value) {
    if let Value::Array(values) = value {
        values.iter_mut().for_each(without_times);
    } else if let Value::Object(object) = value {
        object.retain(|key, _| !key.ends_with("_at") && !key.ends_with("_time"));
        object.values_mut().for_each(without_times);
    }
}

#[test]
fn every_statement_of_the_catalogue_fits_the_database() {
    let postgres = Postgres::start();
    let empty = run(&["check", "builtin", "--database", &postgres.url()]);
    let told = text(&empty.stdout);
    assert_eq!(empty.status.code(), Some(1), "{told}");
    assert!(told.contains("tool.swf_list_runs: sql.query: ") && told.contains("does not exist"), "{told}");
    postgres.load(&text(&run(&["schema", "--dialect", "postgres"]).stdout));
    let made = run(&["check", "builtin", "--database", &postgres.url()]);
    assert_eq!(text(&made.stdout), "OK: 54 tools\n");
}

const LIMITS: &str = r#"
[[tool]]
name = "sleeps"
description = "Sleeps."
read_only = true
[tool.sql]
shape = "row"
timeout_ms = 300
query = "SELECT 1 AS one"
postgres = "SELECT 1 AS one FROM pg_sleep(30)"

[[tool]]
name = "writes_in_secret"
description = "Says that it reads."
read_only = true
[tool.sql]
shape = "value"
query = "SELECT 1 AS one"
postgres = "SELECT nextval('s') AS one"

[[tool]]
name = "echo"
description = "Returns its argument."
read_only = true
params.word = { type = "string", required = true }
params.number = { type = "integer" }
[tool.sql]
shape = "row"
query = "SELECT :word AS word, :number AS number"
"#;

#[test]
fn keeps_time_and_never_writes_where_it_only_reads() {
    let postgres = Postgres::start();
    postgres.load("CREATE SEQUENCE s");
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("limits.toml");
    std::fs::write(&file, LIMITS).expect("writes");
    let server = start(&["--catalog", &file.display().to_string(), "--database", &postgres.url()]);

    let slept = server.call("sleeps", json!({}));
    assert_eq!(slept["isError"], json!(true));
    assert!(slept["content"][0]["text"].as_str().expect("text").contains("longer than 0.3 s"), "{slept}");
    assert!(server.wait_for_log("\"sleeps\"").contains("\"timeout\""));

    let refused = server.call("writes_in_secret", json!({}));
    assert_eq!(refused["isError"], json!(true), "{refused}");
    assert!(server.wait_for_log("database_error").contains("read-only transaction"));

    for word in ["'; DROP TABLE t; --", "\\", "$1", ":word", "\u{1F980} NULL", ""] {
        let told = block(&server.call("echo", json!({ "word": word, "number": i64::MIN })));
        assert_eq!(told, json!({ "word": word, "number": i64::MIN }));
    }
    let nul = server.call("echo", json!({ "word": "a\u{0}b" }));
    assert!(nul["content"][0]["text"].as_str().expect("text").contains("NUL character"), "{nul}");
}

#[test]
fn says_so_when_the_database_is_down_and_works_again_when_it_is_back() {
    let mut postgres = Postgres::start();
    postgres.load(&text(&run(&["schema", "--dialect", "postgres", "--demo"]).stdout));
    let server = start(&["--database", &postgres.url()]);
    let runs = |server: &ToolServer| server.call("swf_list_runs", json!({}));
    assert_eq!(block(&runs(&server))["total_count"], json!(3));

    postgres.stop();
    for _ in 0..2 {
        let asked = std::time::Instant::now();
        let down = runs(&server);
        assert_eq!(down["isError"], json!(true), "{down}");
        let told = down["content"][0]["text"].as_str().expect("text");
        assert_eq!(told, "the database cannot be reached at the moment; try again later");
        assert!(asked.elapsed() < std::time::Duration::from_secs(8), "quickly: {:?}", asked.elapsed());
    }
    assert_eq!(server.request("ping", json!({}))["result"], json!({}));

    postgres.start_again();
    assert_eq!(block(&runs(&server))["total_count"], json!(3));
}
