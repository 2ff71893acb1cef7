//! Catalogue files: every problem at once with file, line, key and reason; reload keeps what works.

use serde_json::json;

use mcp_testkit::ToolServer;

use crate::program::{run, start, start_in, text};

fn write(folder: &std::path::Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("writes");
    path.display().to_string()
}

const GREETING: &str = r#"
[[tool]]
name = "greeting"
description = "Greets."
read_only = true
text = { body = "hello" }
"#;

#[track_caller]
pub(crate) fn check(catalogue: &str, expected: &[&str]) {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", catalogue);
    let output = run(&["check", &file]);
    let told = text(&output.stdout).replace(&file, "c.toml");
    assert_eq!(output.status.code(), Some(1), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    let (count, problems) = lines.split_last().expect("a count");
    assert_eq!(problems, expected);
    assert_eq!(*count, format!("{} problem{}", expected.len(), if expected.len() == 1 { "" } else { "s" }));
}

// Requirement: name, title, version and instructions of the server come from the catalogue.
#[test]
fn server_identity_comes_from_the_catalogue() {
    let home = tempfile::tempdir().expect("a directory");
    let table = "[server]\nname = \"bench\"\ntitle = \"A bench\"\nversion = \"7\"\ninstructions = \"Call greeting.\"\n";
    let file = write(home.path(), "c.toml", &format!("{table}{GREETING}"));
    let initialize = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let result = start(&["--catalog", &file]).request("initialize", initialize.clone());
    let expected = json!({ "name": "bench", "title": "A bench", "version": "7" });
    assert_eq!(result["result"]["serverInfo"], expected);
    assert_eq!(result["result"]["instructions"], "Call greeting.");

    let instructions = write(home.path(), "i.txt", "From the command line.");
    let server = start(&["--catalog", &file, "--instructions", &instructions]);
    assert_eq!(server.request("initialize", initialize)["result"]["instructions"], "From the command line.");
}

#[test]
fn server_identity_with_mistakes_is_refused() {
    check(
        &format!("[server]\nname = \" \"\n{GREETING}"),
        &["c.toml:1: server: name: is empty; clients know the server by it"],
    );
    check(&format!("server = 1\n{GREETING}"), &["c.toml:1: server: must be written as [server]"]);
}

#[test]
fn reports_every_problem_at_once() {
    check(
        r#"
[[tool]]
name = "a b"
description = " "
read_only = true
text = {}

[[tool]]
name = "late"
description = "Has a mistake."
read_only = true
params.days = { type = "int" }
catalog = {}

[[tool]]
name = "none"
description = "Has no handler."
read_only = true
params.n = { type = "integer", default = "x" }
params.m = { type = "integer", default = 1, required = true }
"#,
        &[
            "c.toml:12: tool.late: params.days.type: unknown variant `int`, expected one of `string`, `integer`, `number`, `boolean`, `array`, `object`",
            "c.toml:2: tool.a b: name: must be 1 to 128 of A-Z a-z 0-9 _ - .",
            "c.toml:2: tool.a b: description: is empty; a model chooses tools by it",
            "c.toml:2: tool.a b: text: needs one of body, from",
            "c.toml:15: tool.none: params.n: default: \"x\" is not of type integer",
            "c.toml:15: tool.none: params.m: has a default although it is required (remove one of the two)",
            "c.toml:15: tool.none: has no handler (give one of text, catalog, server, refuse, sql, http)",
        ],
    );
}

#[test]
fn reports_every_mistake_of_every_tool_with_its_key() {
    check(
        r#"
[[tool]]
name = "bad"
description = "d"
read_only = "yes"
colour = "red"
params.days = { type = "int", required = 1 }
params.ok = { type = "string", min = 3 }
[tool.sql]
shape = "rowz"
query = "SELECT :days, :nobody"
limit = "many"
[[tool.sql.require]]
message = "m"
[tool.sql.let]
since = { befor = { param = "days", unit = "days" } }

[[tool]]
description = 3
text = { body = 4, from = "instructionz" }

[[tool]]
name = "third"
read_only = true
description = ""
sql = { query = "SELECT 1" }
[service.x]
base_url = 3
base = "x"
"#,
        &[
            "c.toml:5: tool.bad: read_only: invalid type: string \"yes\", expected a boolean",
            "c.toml:6: tool.bad: colour: unknown field `colour`, expected one of `name`, `title`, `description`, `read_only`, `identity`, `annotations`, `params`, `input_schema`, `output_schema`, `example`, `text`, `catalog`, `server`, `refuse`, `sql`, `http`",
            "c.toml:7: tool.bad: params.days.type: unknown variant `int`, expected one of `string`, `integer`, `number`, `boolean`, `array`, `object`",
            "c.toml:7: tool.bad: params.days.required: invalid type: integer `1`, expected a boolean",
            "c.toml:8: tool.bad: params.ok.min: unknown field `min`, expected one of `type`, `required`, `default`, `nullable`, `description`, `items`, `enum`, `minimum`, `maximum`, `pattern`, `format`",
            "c.toml:10: tool.bad: sql.shape: unknown variant `rowz`, expected one of `page`, `row`, `rows`, `sections`, `value`, `map`",
            "c.toml:12: tool.bad: sql.limit: invalid type: string \"many\", expected a whole number",
            "c.toml:13: tool.bad: sql.require[1].query: is missing",
            "c.toml:16: tool.bad: sql.let.since.befor: unknown variant `befor`, expected one of `contains`, `time`, `before`, `minutes_ago`, `object`",
            "c.toml:19: tool: description: invalid type: integer `3`, expected a string",
            "c.toml:20: tool: text.body: invalid type: integer `4`, expected a string",
            "c.toml:20: tool: text.from: unknown variant `instructionz`, expected `instructions`",
            "c.toml:18: tool: name: is missing",
            "c.toml:18: tool: read_only: is missing",
            "c.toml:26: tool.third: sql.shape: is missing",
            "c.toml:28: service.x: base_url: invalid type: integer `3`, expected a string",
            "c.toml:29: service.x: base: unknown field `base`, expected one of `base_url`, `base_url_env`, `authorization_env`, `headers`, `headers_env`, `query_env`",
            "c.toml:2: tool.bad: sql.query: there is no parameter or let :nobody",
            "c.toml:22: tool.third: description: is empty; a model chooses tools by it",
        ],
    );
}

#[test]
fn a_catalogue_without_tools_is_a_problem() {
    let told = "tool: no tool is declared; clients would find nothing to call (hint: is the file whole?)";
    check("", &[&format!("c.toml:1: {told}")]);
    check("tool = []\n[service.s]\nbase_url = \"http://a\"", &[&format!("c.toml:1: {told}")]);
    check("\n\na = 1\na = 2\n", &["c.toml:4: toml: duplicate key a"]);
}

#[test]
fn a_tool_name_that_model_apis_refuse_is_warned_of() {
    let home = tempfile::tempdir().expect("a directory");
    for (name, warned) in [
        ("plain_name-1".to_owned(), false),
        ("n".repeat(64), false),
        ("with.dot".to_owned(), true),
        ("n".repeat(65), true),
    ] {
        let file = write(home.path(), "c.toml", &GREETING.replace("\"greeting\"", &format!("\"{name}\"")));
        let output = run(&["check", &file]);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.ends_with("OK: 1 tools\n"), "{told}");
        assert_eq!(told.contains(&format!("c.toml:2: tool.{name}: name: ")), warned, "{told}");
    }
}

