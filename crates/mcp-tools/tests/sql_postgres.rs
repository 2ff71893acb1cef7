//! `[tool.sql]` on a real PostgreSQL: identity, settings, errors in words, cut lists, statements without rows.

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::pg::Postgres;
use crate::program::{run, start_in, text};
use crate::surface::block;

const TABLES: &str = "
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN positive AS integer CONSTRAINT positive_only CHECK (VALUE > 0);
CREATE TABLE things (
  id uuid PRIMARY KEY, name text CONSTRAINT one_name UNIQUE NOT NULL, mood mood, qty positive, day date,
  small smallint, short varchar(3), parent uuid REFERENCES things (id));
INSERT INTO things (id, name, mood) VALUES ('11111111-1111-1111-1111-111111111111', 'first', 'good');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % here', NEW.name; END $$;
CREATE TABLE guarded (name text);
CREATE TRIGGER t BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE notes (owner text, note text);
INSERT INTO notes VALUES ('bot', 'of the bot'), ('ann', 'of ann');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = current_setting('app.user', true));
CREATE ROLE reader LOGIN;
GRANT SELECT, INSERT ON notes TO reader;
";

const CATALOGUE: &str = r#"
[[tool]]
name = "add"
description = "Adds a thing."
read_only = false
params.id = { type = "string", required = true }
params.name = { type = "string" }
params.mood = { type = "string" }
params.qty = { type = "integer" }
params.day = { type = "string" }
params.small = { type = "integer" }
params.short = { type = "string" }
params.parent = { type = "string" }
[tool.sql]
shape = "row"
query = "INSERT INTO things VALUES (:id, :name, :mood, :qty, :day, :small, :short, :parent)"

[[tool]]
name = "add_named"
description = "Adds a thing."
read_only = false
params.name = { type = "string", required = true }
[tool.sql]
shape = "row"
query = "INSERT INTO things (id, name) VALUES (gen_random_uuid(), :name) RETURNING name"
errors.one_name = "There is already a thing named {name}; choose another name."
errors.23502 = "never"

[[tool]]
name = "add_logged"
description = "Adds a thing, and logs everything when that fails."
read_only = false
params.name = { type = "string", required = true }
[tool.sql]
shape = "row"
log_reason = true
query = "INSERT INTO things (id, name) VALUES (gen_random_uuid(), :name) RETURNING name"

[[tool]]
name = "guarded"
description = "Adds what a trigger refuses."
read_only = false
params.name = { type = "string" }
sql = { shape = "row", query = "INSERT INTO guarded VALUES (:name) RETURNING name" }

[[tool]]
name = "guarded_aloud"
description = "Adds what a trigger refuses."
read_only = false
params.name = { type = "string" }
sql = { shape = "row", query = "INSERT INTO guarded VALUES (:name) RETURNING name", tell_reason = true }

[[tool]]
name = "notes"
description = "The caller's notes."
read_only = true
identity = { client = true }
[tool.sql]
database = "secured"
shape = "rows"
query = "SELECT note FROM notes"
settings = { "app.user" = "{client}" }

[[tool]]
name = "isolation"
description = "How the transaction is isolated."
read_only = false
[tool.sql]
shape = "value"
isolation = "serializable"
query = "SELECT current_setting('transaction_isolation') AS level"

[[tool]]
name = "find"
description = "Finds things."
read_only = true
params.id = { type = "string" }
params.moods = { type = "array", items = "string" }
params.day = { type = "string" }
[tool.sql]
shape = "page"
total = false
limit = 2
query = """
SELECT name FROM things WHERE (:id IS NULL OR id = :id) AND (:moods IS NULL OR mood = ANY(:moods)) AND (:day IS NULL OR day > :day)
ORDER BY name"""

[[tool]]
name = "lists"
description = "Lists that are cut."
read_only = true
[tool.sql]
shape = "sections"
[[tool.sql.section]]
name = "many"
shape = "rows"
limit = 2
query = "SELECT n FROM generate_series(1, 1000) AS n"
[[tool.sql.section]]
name = "all"
shape = "rows"
limit = 3
query = "SELECT n FROM generate_series(1, 3) AS n"
[[tool.sql.section]]
name = "keys"
shape = "map"
limit = 2
query = "SELECT n % 2 AS k, n FROM generate_series(1, 9) AS n"

