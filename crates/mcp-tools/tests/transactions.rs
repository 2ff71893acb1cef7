//! Transactions on a real PostgreSQL: changes of others, a broken COMMIT, callers that hang up.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use mcp_testkit::{ToolServer, eventually_blocking};

use crate::pg::Postgres;
use crate::program::serve_on;

const CATALOGUE: &str = r#"
[[tool]]
name = "count"
description = "Counts."
read_only = false
[tool.sql]
shape = "value"
query = "UPDATE counter SET n = n + 1 RETURNING n"

[[tool]]
name = "count_slowly"
description = "Counts after a while."
read_only = false
[tool.sql]
shape = "value"
query = "UPDATE counter SET n = n + 1 RETURNING n"
step = [{ query = "SELECT pg_sleep(0.3)" }]

[[tool]]
name = "forth"
description = "Changes 1, then 2."
read_only = false
[tool.sql]
shape = "value"
step = [{ query = "UPDATE pair SET n = n + 1 WHERE id = 1" }, { query = "SELECT pg_sleep(0.5)" }]
query = "UPDATE pair SET n = n + 1 WHERE id = 2 RETURNING n"

[[tool]]
name = "back"
description = "Changes 2, then 1."
read_only = false
[tool.sql]
shape = "value"
step = [{ query = "UPDATE pair SET n = n + 1 WHERE id = 2" }, { query = "SELECT pg_sleep(0.5)" }]
query = "UPDATE pair SET n = n + 1 WHERE id = 1 RETURNING n"

[[tool]]
name = "slow_commit"
description = "Waits in COMMIT."
read_only = false
[tool.sql]
shape = "value"
query = "INSERT INTO slow (n) VALUES (1) RETURNING n"

[[tool]]
name = "sleep"
description = "Reads for a long time."
read_only = true
[tool.sql]
shape = "value"
timeout_ms = 20000
query = "SELECT 1 AS n FROM pg_sleep(12)"

[[tool]]
name = "sleep_and_count"
description = "Writes after a while."
read_only = false
[tool.sql]
shape = "value"
query = "UPDATE counter SET n = n + 100 RETURNING n"
step = [{ query = "SELECT pg_sleep(1)" }]

[[tool]]
name = "repeated"
description = "Meets a conflict, and takes too long when it is repeated."
read_only = false
[tool.sql]
shape = "value"
timeout_ms = 1500
step = [{ query = "INSERT INTO kept VALUES (1)" }, { query = "SELECT conflict_once()" }, { query = "SELECT pg_sleep(1.2)" }]
query = "SELECT 1 AS n FROM pg_sleep(1.2)"

[[tool]]
name = "one"
description = "Reads."
read_only = true
[tool.sql]
shape = "value"
query = "SELECT 1 AS n"
"#;

const TABLES: &str = "
CREATE TABLE counter (n integer); INSERT INTO counter VALUES (0);
CREATE TABLE pair (id integer, n integer); INSERT INTO pair VALUES (1, 0), (2, 0);
CREATE TABLE slow (n integer);
CREATE TABLE kept (n integer);
CREATE SEQUENCE tries;
CREATE FUNCTION conflict_once() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('tries') = 1 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF;
  PERFORM pg_sleep(1.2); RETURN 1; END $$;
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
";

const SLEEPING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

fn server() -> (Postgres, ToolServer) {
    let postgres = Postgres::start();
    postgres.load(TABLES);
    let server = serve_on(&postgres.url(), CATALOGUE);
    (postgres, server)
}