/// Tools that say they only read, with statements that write.
const READS_BY_WRITING: &str = r#"
[[tool]]
name = "inserts"
description = "d"
read_only = true
[tool.sql]
shape = "value"
query = "INSERT INTO t(a) VALUES (1) RETURNING a"

[[tool]]
name = "hides"
description = "d"
read_only = true
[tool.sql]
shape = "sections"
[[tool.sql.section]]
name = "part"
shape = "rows"
query = "WITH x AS (SELECT 1) DELETE FROM t RETURNING a"

[[tool]]
name = "reads"
description = "d"
read_only = true
[tool.sql]
shape = "rows"
query = "WITH x AS (SELECT a FROM t) SELECT a FROM x"
"#;

#[test]
fn a_tool_that_only_reads_must_not_write() {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", READS_BY_WRITING);
    let database = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&database).expect("opens");
    connection.execute_batch("CREATE TABLE t (a INTEGER)").expect("runs");
    let postgres = crate::pg::Postgres::start();
    postgres.load("CREATE TABLE t (a integer)");
    for url in [format!("sqlite:{}", database.display()), postgres.url()] {
        let output = run(&["check", &file, "--database", &url]);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("c.toml:2: tool.inserts: sql.query: this statement writes"), "{told}");
        assert!(told.contains("tool.hides: sql.section part: "), "{told}");
        assert!(!told.contains("tool.reads") && told.ends_with("2 problems\n"), "{told}");
    }
}