[[tool]]
name = "changes"
description = "Changes without RETURNING."
read_only = false
params.name = { type = "string" }
[tool.sql]
shape = "row"
not_found = "No thing is named {name}."
query = "UPDATE things SET mood = 'bad' WHERE name = :name"
"#;

struct Site {
    server: ToolServer,
    postgres: Postgres,
    catalogue: String,
}

fn site() -> Site {
    let postgres = Postgres::start();
    postgres.load(TABLES);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let catalogue = file.display().to_string();
    let url = postgres.url();
    let secured = format!("secured={}", url.replace("swf@", "reader@"));
    let checked = run(&["check", &catalogue, "--database", &url, "--database", &secured]);
    assert_eq!(text(&checked.stdout), "OK: 10 tools\n");
    let server = start_in(home, &["--catalog", &catalogue, "--database", &url, "--database", &secured], &[]);
    Site { server, postgres, catalogue }
}

#[track_caller]
fn failure(result: &Value) -> String {
    assert_eq!(result["isError"], json!(true), "{result}");
    result["content"][0]["text"].as_str().expect("text").to_owned()
}

fn thing(more: Value) -> Value {
    let mut arguments = json!({ "id": "22222222-2222-2222-2222-222222222222", "name": "second" });
    arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    arguments
}

// Requirement: what goes wrong by the caller's doing is told to the caller, and no value of a row is.
#[test]
fn sql_errors_tell_the_caller_what_it_did_wrong() {
    let site = site();
    for (more, expected) in [
        (json!({ "name": "first" }), &["already", "one_name", "things"][..]),
        (json!({ "name": null }), &["name", "things", "see the argument name"]),
        (json!({ "qty": -1 }), &["not allowed", "positive_only"]),
        (json!({ "mood": "sunny" }), &["mood", "see the argument mood"]),
        (json!({ "id": "abc" }), &["uuid", "see the argument id"]),
        (json!({ "day": "2026-02-30" }), &["date", "see the argument day"]),
        (json!({ "small": 70000 }), &["larger"]),
        (json!({ "short": "four" }), &["too long", "character varying(3)"]),
        (json!({ "parent": "33333333-3333-3333-3333-333333333333" }), &["belongs", "things_parent_fkey"]),
    ] {
        let told = failure(&site.server.call("add", thing(more.clone())));
        for part in expected {
            assert!(told.contains(part), "{more}: {told}");
        }
        assert!(!told.contains("1111"), "{more}: {told}");
        let line = site.server.wait_for_log("\"database_error\"");
        assert!(line.contains("\"tool\":\"add\""), "{line}");
        for value in ["sunny", "abc\"", "02-30", "70000", "four", "3333"] {
            assert!(!line.contains(value), "{line}");
        }
        assert!(site.server.wait_for_log("\"event\":\"call\"").contains("\"outcome\":\"invalid\""));
    }
    assert_eq!(block(&site.server.call("add", thing(json!({ "mood": "bad" })))), json!({ "affected": 1 }));
}

#[test]
fn sql_errors_of_the_tool_replace_ours() {
    let site = site();
    let told = failure(&site.server.call("add_named", json!({ "name": "first" })));
    assert_eq!(told, "There is already a thing named first; choose another name.");
    let told = failure(&site.server.call("guarded", json!({ "name": "x-1" })));
    assert!(!told.contains("x-1") && told.contains("refused"), "{told}");
    assert_eq!(failure(&site.server.call("guarded_aloud", json!({ "name": "x-1" }))), "no x-1 here");
}

#[test]
fn sql_errors_are_logged_whole_where_the_tool_opens_them() {
    let site = site();
    for (tool, whole) in [("add_logged", true), ("add_named", false)] {
        let told = failure(&site.server.call(tool, json!({ "name": "first" })));
        assert!(!told.contains("Key ("), "{told}");
        let line = site.server.wait_for_log("\"database_error\"");
        assert_eq!(line.contains("DETAIL: Key (name)=(first) already exists."), whole, "{line}");
    }
}

