//! A team's own catalogue: its own name, its own databases, and nothing of the built-in one.

use std::path::Path;

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::program::{program, run, start_in, text};
use crate::surface::block;

const COUNT: &str = r#"
[[tool]]
name = "count"
description = "How many things there are."
read_only = true
sql = { shape = "value", query = "SELECT COUNT(*) AS n FROM things" }
"#;

const HELLO: &str = r#"
[[tool]]
name = "hello"
description = "Greets."
read_only = true
text = { body = "hello" }
"#;

/// Makes a database with that many things.
fn things(path: &Path, count: usize) {
    let script =
        "CREATE TABLE things (id INTEGER);".to_owned() + &"INSERT INTO things VALUES (1);".repeat(count);
    let made = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"])
        .args([path.as_os_str(), script.as_ref()])
        .status();
    assert!(made.expect("python3 runs").success());
}

fn initialize(server: &ToolServer) -> Value {
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    server.request("initialize", params)["result"].clone()
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("writes");
    path.display().to_string()
}

// Requirement: the built-in identity and instructions belong to the built-in catalogue only.
#[test]
fn a_catalogue_without_an_identity_has_none_of_another_site() {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", HELLO);
    let result = initialize(&start_in(home, &["--catalog", &file], &[]));
    assert_eq!(result["serverInfo"], json!({ "name": "mcp-tools", "version": env!("CARGO_PKG_VERSION") }));
    assert!(result.get("instructions").is_none(), "{result}");

    let home = tempfile::tempdir().expect("a directory");
    let result = initialize(&start_in(home, &["--catalog", "builtin"], &[]));
    assert_eq!(result["serverInfo"]["name"], "swf-testbed");
    assert!(result["instructions"].as_str().is_some_and(|text| text.len() > 1000), "{result}");
}

#[test]
fn instructions_come_from_a_file_beside_the_catalogue() {
    let home = tempfile::tempdir().expect("a directory");
    write(home.path(), "i.txt", "Count first.\n");
    let server = "[server]\nname = \"shop\"\ninstructions_file = \"i.txt\"\n";
    let file = write(home.path(), "c.toml", &format!("{server}{HELLO}"));
    let result = initialize(&start_in(home, &["--catalog", &file], &[]));
    assert_eq!(result["instructions"], "Count first.\n");

    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", &format!("{server}{HELLO}"));
    let told = text(&run(&["check", &file]).stdout);
    assert!(
        told.contains("c.toml:1: server: instructions_file: ") && told.contains("cannot be read"),
        "{told}"
    );
    let both = "[server]\nname = \"shop\"\ninstructions = \"x\"\ninstructions_file = \"i.txt\"\n";
    let file = write(home.path(), "c.toml", &format!("{both}{HELLO}"));
    assert!(
        text(&run(&["check", &file]).stdout).contains("server: has both instructions and instructions_file")
    );
    let tool = HELLO.replace("body = \"hello\"", "from = \"instructions\"");
    let file = write(home.path(), "c.toml", &tool);
    assert!(text(&run(&["check", &file]).stdout).contains("text.from: the server has no instructions"));
}

#[test]
fn a_catalogue_that_needs_a_database_is_refused_without_one() {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", COUNT);
    let socket = home.path().join("t.sock").display().to_string();
    let refused = run(&["serve", "--socket", &socket, "--catalog", &file]);
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("database.main: is not configured, and 1 tool need it, count the first"), "{told}");
    assert!(
        told.contains("[database.main]") && told.contains("--database URL") && told.contains("--demo"),
        "{told}"
    );
    let called = run(&["call", "count", "--catalog", &file]);
    assert_eq!(called.status.code(), Some(1));
    assert!(text(&called.stdout).contains("\"main\" is not configured"), "{}", text(&called.stdout));
}

// The variable is read from the environment, the path from the folder of the file, and an option replaces both.
#[test]
fn databases_of_the_catalogue_are_used_and_replaced_by_options() {
    let home = tempfile::tempdir().expect("a directory");
    things(&home.path().join("two.db"), 2);
    things(&home.path().join("three.db"), 3);
    let count = |table: &str, options: &[&str], env: &[(&str, &str)]| {
        let file = write(home.path(), "c.toml", &format!("{table}{COUNT}"));
        let arguments = [&["call", "count", "--catalog", &file], options].concat();
        let output = program().args(arguments).envs(env.iter().copied()).output().expect("mcp-tools runs");
        text(&output.stdout) + &text(&output.stderr)
    };
    let three = format!("sqlite:{}", home.path().join("three.db").display());
    let beside = "[database.main]\nurl = \"sqlite:two.db\"\n";
    let by_variable = "[database.main]\nurl_env = \"THINGS_URL\"\n";
    assert_eq!(count(beside, &[], &[]), "2\n");
    assert_eq!(count(beside, &["--database", &three], &[]), "3\n");
    assert_eq!(count(by_variable, &[], &[("THINGS_URL", &three)]), "3\n");
    assert_eq!(
        count(by_variable, &[], &[]),
        "mcp-tools: [database.main]: the variable THINGS_URL is not set\n"
    );
}