#[test]
fn refuses_files_that_are_not_catalogues() {
    check("tool = 3", &["c.toml:1: tool: must be written as [[tool]]"]);
    check(
        "\ntols = []",
        &["c.toml:2: tols: is not a known key (known: include, server, database, service, tool)"],
    );
    check(&format!("{GREETING}{GREETING}"), &["c.toml:8: tool.greeting: is declared twice"]);
}

#[test]
fn reports_what_is_wrong_with_a_query() {
    check(
        r#"
[[tool]]
name = "wrong"
description = "Everything is wrong."
read_only = true
params.days = { type = "integer", default = 7 }
params.unused = { type = "string" }
catalog = {}
[tool.sql]
shape = "page"
limit = 0
limit_from = "unused"
timeout_ms = 99999999
query = "SELECT :nobody; DROP TABLE t"
let.since = { before = { param = "day", unit = "days" } }
[[tool.sql.require]]
query = "SELECT $1"
message = "{who} and }"
[[tool.sql.step]]
query = "DELETE FROM t"
"#,
        &["c.toml:2: tool.wrong: has several handlers; give exactly one"],
    );
    let wrong = r#"
[[tool]]
name = "wrong"
description = "Everything is wrong."
read_only = true
params.days = { type = "integer", default = 7 }
params.unused = { type = "string" }
params.idle = { type = "string" }
[tool.sql]
shape = "page"
limit = 0
limit_from = "unused"
timeout_ms = 99999999
query = "SELECT :nobody; DROP TABLE t"
let.since = { before = { param = "day", unit = "days" } }
[[tool.sql.require]]
query = "SELECT $1"
message = "{who} is wrong"
[[tool.sql.step]]
query = "DELETE FROM t WHERE a = :nobody"
"#;
    check(
        wrong,
        &[
            "c.toml:2: tool.wrong: sql.let.since: there is no parameter day",
            "c.toml:2: tool.wrong: sql.require.message: there is no parameter who",
            "c.toml:2: tool.wrong: sql.require: has a '$' outside quotes; write :name for a value",
            "c.toml:2: tool.wrong: sql.step: a tool that only reads has no steps",
            "c.toml:2: tool.wrong: sql.step: there is no parameter or let :nobody",
            "c.toml:2: tool.wrong: sql.limit: 0 is not allowed; must be 1 to 10000",
            "c.toml:2: tool.wrong: sql.limit_from: unused is not an integer parameter",
            "c.toml:2: tool.wrong: sql.query: holds more than one statement",
            "c.toml:2: tool.wrong: sql.timeout_ms: 99999999 is not allowed; must be 1 to 600000",
            "c.toml:2: tool.wrong: sql: the parameter days has no effect (hint: unused = [\"days\"] if that is meant)",
            "c.toml:2: tool.wrong: sql: the parameter idle has no effect (hint: unused = [\"idle\"] if that is meant)",
        ],
    );
}