#[test]
fn sql_settings_carry_the_identity_to_row_level_security() {
    let site = site();
    let notes = |client: &str| {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "notes" } });
        let headers = [("Content-Type", "application/json"), ("X-MCP-Client", client)];
        site.server.http("POST", &headers, body.to_string().as_bytes()).json()["result"]["content"].clone()
    };
    let only = |note: &str| json!([{ "type": "text", "text": format!("{{\n  \"note\": \"{note}\"\n}}") }]);
    for _ in 0..3 {
        assert_eq!(notes("bot"), only("of the bot"));
        assert_eq!(notes("ann"), only("of ann"));
        assert_eq!(notes("o'x"), json!([]));
    }
}

#[test]
fn sql_isolation_is_that_of_the_declaration() {
    assert_eq!(block(&site().server.call("isolation", json!({}))), json!("serializable"));
}

// Requirement: typed arrays, enums, uuids and dates without a cast.
#[test]
fn sql_values_take_the_type_that_the_statement_needs() {
    let site = site();
    let found = |arguments: Value| block(&site.server.call("find", arguments))["items"].clone();
    let first = json!([{ "name": "first" }]);
    assert_eq!(found(json!({})), first);
    assert_eq!(found(json!({ "id": "11111111-1111-1111-1111-111111111111" })), first);
    assert_eq!(found(json!({ "id": "22222222-1111-1111-1111-111111111111" })), json!([]));
    assert_eq!(found(json!({ "moods": ["bad", "good"] })), first);
    assert_eq!(found(json!({ "moods": [] })), json!([]));
    assert_eq!(found(json!({ "day": "2026-01-01" })), json!([]));
}

#[test]
fn sql_pages_without_a_total_know_whether_there_are_more() {
    let site = site();
    let page = || block(&site.server.call("find", json!({})));
    assert_eq!(page(), json!({ "items": [{ "name": "first" }], "has_more": false }));
    for name in ["s2", "s3"] {
        assert_eq!(block(&site.server.call("add_named", json!({ "name": name }))), json!({ "name": name }));
        let more = name == "s3";
        assert_eq!(page(), json!({ "items": [{ "name": "first" }, { "name": "s2" }], "has_more": more }));
    }
}

// Requirement: a cut list says so and how to get the rest.
#[test]
fn sql_lists_that_are_cut_say_so() {
    let site = site();
    let result = site.server.call("lists", json!({}));
    let whole: Value =
        serde_json::from_str(result["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    let expected = json!({ "many": [{ "n": 1 }, { "n": 2 }], "all": [{ "n": 1 }, { "n": 2 }, { "n": 3 }], "keys": { "1": 1, "0": 2 } });
    assert_eq!(whole, expected);
    assert_eq!(result["_meta"], json!({ "mcp-tools/cut": ["many", "keys"] }));
    let said: Vec<&str> = result["content"].as_array().expect("blocks")[1..]
        .iter()
        .map(|block| block["text"].as_str().expect("a text"))
        .collect();
    let of = |name: &str| {
        format!(
            "{name}: only the first 2 rows are shown, and there are more; narrow the arguments to see the rest"
        )
    };
    assert_eq!(said, [of("many"), of("keys")]);
}

#[test]
fn sql_statements_without_rows_tell_how_many_they_changed() {
    let site = site();
    assert_eq!(block(&site.server.call("changes", json!({ "name": "first" }))), json!({ "affected": 1 }));
    let none = block(&site.server.call("changes", json!({ "name": "no" })));
    assert_eq!(none, json!({ "error": "No thing is named no." }));
}

#[test]
fn sql_dry_run_undoes_everything_and_says_so() {
    let site = site();
    let url = site.postgres.url();
    let dry = |name: &str, arguments: &str| {
        run(&["call", name, arguments, "--dry-run", "--catalog", &site.catalogue, "--database", &url])
    };
    let output = dry("changes", "{\"name\": \"first\"}");
    let told = text(&output.stdout);
    assert!(told.starts_with("{\n  \"affected\": 1\n}\n"), "{told} {}", text(&output.stderr));
    assert!(told.contains("dry run: everything was undone"), "{told}");
    assert!(text(&dry("add_named", "{\"name\": \"first\"}").stdout).contains("already a thing named first"));
    assert!(text(&dry("add_named", "{\"name\": \"new\"}").stdout).contains("dry run"));
    assert_eq!(block(&site.server.call("find", json!({})))["items"], json!([{ "name": "first" }]));
    assert_eq!(
        block(&site.server.call("find", json!({ "moods": ["good"] })))["items"].as_array().map(Vec::len),
        Some(1)
    );
}
