//! `[tool.sql]`: what a caller reads, and the log holds, when a function refuses, an expression is not valid or a lock is held.

use serde_json::{Value, json};

use mcp_testkit::eventually_blocking;

use crate::pg::Postgres;
use crate::program::serve_on;

/// A tool `NAME` that runs one query with the argument `a`.
fn tool(name: &str, options: &str, query: &str) -> String {
    format!(
        "[[tool]]\nname = \"{name}\"\ndescription = \"d\"\nread_only = false\nparams.a = {{ type = \"string\" }}\n\
         [tool.sql]\nshape = \"rows\"\n{options}\nquery = \"\"\"{query}\"\"\"\n"
    )
}

#[track_caller]
fn refusal(result: &Value) -> String {
    assert_eq!(result["isError"], json!(true), "{result}");
    result["content"][0]["text"].as_str().expect("text").to_owned()
}

const RAISING: &str = "
CREATE FUNCTION refuse(code text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the shelf % is full', 7 USING ERRCODE = code; END $$;
CREATE TABLE things (name text CONSTRAINT short_name CHECK (length(name) < 3));
CREATE FUNCTION add(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO things VALUES (name); END $$;
";

// Requirement: under tell_reason the caller reads what a function raised, whatever the code.
#[test]
fn sql_raised_errors_are_told_whatever_their_code() {
    let postgres = Postgres::start();
    postgres.load(RAISING);
    let query = "SELECT refuse(:a)::text AS x";
    let own = "errors.23514 = \"No more.\"";
    let catalogue = [
        tool("aloud", "tell_reason = true", query),
        tool("silent", "", query),
        tool("own", own, query),
        tool("add", "tell_reason = true", "SELECT add(:a)::text AS x"),
    ];
    let server = serve_on(&postgres.url(), &catalogue.concat());
    for code in ["P0001", "check_violation", "unique_violation", "P0002", "45000", "42501", "55P03", "57014"]
    {
        let told = refusal(&server.call("aloud", json!({ "a": code })));
        assert_eq!(told, "the shelf 7 is full", "{code}");
        let log = server.log_until("\"event\":\"call\"").join("\n");
        assert!(log.contains("(raised by a function") && log.contains("\"outcome\":\"invalid\""), "{log}");
        let told = refusal(&server.call("silent", json!({ "a": code })));
        assert_eq!(told, "a rule of the database refused this", "{code}");
        server.log_until("\"event\":\"call\"");
    }
    assert_eq!(refusal(&server.call("own", json!({ "a": "check_violation" }))), "No more.");
    // What the database itself refuses inside a function is no text of the function.
    let told = refusal(&server.call("add", json!({ "a": "long" })));
    assert!(told.contains("a value is not allowed") && told.contains("short_name"), "{told}");
}

#[test]
fn sql_raised_conflicts_are_repeated() {
    let postgres = Postgres::start();
    postgres.load(RAISING);
    let server =
        serve_on(&postgres.url(), &tool("aloud", "tell_reason = true", "SELECT refuse(:a)::text AS x"));
    let told = refusal(&server.call("aloud", json!({ "a": "serialization_failure" })));
    assert!(told.contains("at the same time"), "{told}");
}

const EXPRESSION: &str = "an argument is not a valid search query, pattern or path";

// Requirement: a caller that writes a query, pattern or path learns that it is not valid.
#[test]
fn sql_expressions_that_are_not_valid_are_told_on_postgresql() {
    let cases = [
        ("SELECT to_tsquery(:a)::text AS x", "a b <->", EXPRESSION),
        ("SELECT 'x' ~ :a AS x", "x(", EXPRESSION),
        ("SELECT 'xy' LIKE :a AS x", "x\\", EXPRESSION),
        (
            "SELECT jsonb_path_query('{}', :a::jsonpath) AS x",
            "$.a !",
            "an argument is not a valid search query, pattern or path; see the argument a",
        ),
        (
            "SELECT to_tsvector(:a::regconfig, 'x')::text AS x",
            "nosuch",
            "the database did not accept a value; see the argument a",
        ),
    ];
    let postgres = Postgres::start();
    postgres.load("CREATE FUNCTION runs(a text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE a; END $$");
    let mut catalogue: String = cases
        .iter()
        .enumerate()
        .map(|(place, (query, _, _))| tool(&format!("t{place}"), "", query))
        .collect();
    catalogue += &tool("runs", "", "SELECT runs(:a)::text AS x");
    catalogue += &tool("wrong", "", "SELEC :a");
    let unprepared = format!("{catalogue}[database.main]\nurl = \"{}\"\nprepared = false\n", postgres.url());
    for server in [serve_on(&postgres.url(), &catalogue), serve_on(&postgres.url(), &unprepared)] {
        for (place, (query, argument, expected)) in cases.iter().enumerate() {
            let told = refusal(&server.call(&format!("t{place}"), json!({ "a": argument })));
            assert_eq!(told, *expected, "{query}");
        }
        // A mistake of a function or of the statement is not the caller's.
        for (tool, argument) in [("runs", "SELEC 1"), ("wrong", "a")] {
            let told = refusal(&server.call(tool, json!({ "a": argument })));
            assert_eq!(told, "the database did not accept the query", "{tool}");
        }
    }
}

#[test]
fn sql_expressions_that_are_not_valid_are_told_on_sqlite() {
    let cases = [
        ("SELECT word FROM words WHERE words MATCH :a", "\"a"),
        ("SELECT word FROM words WHERE words MATCH :a", "a AND"),
        ("SELECT word FROM words WHERE words MATCH :a", "well-known"),
        ("SELECT json_extract('{}', :a) AS x", "a.b"),
        ("SELECT 1 AS x WHERE 'a' LIKE 'b' ESCAPE :a", "xx"),
    ];
    let home = tempfile::tempdir().expect("a directory");
    let database = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&database).expect("opens");
    connection.execute_batch("CREATE VIRTUAL TABLE words USING fts5(word)").expect("runs");
    let mut catalogue: String =
        cases.iter().enumerate().map(|(place, (query, _))| tool(&format!("t{place}"), "", query)).collect();
    catalogue += &tool("wrong", "", "SELECT nosuch, :a AS x FROM words");
    let server = serve_on(&format!("sqlite:{}", database.display()), &catalogue);
    for (place, (query, argument)) in cases.iter().enumerate() {
        let told = refusal(&server.call(&format!("t{place}"), json!({ "a": argument })));
        assert_eq!(told, EXPRESSION, "{query} {argument}");
    }
    let told = refusal(&server.call("wrong", json!({ "a": "a" })));
    assert_eq!(told, "the database did not accept the query");
}

// Requirement: the log names a lock timeout as what it is, with and without a function around it.
#[test]
fn sql_lock_timeouts_are_logged_in_the_words_of_the_server() {
    let postgres = Postgres::start();
    postgres.load(
        "CREATE TABLE counter (n integer); INSERT INTO counter VALUES (1);
         CREATE FUNCTION count_one() RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE counter SET n = n + 1; END $$;",
    );
    let catalogue = [
        tool("plain", "", "UPDATE counter SET n = n + 1 WHERE :a IS NULL RETURNING n"),
        tool("within", "", "SELECT count_one()::text AS x, :a AS a"),
    ];
    let declared = format!("[database.main]\nurl = \"{}\"\nlock_timeout_ms = 100\n", postgres.url());
    let server = serve_on(&postgres.url(), &(declared + &catalogue.concat()));
    std::thread::scope(|scope| {
        scope.spawn(|| postgres.command("BEGIN; UPDATE counter SET n = 0; SELECT pg_sleep(20); ROLLBACK"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        eventually_blocking("the row is locked", || (postgres.ask(asleep) == "1").then_some(()));
        for tool in ["plain", "within"] {
            let told = refusal(&server.call(tool, json!({})));
            assert_eq!(told, "another change holds these rows; try again later");
            let line = server.wait_for_log("\"database_error\"");
            assert!(line.contains("55P03 canceling statement due to lock timeout"), "{line}");
        }
        postgres.ask("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    });
}
