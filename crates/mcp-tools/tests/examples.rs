//! `mcp-tools test`: examples beside tools are run, compared and reported.

use std::path::Path;

use crate::program::{run, text};

const TOOLS: &str = r#"
[[tool]]
name = "get_thing"
description = "One thing."
read_only = true
params.id = { type = "integer", required = true }
[tool.sql]
shape = "row"
query = "SELECT id, name, note FROM things WHERE id = :id"
[[tool.example]]
arguments = { id = 1 }
expect = { name = "first" }
[[tool.example]]
arguments = { id = 2 }
expect_json = '{ "name": "second", "note": null }'
[[tool.example]]
arguments = { id = 3 }
expect_text = "Nothing found"
[[tool.example]]
arguments = { id = "x" }
is_error = true
expect_text = "is not of type"

[[tool]]
name = "rename_thing"
description = "Renames a thing."
read_only = false
params.name = { type = "string", required = true }
[tool.sql]
shape = "row"
query = "UPDATE things SET name = :name WHERE id = 1 RETURNING name"
[[tool.example]]
arguments = { name = "renamed" }
expect = { name = "renamed" }
"#;

struct Files {
    home: tempfile::TempDir,
}

impl Files {
    fn new(catalogue: &str) -> Files {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("c.toml"), catalogue).expect("writes");
        let things = rusqlite::Connection::open(home.path().join("app.db")).expect("opens");
        let script = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, note TEXT);
            INSERT INTO things VALUES (1, 'first', 'n'), (2, 'second', NULL);";
        things.execute_batch(script).expect("runs");
        Files { home }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn name(&self) -> String {
        let things = rusqlite::Connection::open(Path::new(&self.path("app.db"))).expect("opens");
        things.query_row("SELECT name FROM things WHERE id = 1", [], |row| row.get(0)).expect("a row")
    }

    /// The exit code and the printed lines, without the time each took.
    fn test(&self, more: &[&str]) -> (Option<i32>, Vec<String>) {
        let (file, database) = (self.path("c.toml"), format!("sqlite:{}", self.path("app.db")));
        let output = run(&[&["test", &file, "--database", &database], more].concat());
        let printed = text(&output.stdout) + &text(&output.stderr);
        let timeless = |line: &str| match (line.find(" ("), line.find(" ms)")) {
            (Some(start), Some(end)) if start < end => format!("{}{}", &line[..start], &line[end + 4..]),
            (_, _) => line.to_owned(),
        };
        (output.status.code(), printed.lines().map(timeless).collect())
    }
}

#[test]
fn examples_are_run_and_one_that_fails_says_where() {
    let files = Files::new(&TOOLS.replace("name = \"first\" }", "name = \"frist\" }"));
    let (code, lines) = files.test(&["--write"]);
    assert_eq!(
        lines,
        [
            "FAILED  get_thing example 1: name: expected \"frist\", got \"first\"",
            "ok      get_thing example 2",
            "ok      get_thing example 3",
            "ok      get_thing example 4",
            "ok      rename_thing example 1",
            "4 passed, 1 failed, 0 skipped",
        ]
    );
    assert_eq!(code, Some(1));
}

#[test]
fn examples_of_tools_that_write_change_nothing_without_a_word_for_it() {
    let files = Files::new(TOOLS);
    let (code, lines) = files.test(&[]);
    assert_eq!(code, Some(0), "{lines:?}");
    assert_eq!(lines[4..], ["ok      rename_thing example 1", "5 passed, 0 failed, 0 skipped"]);
    assert_eq!(files.name(), "first");
    let (code, lines) = files.test(&["--write"]);
    assert_eq!(code, Some(0), "{lines:?}");
    assert_eq!(files.name(), "renamed");
}

#[test]
fn a_run_without_an_example_is_no_success() {
    let bare = TOOLS.split("[[tool.example]]").next().expect("a tool");
    let (code, lines) = Files::new(bare).test(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(lines[0], "0 passed, 0 failed, 0 skipped");
}

// Requirement: `check` validates arguments of examples against the schema.
#[test]
fn check_refuses_an_example_that_could_never_pass() {
    let mistaken = TOOLS
        .replace("arguments = { id = 1 }", "arguments = { id = 1, nmae = 2 }")
        .replace("arguments = { id = 2 }", "arguments = { id = \"two\" }")
        .replace("expect_text = \"Nothing found\"", "expect_text = \"\"");
    let files = Files::new(&mistaken);
    let output = run(&["check", &files.path("c.toml")]);
    let told = text(&output.stdout).replace(&files.path("c.toml"), "c.toml");
    let expected = "\
c.toml:2: tool.get_thing: example[1].arguments: there is no parameter nmae
c.toml:2: tool.get_thing: example[2].arguments: id: \"two\" is not of type \"integer\". Parameters: id (integer, required)
c.toml:2: tool.get_thing: example[3].expect_text: is empty, which every result contains
3 problems
";
    assert_eq!(told, expected);
    assert_eq!(output.status.code(), Some(1));
}

// Requirement: an expected number has every digit of the result.
#[test]
fn an_expected_number_is_compared_by_its_digits() {
    let tool = |digits: &str| {
        format!(
            r#"
[[tool]]
name = "exact_{digits}"
description = "An exact number."
read_only = true
[tool.sql]
shape = "row"
json = ["n"]
query = "SELECT '12345678901234567890.1299' AS n"
[[tool.example]]
expect_json = '{{ "n": 12345678901234567890.{digits} }}'
"#
        )
    };
    let (code, lines) = Files::new(&(tool("12990") + &tool("1235"))).test(&[]);
    assert_eq!(code, Some(1), "{lines:?}");
    let failed: Vec<&String> = lines.iter().filter(|line| line.contains("expected")).collect();
    let reason = "n: expected 12345678901234567890.1235, got 12345678901234567890.1299";
    assert!(failed.len() == 1 && failed[0].ends_with(reason), "{lines:?}");
}