#[test]
fn reports_what_is_wrong_with_a_service_and_its_calls() {
    check(
        r#"
[service.odd]
base_url = "ftp://example.org"
[service.both]
base_url = "http://a"
base_url_env = "B"
[service.fine]
base_url = "http://127.0.0.1:1"

[[tool]]
name = "calls"
description = "Calls a service."
read_only = true
params.idle = { type = "string" }
[tool.http]
service = "nowhere"
method = "POST"
path = "a/../b"
query = { q = "{who}" }

[[tool]]
name = "elsewhere"
description = "Calls a service."
read_only = false
http = { service = "fine", method = "TRACE", path = "/" }

[[tool]]
name = "computes"
description = "Calls a service."
read_only = true
params.a = { type = "integer" }
[tool.http]
service = "fine"
method = "GET"
path = "/{a}"
let.a = { before = { param = "m", unit = "hours" } }
let.k = { contains = "a" }
defaults = { a = "x", z = 1 }
needs = ["z"]
"#,
        &[
            "c.toml:25: tool.elsewhere: http.method: unknown variant `TRACE`, expected one of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`",
            "c.toml:2: service.odd: base_url: must be http://HOST[:PORT][/PATH] or https://...",
            "c.toml:4: service.both: needs one of base_url, base_url_env",
            "c.toml:10: tool.calls: http.service: nowhere is not declared (hint: a [service.nowhere] table)",
            "c.toml:10: tool.calls: http.path: must start with / and hold no ?, #, blank or ..",
            "c.toml:10: tool.calls: http.method: a tool that only reads must use GET (hint: reads = true says of a POST that it only reads)",
            "c.toml:10: tool.calls: http: there is no parameter who",
            "c.toml:10: tool.calls: http: the parameter idle has no effect",
            "c.toml:27: tool.computes: http.let.a: the name is taken",
            "c.toml:27: tool.computes: http.let.a: there is no parameter m",
            "c.toml:27: tool.computes: http.let.k: only before has a place here",
            "c.toml:27: tool.computes: http.defaults.a: \"x\" is not of type integer",
            "c.toml:27: tool.computes: http.defaults: there is no parameter z",
            "c.toml:27: tool.computes: http.needs: there is no parameter z",
        ],
    );
}

#[test]
fn a_reload_takes_the_new_files_and_keeps_the_old_ones_when_they_are_bad() {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", GREETING);
    let server = start_in(home, &["--catalog", &file], &[]);
    let greeting = |server: &ToolServer| server.call("greeting", json!({}))["content"][0]["text"].clone();
    assert_eq!(greeting(&server), "hello");

    write(server.home.path(), "c.toml", &GREETING.replace("hello", "good day"));
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("\"event\":\"reloaded\"");
    assert_eq!(greeting(&server), "good day");

    write(server.home.path(), "c.toml", "[[tool]]\nname = 1");
    server.signal(rustix::process::Signal::HUP);
    let line = server.wait_for_log("\"event\":\"reload_refused\"");
    assert!(line.contains("c.toml:2"), "{line}");
    assert_eq!(greeting(&server), "good day");

    // An editor that empties the file before it writes; and one that is cut off in the middle.
    for cut in ["", "[[tool]]\nname = \"greeting\"\ndescrip"] {
        write(server.home.path(), "c.toml", cut);
        server.signal(rustix::process::Signal::HUP);
        server.wait_for_log("\"event\":\"reload_refused\"");
        assert_eq!(greeting(&server), "good day");
    }

    write(server.home.path(), "c.toml", &GREETING.replace("greeting", "farewell"));
    server.signal(rustix::process::Signal::HUP);
    let line = server.wait_for_log("\"event\":\"reloaded\"");
    assert!(line.contains("1 tools; gone: greeting; new: farewell"), "{line}");
}