/// Calls of these tools at the same time; the text of each result, which is no error.
#[track_caller]
fn at_once(server: &ToolServer, tools: &[&str]) -> Vec<String> {
    let results: Vec<Value> = std::thread::scope(|scope| {
        let call = |tool| scope.spawn(move || server.call(tool, json!({})));
        let calls: Vec<_> = tools.iter().copied().map(call).collect();
        calls.into_iter().map(|call| call.join().expect("a result")).collect()
    });
    for result in &results {
        assert_eq!(result["isError"], json!(false), "{results:?}");
    }
    results.iter().map(|result| result["content"][0]["text"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn concurrent_updates_of_one_row_are_all_done_and_none_is_lost() {
    let (postgres, server) = server();
    let counted = at_once(&server, &["count"; 20]);
    let mut counted: Vec<u32> = counted.iter().map(|text| text.parse().expect("a number")).collect();
    counted.sort_unstable();
    assert_eq!(counted, (1..=20).collect::<Vec<u32>>());
    at_once(&server, &["count_slowly"; 3]);
    assert_eq!(postgres.ask("SELECT n FROM counter"), "23");
}

#[test]
fn a_deadlock_is_repeated_until_both_calls_are_done() {
    let (postgres, server) = server();
    at_once(&server, &["forth", "back"]);
    assert_eq!(postgres.ask("SELECT id, n FROM pair ORDER BY id"), "1|2\n2|2");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    eventually_blocking("a deadlock was counted", || (postgres.ask(deadlocks) != "0").then_some(()));
}

#[test]
fn a_connection_that_breaks_in_commit_leaves_the_outcome_unknown() {
    let (postgres, server) = server();
    let told = std::thread::scope(|scope| {
        let call = scope.spawn(|| server.call("slow_commit", json!({})));
        let commits = "SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'";
        let pid = eventually_blocking("a COMMIT that runs", || {
            Some(postgres.ask(commits)).filter(|pid| !pid.is_empty())
        });
        postgres.ask(&format!("SELECT pg_terminate_backend({pid})"));
        call.join().expect("a result")
    });
    assert_eq!(told["isError"], json!(true), "{told}");
    let words = told["content"][0]["text"].as_str().expect("text");
    assert!(words.ends_with("whether it was carried out is unknown, check before you repeat it"), "{words}");
    server.wait_for_log("database_error");
}

/// Sends a call and does not read the response.
fn send(server: &ToolServer, tool: &str) -> UnixStream {
    let params = json!({ "name": tool, "arguments": {} });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length";
    let mut stream = UnixStream::connect(&server.socket).expect("a listening server");
    stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("writes");
    stream
}

#[test]
fn an_abandoned_read_is_cancelled_and_its_connection_is_not_used_again() {
    let (postgres, server) = server();
    let streams: Vec<UnixStream> = (0..8).map(|_| send(&server, "sleep")).collect();
    eventually_blocking("eight queries that run", || (postgres.ask(SLEEPING) == "8").then_some(()));
    drop(streams);
    let begun = Instant::now();
    let told = server.call("one", json!({}));
    assert_eq!(told["isError"], json!(false), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    eventually_blocking("all queries are cancelled", || (postgres.ask(SLEEPING) == "0").then_some(()));
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "they did not end by themselves: {:?}",
        begun.elapsed()
    );
    let lines = server.log_until("\"one\"").join("\n");
    assert_eq!(lines.matches("\"outcome\":\"abandoned\"").count(), 8, "{lines}");
}

#[test]
fn an_abandoned_write_is_done_and_logged() {
    let (postgres, server) = server();
    let stream = send(&server, "sleep_and_count");
    eventually_blocking("the write runs", || (postgres.ask(SLEEPING) == "1").then_some(()));
    drop(stream);
    assert!(server.wait_for_log("\"sleep_and_count\"").contains("\"outcome\":\"ok\""));
    assert_eq!(postgres.ask("SELECT n FROM counter"), "100");
}

#[test]
fn a_repeated_call_that_times_out_leaves_no_transaction_to_the_next_call() {
    let (postgres, server) = server();
    let told = server.call("repeated", json!({}));
    assert_eq!(told["isError"], json!(true), "{told}");
    assert_eq!(postgres.ask("SELECT last_value FROM tries"), "2");
    at_once(&server, &["count"]);
    assert_eq!(postgres.ask("SELECT count(*) FROM kept"), "0");
    assert_eq!(postgres.ask("SELECT n FROM counter"), "1");
}
