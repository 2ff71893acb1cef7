//! What a database says of a call that failed: no argument and no row of it is in the log, on either database.

use serde_json::json;

use crate::pg::Postgres;
use crate::program::{start, text};

/// What each argument holds; no log line may.
const SECRET: &str = "Zq7secretQx";
/// A column's value, not an argument.
const STORED: &str = "Wv9storedYk";

/// A statement that fails with the argument in `:a`, and what the log line of it holds.
struct Case {
    sql: &'static str,
    argument: &'static str,
    logged: &'static str,
}

const fn case(sql: &'static str, argument: &'static str, logged: &'static str) -> Case {
    Case { sql, argument, logged }
}

const POSTGRES_TABLES: &str = r#"
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN short AS text CONSTRAINT short_length CHECK (length(VALUE) < 4);
CREATE TABLE parent (name text PRIMARY KEY);
CREATE TABLE t (id serial PRIMARY KEY, a text CONSTRAINT t_a_key UNIQUE, s text CONSTRAINT t_s_length CHECK (length(s) < 4),
  v varchar(3), n integer NOT NULL DEFAULT 1, p text CONSTRAINT t_p_fkey REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
INSERT INTO t(a) VALUES ('Zq7secretQx'), ('Wv9storedYk');
CREATE FUNCTION raises(a text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % here', a; END $$;
CREATE FUNCTION raises_as(a text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'no % here', a USING ERRCODE = '23505', CONSTRAINT = a, TABLE = a, HINT = a; END $$;
CREATE FUNCTION computes(a text) RETURNS integer LANGUAGE sql AS $$ SELECT (a || 'x')::integer $$;
CREATE FUNCTION runs(a text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ' || a; END $$;
"#;

const POSTGRES: &[Case] = &[
    case(
        "INSERT INTO t(a) VALUES (:a) RETURNING id",
        SECRET,
        "23505 duplicate key value violates unique constraint",
    ),
    case("INSERT INTO t(s) VALUES (:a) RETURNING id", SECRET, "constraint t_s_length; table t"),
    case(
        "INSERT INTO t(a, n) VALUES (:a || 'x', NULL) RETURNING id",
        SECRET,
        "23502 null value in column ...; table t; column n",
    ),
    case("INSERT INTO t(p) VALUES (:a) RETURNING id", SECRET, "23503"),
    case(
        "INSERT INTO t(v) VALUES (:a) RETURNING id",
        SECRET,
        "22001 value too long for type character varying",
    ),
    case("SELECT :a::short AS x", SECRET, "constraint short_length"),
    case("SELECT :a::integer AS x", SECRET, "22P02 invalid input syntax for type integer ..."),
    case("SELECT :a::integer AS x", "a\" Zq7secretQx \"b", "22P02"),
    case("SELECT :a::integer AS x", "a'\n: Zq7secretQx", "22P02"),
    case("SELECT :a::mood AS x", SECRET, "22P02"),
    case("SELECT :a::uuid AS x", SECRET, "22P02"),
    case("SELECT :a::date AS x", SECRET, "22007"),
    case("SELECT :a::timestamptz AS x", "2026-13-77 Zq7secretQx", "22"),
    case("SELECT :a::jsonb AS x", "{\"k\": Zq7secretQx}", "22P02 invalid input syntax for type json"),
    case("SELECT :a::xml AS x", "<Zq7secretQx", "2200N"),
    case("SELECT :a::regclass::text AS x", SECRET, "42P01 relation ..."),
    case("SELECT :a::regtype::text AS x", SECRET, "42704 type ..."),
    case("SELECT to_tsquery(:a)::text AS x", "Zq7secretQx <-> <->", "42601 syntax error in tsquery: ..."),
    case("SELECT 'x' ~ :a AS x", "Zq7secretQx(", "2201B invalid regular expression ..."),
    case("SELECT date_trunc(:a, now()) AS x", SECRET, "22023 unit ..."),
    case("SELECT current_setting(:a) AS x", SECRET, "42704 unrecognized configuration parameter ..."),
    case("SELECT jsonb_path_query('{}', :a::jsonpath) AS x", "$.Zq7secretQx !", "42601"),
    case(
        "SELECT convert_to(:a, 'LATIN1') AS x",
        "Zq7secretQx\u{20ac}",
        "22P05 character with byte sequence ...",
    ),
    case("SELECT pg_read_file(:a) AS x", SECRET, "58P01"),
    case("SELECT raises(:a) AS x", SECRET, "P0001 (raised by a function; its text is left out)"),
    case("SELECT raises_as(:a) AS x", SECRET, "23505 (raised by a function; its text is left out)"),
    case("SELECT computes(:a) AS x", SECRET, "22P02"),
    case("SELECT runs(:a)::text AS x", "\"Zq7secretQx\"", "42703 (raised by a function"),
    case("SELECT a::integer AS x FROM t WHERE a <> :a", SECRET, "22P02"),
    case("SELECT max((:a)::interval) AS x", "9999999999 Zq7secretQx", "22007"),
    // What cannot even be compiled is logged whole: no value has been bound.
    case("SELECT no_such, :a AS x FROM t", SECRET, "42703 column \\\"no_such\\\" does not exist"),
];

const SQLITE_TABLES: &str = "
PRAGMA foreign_keys = ON;
CREATE TABLE parent (name TEXT PRIMARY KEY);
CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, s TEXT CONSTRAINT t_s_length CHECK (length(s) < 4), n INTEGER NOT NULL DEFAULT 1,
  p TEXT REFERENCES parent, u TEXT);
INSERT INTO t(a) VALUES ('Zq7secretQx'), ('Wv9storedYk');
CREATE TABLE strict (n INTEGER) STRICT;
CREATE TRIGGER refuses BEFORE INSERT ON t WHEN NEW.u IS NOT NULL BEGIN SELECT RAISE(ABORT, 'no Zq7secretQx here'); END;
CREATE VIRTUAL TABLE words USING fts5(word);
";

const SQLITE: &[Case] = &[
    case("INSERT INTO t(a) VALUES (:a) RETURNING id", SECRET, "2067 UNIQUE constraint failed: t.a"),
    case("INSERT INTO t(s) VALUES (:a) RETURNING id", SECRET, "275 CHECK constraint failed: t_s_length"),
    case(
        "INSERT INTO t(a, n) VALUES (:a || 'x', NULL) RETURNING id",
        SECRET,
        "1299 NOT NULL constraint failed: t.n",
    ),
    case("INSERT INTO t(p) VALUES (:a) RETURNING id", SECRET, "787 FOREIGN KEY constraint failed"),
    case("INSERT INTO t(u) VALUES (:a) RETURNING id", SECRET, "1811 "),
    case("INSERT INTO strict(n) VALUES (:a) RETURNING n", SECRET, "3091 "),
    case("SELECT json_extract('{}', :a) AS x", "Zq7secretQx[", "1 SQL logic error"),
    case("SELECT json(:a) AS x", "{Zq7secretQx", "1 malformed JSON"),
    case("SELECT json_extract(a, '$') AS x FROM t WHERE a <> :a", SECRET, "1 malformed JSON"),
    case("SELECT * FROM words WHERE words MATCH :a", "Zq7secretQx: x", "1 SQL logic error"),
    case("SELECT 1 AS x WHERE 'a' LIKE 'b' ESCAPE :a", SECRET, "1 ESCAPE expression"),
    case("SELECT load_extension(:a) AS x", SECRET, "1 "),
    case("SELECT no_such, :a AS x FROM t", SECRET, "no such column: no_such (at byte 7 of the statement)"),
];

fn catalogue(cases: &[Case]) -> String {
    let tool = |(place, case): (usize, &Case)| {
        let reads = case.sql.starts_with("SELECT");
        format!(
            "[[tool]]\nname = \"t{place}\"\ndescription = \"d\"\nread_only = {reads}\nparams.a = {{ type = \"string\" }}\n\
             [tool.sql]\nshape = \"rows\"\nquery = \"\"\"{}\"\"\"\n",
            case.sql.replace('\\', "\\\\")
        )
    };
    cases.iter().enumerate().map(tool).collect()
}

#[track_caller]
fn check(cases: &[Case], database: &str) {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("failing.toml");
    std::fs::write(&file, catalogue(cases)).expect("writes");
    let server = start(&["--catalog", &file.display().to_string(), "--database", database]);
    for (place, case) in cases.iter().enumerate() {
        let result = server.call(&format!("t{place}"), json!({ "a": case.argument }));
        assert_eq!(result["isError"], json!(true), "{}: {result}", case.sql);
        let log = server.log_until(&format!("\"t{place}\"")).join("\n");
        assert!(log.contains("database_error") && log.contains(case.logged), "{}: {log}", case.sql);
        for secret in [SECRET, STORED] {
            let both = format!("{log}{result}").to_lowercase();
            assert!(!both.contains(&secret.to_lowercase()), "{}: {both}", case.sql);
        }
    }
}

// Requirement: the log holds no argument and no row.
#[test]
fn a_failing_statement_on_postgresql_leaves_no_argument_in_the_log() {
    let postgres = Postgres::start();
    postgres.load(POSTGRES_TABLES);
    check(POSTGRES, &postgres.url());
}

#[test]
fn a_failing_statement_on_sqlite_leaves_no_argument_in_the_log() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection.execute_batch(SQLITE_TABLES).expect("the script runs");
    check(SQLITE, &text(format!("sqlite:{}", file.display()).as_bytes()));
}