#[test]
fn instructions_come_from_one_file_byte_for_byte() {
    let home = tempfile::tempdir().expect("a directory");
    let exact = "Line one \u{2192}\r\n\ttabbed\u{a0}\n\nno newline at the end";
    let file = write(home.path(), "i.txt", exact);
    let server = start_in(home, &["--instructions", &file], &[]);
    let asked = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    assert_eq!(server.request("initialize", asked)["result"]["instructions"], exact);
    assert_eq!(server.call("get_server_instructions", json!({}))["content"][0]["text"], exact);
}

#[test]
fn arguments_are_judged_with_a_message_a_model_can_act_on() {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(
        home.path(),
        "c.toml",
        r#"
[[tool]]
name = "picky"
description = "Wants a number."
read_only = true
params.run_number = { type = "integer", required = true }
params.status = { type = "string" }
params.limit = { type = "integer", default = 20, minimum = 1 }
text = { body = "taken" }
"#,
    );
    let server = start_in(home, &["--catalog", &file], &[]);
    let told = |arguments| {
        let result = server.call("picky", arguments);
        (result["isError"] == json!(true), result["content"][0]["text"].as_str().expect("text").to_owned())
    };
    let (failed, message) = told(json!({}));
    assert!(failed);
    assert_eq!(
        message,
        "Invalid arguments for picky: \"run_number\" is a required property. \
         Parameters: run_number (integer, required), status (string, optional), limit (integer, default 20)"
    );
    let (failed, message) = told(json!({ "run_number": {}, "limit": 0 }));
    assert!(failed && message.contains("run_number: {} is not of type \"integer\""), "{message}");
    assert!(message.contains("limit: 0 is less than the minimum of 1"), "{message}");
    let (failed, message) = told(json!({ "run_number": "\u{2192}".repeat(1_000_000) }));
    assert!(
        failed && message.len() < 2_000,
        "a complaint quotes a little, not a megabyte: {}",
        message.len()
    );
    // What the old server forgave is forgiven: digits as text, null for "not given", unknown names.
    assert_eq!(told(json!({ "run_number": "7", "status": null, "other": [1] })), (false, "taken".into()));
}

/// Requirement: a catalogue split into files is one catalogue, in the order that its index names.
#[test]
fn the_shipped_catalogue_is_its_files_and_equals_the_built_in_one() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/tools/swf.toml");
    let (built_in, read) = (run(&["list", "--json"]), run(&["list", "--json", "--catalog", shipped]));
    assert_eq!(read.status.code(), Some(0), "{}", text(&read.stderr));
    assert_eq!(text(&read.stdout), text(&built_in.stdout));
}

#[test]
fn an_include_that_cannot_be_followed_is_a_problem_at_its_line() {
    let home = tempfile::tempdir().expect("a directory");
    let path = |name: &str| home.path().join(name).display().to_string();
    write(home.path(), "deeper.toml", "include = [\"deepest.toml\"]");
    let file = write(home.path(), "c.toml", "include = [\n\"deeper.toml\",\n\"away.toml\"]");
    let told = text(&run(&["check", &file]).stdout);
    let away = format!("{}:3: include: {} cannot be read", path("c.toml"), path("away.toml"));
    assert!(told.contains(&away), "{told}");
    write(home.path(), "away.toml", GREETING);
    let told = text(&run(&["check", &file]).stdout);
    let deeper = format!("{}:1: include: only a file that no other one includes", path("deeper.toml"));
    assert!(told.contains(&deeper) && told.contains("1 problem"), "{told}");
    check(
        "include = \"a.toml\"",
        &["c.toml:1: include: must be a list of file names, as in [\"pcs_tags.toml\"]"],
    );
}
