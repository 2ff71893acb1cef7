//! Structured content: it always fits the output schema, and what is no result has none.

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::program::{run, serve, text};

const CATALOGUE: &str = r#"
[[tool]]
name = "count"
description = "A number."
read_only = true
output_schema = '{"type":"object","properties":{"result":{"type":"integer"}},"required":["result"]}'
sql = { shape = "value", query = "SELECT 1 AS n" }

[[tool]]
name = "all"
description = "Rows."
read_only = true
output_schema = '{"type":"object","properties":{"result":{"type":"array"}},"required":["result"]}'
sql = { shape = "rows", query = "SELECT 1 AS id UNION SELECT 2" }

[[tool]]
name = "get"
description = "A row."
read_only = true
output_schema = '{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}},"required":["id"]}'
params.id = { type = "integer", required = true }
[tool.sql]
shape = "row"
not_found = "There is no {id}."
query = "SELECT id, name FROM (SELECT 1 AS id, 'one' AS name UNION SELECT 2, NULL) AS t WHERE id = :id"

[[tool]]
name = "plain"
description = "A row without a schema."
read_only = true
params.id = { type = "integer", required = true }
[tool.sql]
shape = "row"
not_found = "There is no {id}."
query = "SELECT 1 AS id WHERE 1 = :id"

[[tool]]
name = "nested"
description = "Lists in lists."
read_only = true
params.depth = { type = "integer", required = true }
[tool.sql]
shape = "row"
json = ["j"]
query = "SELECT replace(hex(zeroblob(:depth)), '00', '[') || replace(hex(zeroblob(:depth)), '00', ']') AS j"

[[tool]]
name = "huge"
description = "A number beyond every float."
read_only = true
output_schema = '{"type":"object","properties":{"j":{"type":"string"}}}'
sql = { shape = "row", json = ["j"], query = "SELECT '1e400' AS j" }
"#;

fn server() -> ToolServer {
    serve(CATALOGUE, &["--demo"])
}

// MCP 2025-06-18, Tools: "Servers MUST provide structured results that conform to this schema."
#[test]
fn structured_content_that_is_no_object_stands_under_result() {
    let server = server();
    assert_eq!(server.call("count", json!({}))["structuredContent"], json!({ "result": 1 }));
    let rows = json!({ "result": [{ "id": 1 }, { "id": 2 }] });
    assert_eq!(server.call("all", json!({}))["structuredContent"], rows);
    assert_eq!(
        server.call("get", json!({ "id": 1 }))["structuredContent"],
        json!({ "id": 1, "name": "one" })
    );
}

#[test]
fn structured_content_that_does_not_fit_its_schema_is_a_failure_that_the_log_names() {
    let server = server();
    let result = server.call("get", json!({ "id": 2 }));
    assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(true), None), "{result}");
    assert!(result["content"][0]["text"].as_str().expect("a text").contains("output schema"), "{result}");
    let line = server.wait_for_log("output_misfit");
    assert!(
        line.contains("\"tool\":\"get\"") && line.contains("/name does not fit /properties/name/type"),
        "{line}"
    );
}

#[test]
fn a_tool_with_an_output_schema_reports_not_found_as_an_error() {
    let server = server();
    let result = server.call("get", json!({ "id": 9 }));
    assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(true), None), "{result}");
    assert_eq!(result["content"][0]["text"], "There is no 9.");
    // Without a schema the old server's form stays.
    let result = server.call("plain", json!({ "id": 9 }));
    assert_eq!(result["isError"], json!(false));
    let told: Value =
        serde_json::from_str(result["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    assert_eq!(told, json!({ "error": "There is no 9." }));
}

#[test]
fn output_schemas_that_clients_refuse_or_no_result_fits_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    let tool = |name: &str, schema: &str, handler: &str| {
        format!(
            "[[tool]]\nname = \"{name}\"\ndescription = \"d\"\nread_only = true\noutput_schema = '{schema}'\n{handler}\n"
        )
    };
    let rows = "sql = { shape = \"rows\", query = \"SELECT 1 AS id\" }";
    let catalogue = [
        tool("list", r#"{"type":"array"}"#, rows),
        tool("open", r#"{"properties":{}}"#, rows),
        tool("bad", r#"{"type":"object","properties":{"a":{"type":"nonsense"}}}"#, rows),
        tool("rows", r#"{"type":"object","required":["id"]}"#, rows),
        tool(
            "text",
            r#"{"type":"object","properties":{"result":{"type":"integer"}}}"#,
            "text = { body = \"x\" }",
        ),
    ];
    std::fs::write(&file, catalogue.concat()).expect("writes");
    let told = text(&run(&["check", &file.display().to_string()]).stdout);
    let lines: Vec<&str> = told.lines().collect();
    for (line, reason) in lines.iter().zip([
        "tool.list: output_schema: must say \"type\": \"object\"",
        "tool.open: output_schema: must say \"type\": \"object\"",
        "tool.bad: output_schema: is not a valid JSON Schema",
        "tool.rows: output_schema: requires id, and the structured content of this tool is {\"result\": ...} only",
        "tool.text: output_schema: the text does not fit it: /result does not fit",
    ]) {
        assert!(line.contains(reason), "{reason}\n{told}");
    }
    assert_eq!(lines.len(), 6, "{told}");
}

// Once 200 KB of brackets in a column became 20 GB of indentation.
#[test]
fn rows_with_json_that_is_nested_too_deeply_are_refused() {
    let server = server();
    let nested = |depth: usize| server.call("nested", json!({ "depth": depth }));
    assert_eq!(nested(100)["isError"], json!(false));
    let refused = nested(2000);
    assert_eq!(refused["isError"], json!(true));
    let told = refused["content"][0]["text"].as_str().expect("a text");
    assert!(told.contains("nested too deeply"), "{told}");
}

#[test]
fn structured_content_that_cannot_be_compared_with_its_schema_is_a_failure() {
    let server = server();
    let result = server.call("huge", json!({}));
    assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(true), None), "{result}");
    let line = server.wait_for_log("output_misfit");
    assert!(line.contains("the whole cannot be compared with the output schema"), "{line}");
}
