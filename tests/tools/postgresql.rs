//! The same catalogue on a real PostgreSQL: same answers as on SQLite, the same limits, and a server that goes and comes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Server, run, text};
use crate::pg::Postgres;
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
    let home = tempfile::tempdir().expect("a directory");
    let file = sqlite_file(home.path(), &at);
    let on_sqlite = Server::start(&["--database", &format!("sqlite:{file}")]);
    let on_postgres = Server::start(&["--database", &postgres.url()]);

    for (name, arguments) in read_calls() {
        let [sqlite, postgres] =
            [&on_sqlite, &on_postgres].map(|server| server.call(name, arguments.clone()));
        assert_eq!(postgres["isError"], json!(false), "{name} {arguments}: {postgres}");
        assert_eq!(comparable(&block(&postgres)), comparable(&block(&sqlite)), "{name} {arguments}");
    }
    // The tools that write, one after the other, and what they left behind.
    let intake = json!({ "source_location": "DIS/NC/18x275.csv", "physics_tag": "p1002", "evgen_tag": "e1", "simu_tag": "s1",
        "reco_tag": "r2" });
    let task = json!({ "public_catalog_issue": 300, "public_catalog_row_key": "r-1", "prod_config": "standard-26.02",
        "dataset": "group.EIC.evgen:evgen.DIS.NC.18x275.b1" });
    let writes = [
        (
            "swf_record_ai_memory",
            json!({ "username": "zoe", "session_id": "s", "role": "user", "content": "it's \"quoted\"; -- \u{2192}" }),
        ),
        ("swf_end_execution", json!({ "execution_id": "stf_datataking-torre-0042" })),
        ("swf_end_execution", json!({ "execution_id": "stf_datataking-torre-0042" })),
        ("pcs_dataset_intake", intake.clone()),
        ("pcs_dataset_intake", intake),
        ("pcs_prodtask_intake", task.clone()),
        ("pcs_prodtask_intake", task),
        (
            "pcs_prodtask_link_input",
            json!({ "task_name": "catalog-300-r-1", "did": "group.EIC.evgen:evgen.DIS.NC.18x275.b1" }),
        ),
        ("pcs_prodtask_link_input", json!({ "task_name": "catalog-300-r-1", "dids": ["no:such"] })),
        ("pcs_prodtask_set_status", json!({ "task_name": "catalog-300-r-1", "status": "READY" })),
        ("pcs_prodtask_set_status", json!({ "task_name": "catalog-300-r-1", "status": "flying" })),
        ("pcs_prodtask_get", json!({ "name": "catalog-300-r-1" })),
        ("swf_get_ai_memory", json!({ "username": "zoe" })),
    ];
    for (name, arguments) in writes {
        let answers = [&on_sqlite, &on_postgres].map(|server| {
            let mut answer = comparable(&block(&server.call(name, arguments.clone())));
            without_times(&mut answer);
            answer
        });
        assert_eq!(answers[1], answers[0], "{name} {arguments}");
    }
}

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
description = "Answers its argument."
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
    let server = Server::start(&["--catalog", &file.display().to_string(), "--database", &postgres.url()]);

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
    let server = Server::start(&["--database", &postgres.url()]);
    let runs = |server: &Server| server.call("swf_list_runs", json!({}));
    assert_eq!(block(&runs(&server))["total_count"], json!(3));

    postgres.stop();
    for _ in 0..2 {
        let asked = std::time::Instant::now();
        let down = runs(&server);
        assert_eq!(down["isError"], json!(true), "{down}");
        let told = down["content"][0]["text"].as_str().expect("text");
        assert_eq!(told, "the database cannot be reached at the moment; try again later");
        assert!(asked.elapsed() < std::time::Duration::from_secs(3), "quickly: {:?}", asked.elapsed());
    }
    assert_eq!(server.ask("ping", json!({}))["result"], json!({}));

    postgres.start_again();
    assert_eq!(block(&runs(&server))["total_count"], json!(3));
}