#[test]
fn check_tries_statements_where_the_database_of_the_catalogue_is_known() {
    let home = tempfile::tempdir().expect("a directory");
    things(&home.path().join("two.db"), 2);
    let check = |table: &str| {
        let file = write(home.path(), "c.toml", &format!("{table}{}", COUNT.replace("things", "thinks")));
        let output = run(&["check", &file]);
        (output.status.code(), text(&output.stdout))
    };
    let (code, told) = check("[database.main]\nurl = \"sqlite:two.db\"\n");
    assert!(code == Some(1) && told.contains("no such table: thinks"), "{told}");
    let (code, told) = check("[database.main]\nurl_env = \"THINGS_URL\"\n");
    assert_eq!(code, Some(0));
    assert_eq!(
        told,
        "note: database.main: the variable THINGS_URL is not set, so no statement was tried there\nOK: 1 tools\n"
    );
}

// A misspelt name must not run on another database without a word.
#[test]
fn a_database_that_main_replaces_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    things(&home.path().join("two.db"), 2);
    let tool = COUNT.replace("shape =", "database = \"mian\", shape =");
    let file = write(home.path(), "c.toml", &format!("[database.main]\nurl = \"sqlite:two.db\"\n{tool}"));
    let told = text(&run(&["check", &file]).stdout);
    assert_eq!(
        told,
        "warning: database.mian: is not configured; 1 tool of 1 use main instead\nOK: 1 tools\n"
    );
    let server = start_in(home, &["--catalog", &file], &[]);
    assert_eq!(block(&server.call("count", json!({}))), json!(2));
}

#[test]
fn databases_of_the_catalogue_with_mistakes_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    for (table, reason) in [
        ("[database.main]\n", "database.main: needs url or url_env"),
        (
            "[database.main]\nurl = \"sqlite:a.db\"\nurl_env = \"A\"\n",
            "database.main: has both url and url_env; give one",
        ),
        ("[database.main]\nurl = \"env:A\"\n", "database.main: url: is written url_env = \"A\" here"),
        ("[database.main]\nurl = \"mysql://h/d\"\n", "database.main: url: is not a URL of a known kind"),
        ("[database.main]\nurl = \"postgresql://u:hunter2@h/d\"\n", "database.main: url: holds a password"),
        ("[database.\"a b\"]\nurl = \"sqlite:a.db\"\n", "database.a b: the name must be of A-Z a-z 0-9 _"),
        (
            "[database.main]\nurl = \"sqlite:a.db\"\npool = 0\n",
            "database.main: pool: 0 is not allowed; must be 1 to 100",
        ),
        (
            "[database.main]\nurl = \"sqlite:a.db\"\npool_wait_ms = 60000\n",
            "database.main: pool_wait_ms: 60000 is not allowed; must be 1 to 45000",
        ),
        ("[database.main]\nurls = \"sqlite:a.db\"\n", "database.main: urls: unknown field"),
        (
            "[database.main]\nurl = \"sqlite:a.db\"\npool = 0\n",
            "database.main: pool: 0 is not allowed; must be 1 to 100",
        ),
        (
            "[database.main]\nurl = \"sqlite:a.db\"\nlock_timeout_ms = 45001\n",
            "database.main: lock_timeout_ms: 45001 is not allowed; must be 1 to 45000",
        ),
        (
            "[database.main]\nurl = \"postgresql://u@h/d?sslmode=verify\"\n",
            "database.main: url: sslmode must be one of disable,",
        ),
        ("database = 1\n", "database: must be written as [database.NAME]"),
    ] {
        let file = write(home.path(), "c.toml", &format!("{table}{HELLO}"));
        let told = text(&run(&["check", &file]).stdout);
        assert!(told.contains(reason) && !told.contains("hunter2"), "{table}: {told}");
    }
}

#[test]
fn a_reload_that_needs_a_database_more_is_refused_and_names_it() {
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "c.toml", HELLO);
    let server = start_in(home, &["--catalog", &file], &[]);
    write(server.home.path(), "c.toml", COUNT);
    server.signal(rustix::process::Signal::HUP);
    let line = server.wait_for_log("reload_refused");
    assert!(line.contains("database.main: is not configured"), "{line}");
    assert_eq!(server.call("hello", json!({}))["content"][0]["text"], "hello");
}
