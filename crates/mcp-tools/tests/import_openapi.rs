//! `mcp-tools import --openapi`: operations become tools, and their calls arrive at a service as the document says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::import::done;
use crate::program::{run, start_in, text};
use crate::surface::block;

/// 31 operations of OpenAPI 3.1.
const DOCUMENT: &str = include_str!("data/openapi-30.yaml");

/// A service that responds to every request with what it got.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let mut body =
                vec![0; field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
            let _ = reader.read_exact(&mut body);
            let got = json!({
                "line": head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1"),
                "key": field("x-api-key"), "authorization": field("authorization"), "trace": field("x-trace"),
                "type": field("content-type"), "body": String::from_utf8_lossy(&body),
            });
            let got = got.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                got.len()
            );
            let _ = reader.into_inner().write_all((head + &got).as_bytes());
        }
    });
    url
}

struct Clinic {
    server: ToolServer,
    names: Vec<String>,
}

impl Clinic {
    /// A server of the imported document, at a service of this machine.
    fn start() -> Clinic {
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name).display().to_string();
        let (document, file) = (path("api.yaml"), path("c.toml"));
        std::fs::write(&document, DOCUMENT.replace("http://clinic.invalid", &echo())).expect("writes");
        done(&["import", "--openapi", &document, "--output", &file]);
        let env = [("PET_CLINIC_X_API_KEY", "k-1"), ("PET_CLINIC_AUTHORIZATION", "Bearer t-1")];
        let server = start_in(home, &["--catalog", &file], &env);
        let listed = server.request("tools/list", json!({}))["result"]["tools"].clone();
        let names = listed.as_array().expect("a list").iter();
        let names = names.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect();
        Clinic { server, names }
    }

    /// Calls a tool; `line` and `body` are what the service must get.
    #[track_caller]
    fn check(&mut self, name: &str, arguments: Value, line: &str, body: Value) -> Value {
        let result = self.server.call(name, arguments);
        assert_eq!(result["isError"], false, "{name}: {result}");
        let got = block(&result);
        assert_eq!(got["line"], line, "{name}");
        let sent = got["body"].as_str().expect("a body");
        let sent = serde_json::from_str(sent).unwrap_or_else(|_| Value::from(sent));
        assert_eq!(sent, body, "{name}");
        self.names.retain(|known| known != name);
        got
    }
}

// Requirement: an OpenAPI 3.1 file of 30 operations becomes a catalogue that `check` accepts and whose tools work.
#[test]
fn import_of_openapi_gives_tools_whose_calls_arrive_as_described() {
    let mut clinic = Clinic::start();
    assert_eq!(clinic.names.len(), 28);
    for (many, one) in [("pets", "pet"), ("owners", "owner"), ("visits", "visit"), ("vets", "vet")] {
        let line = format!("GET /v1/{many}?limit=5&tag=a&tag=b%2Cc");
        clinic.check(&format!("list_{many}"), json!({ "limit": 5, "tag": ["a", "b,c"] }), &line, json!(""));
        let thing = json!({ "name": "Rex", "kind": "dog", "weight": 0.5, "tags": ["x"] });
        let line = format!("POST /v1/{many}");
        let got = clinic.check(&format!("create_{one}"), thing.clone(), &line, thing);
        assert_eq!((&got["key"], &got["type"]), (&json!("k-1"), &json!("application/json")));
        clinic.check(&format!("get_{one}"), json!({ "id": 7 }), &format!("GET /v1/{many}/7"), json!(""));
        let line = format!("PUT /v1/{many}/7");
        let arguments = json!({ "id": 7, "name": "Rex", "weight": null });
        clinic.check(&format!("replace_{one}"), arguments, &line, json!({ "name": "Rex" }));
        clinic.check(
            &format!("delete_{one}"),
            json!({ "id": 7 }),
            &format!("DELETE /v1/{many}/7"),
            json!(""),
        );
    }
    let search =
        json!({ "X_Trace": "t", "filter_kind": "pet", "fields": ["a", "b"], "body": { "text": "rex" } });
    let line = "POST /v1/search?filter%5Bkind%5D=pet&fields=a,b";
    let got = clinic.check("search", search, line, json!({ "text": "rex" }));
    assert_eq!(got["trace"], "t");
    let form = json!({ "user": "a b", "scope": ["x", "y"] });
    let got = clinic.check("login", form, "POST /v1/login", json!("user=a%20b&scope=x&scope=y"));
    assert_eq!((&got["key"], &got["type"]), (&Value::Null, &json!("application/x-www-form-urlencoded")));
    let tree = json!({ "name": "a", "children": [{ "name": "b", "children": [] }] });
    clinic.check("put_tree", tree.clone(), "PUT /v1/tree", tree);
    clinic.check(
        "post_bulk",
        json!({ "body": [{ "name": "x" }] }),
        "POST /v1/bulk",
        json!([{ "name": "x" }]),
    );
    let got = clinic.check(
        "report",
        json!({ "day": "2026-01-02" }),
        "GET /v1/report/2026-01-02?level=2",
        json!(""),
    );
    assert_eq!((&got["key"], &got["authorization"]), (&json!("k-1"), &json!("Bearer t-1")));
    let notes = json!({ "id": 3, "id_2": "n", "note": "x", "author": "me" });
    let body = json!({ "author": "me", "id": "n", "note": "x" });
    let got = clinic.check("patch_notes", notes, "PATCH /v1/pets/3/notes", body);
    assert_eq!(got["type"], "application/merge-patch+json");
    clinic.check("ratio", json!({ "value": 0.5, "by": "xy" }), "GET /v1/ratio?value=0.5&by=xy", json!(""));
    clinic.check("get_status", json!({}), "GET /v1/status", json!(""));
    assert_eq!(clinic.names, [""; 0], "every tool was called");

    for (name, arguments) in [
        ("ratio", json!({ "value": 0 })),
        ("ratio", json!({ "value": 0.5, "by": "x" })),
        ("create_pet", json!({ "name": "Rex", "kind": "bird" })),
        ("put_tree", json!({ "name": "a", "children": [{}] })),
        ("report", json!({ "day": "2026-02-30" })),
    ] {
        let result = clinic.server.call(name, arguments.clone());
        assert_eq!(result["isError"], true, "{name} {arguments}: {result}");
    }
}

const NORDIC: &str = r"
openapi: 3.0.3
info: { title: Nordic, version: '1' }
servers: [{ url: URL }]
paths:
  /places:
    get:
      operationId: places
      parameters:
        - { name: y, in: query, schema: { type: string, enum: [SE, NO, DK] } }
    post:
      operationId: add
      requestBody:
        content:
          application/json:
            schema: { type: object, required: [name], properties: { name: { type: string }, on: { type: boolean } } }
  /list:
    post:
      operationId: list
      requestBody: { content: { application/json: { schema: { type: array, items: { type: integer } } } } }
";

// Requirement: YAML 1.2, in which only true and false are booleans; a body is whole or absent.
#[test]
fn import_of_openapi_reads_yaml_words_as_text_and_keeps_what_a_body_requires() {
    let home = tempfile::tempdir().expect("a directory");
    let path = |name: &str| home.path().join(name).display().to_string();
    let (document, file) = (path("api.yaml"), path("c.toml"));
    std::fs::write(&document, NORDIC.replace("URL", &echo())).expect("writes");
    done(&["import", "--openapi", &document, "--output", &file]);
    let server = start_in(home, &["--catalog", &file], &[]);
    let got = block(&server.call("places", json!({ "y": "NO" })));
    assert_eq!(got["line"], "GET /places?y=NO");
    let refused = server.call("add", json!({ "on": true }));
    assert_eq!(refused["isError"], true, "the body has no name: {refused}");
    let got = block(&server.call("add", json!({ "name": "x", "on": true })));
    assert_eq!(got["body"], r#"{"name":"x","on":true}"#);
    let got = block(&server.call("list", json!({})));
    assert_eq!((&got["body"], &got["type"]), (&json!(""), &Value::Null));
    assert_eq!(block(&server.call("list", json!({ "body": [1] })))["body"], "[1]");
}

const RESULTS: &str = r##"
openapi: 3.0.3
info: { title: Results, version: '1' }
servers: [{ url: URL }]
security: [{ key: [] }]
paths:
  /fits:
    get:
      operationId: fits
      responses:
        200: { description: ok, content: { application/json: { schema: { $ref: "#/components/schemas/Got" } } } }
        default: { description: error, content: { application/json: { schema: { type: object } } } }
  /lacks:
    get:
      operationId: lacks
      responses:
        "200": { description: ok, content: { application/json: { schema: { type: object, required: [absent] } } } }
  /several:
    get:
      operationId: several
      responses:
        "200": { description: ok, content: { application/json: { schema: { type: object, required: [absent] } } } }
        "204": { description: nothing }
  /list:
    get:
      operationId: list
      responses: { "200": { description: ok, content: { application/json: { schema: { type: array } } } } }
  /cookie:
    get: { operationId: cookie, security: [{ session: [] }], responses: {} }
components:
  securitySchemes:
    key: { type: apiKey, in: query, name: api_key }
    session: { type: apiKey, in: cookie, name: sid }
  schemas:
    Got:
      type: object
      additionalProperties: false
      required: [line, secret, key]
      properties:
        line: { type: string, readOnly: true, format: uri }
        secret: { type: string, writeOnly: true }
        key: { type: string, nullable: true }
"##;

// Requirement: a result fits the output schema of its tool, and keys in the query come from the environment.
#[test]
fn import_of_openapi_takes_over_output_schemas_and_keys_in_the_query() {
    let home = tempfile::tempdir().expect("a directory");
    let path = |name: &str| home.path().join(name).display().to_string();
    let (document, file) = (path("api.yaml"), path("c.toml"));
    std::fs::write(&document, RESULTS.replace("URL", &echo())).expect("writes");
    let output = run(&["import", "--openapi", &document, "--output", &file]);
    let told = text(&output.stderr);
    assert!(
        told.contains("not imported: GET /cookie: its key session is a cookie, which cannot be sent"),
        "{told}"
    );
    let server = start_in(home, &["--catalog", &file], &[("RESULTS_API_KEY", "k-1")]);
    let listed = server.request("tools/list", json!({}))["result"]["tools"].clone();
    let schema = |name: &str| {
        let mut tools = listed.as_array().expect("a list").iter();
        tools.find(|tool| tool["name"] == name).expect("listed")["outputSchema"].clone()
    };
    let expected = json!({
        "type": "object", "required": ["line", "key"],
        "properties": { "line": { "type": "string" }, "key": { "type": ["string", "null"] } },
    });
    assert_eq!(schema("fits"), expected);
    assert_eq!((schema("several"), schema("list")), (Value::Null, Value::Null));
    let result = server.call("fits", json!({}));
    assert_eq!(result["structuredContent"]["line"], "GET /fits?api_key=k-1", "{result}");
    let result = server.call("lacks", json!({}));
    assert_eq!(result["isError"], true, "{result}");
    assert!(result.to_string().contains("does not fit the tool's output schema"), "{result}");
    assert_eq!(server.call("several", json!({}))["isError"], false);
}

#[test]
fn import_of_openapi_says_what_has_no_tool_and_why() {
    let home = tempfile::tempdir().expect("a directory");
    let document = home.path().join("api.yaml").display().to_string();
    std::fs::write(&document, DOCUMENT).expect("writes");
    let output = run(&["import", "--openapi", &document]);
    let expected = "\
mcp-tools: 28 tools
mcp-tools: not imported: HEAD /pets/{id}/photo: no tool can use this method
mcp-tools: not imported: POST /pets/{id}/photo: its body is multipart/form-data, and a tool sends JSON or a form
mcp-tools: not imported: GET /session: the parameter sid: a cookie cannot be sent
";
    assert_eq!(text(&output.stderr), expected);
    let written = text(&output.stdout);
    for part in [
        "\n[service.pet_clinic]\nbase_url = \"http://clinic.invalid/v1\"\nheaders_env = { X-Api-Key = \"PET_CLINIC_X_API_KEY\" }\n",
        "\n[service.pet_clinic_2]\nbase_url = \"http://clinic.invalid/v1\"\n\n",
        "# The document names further servers: https://backup.invalid/v1.\n",
        "# Without the parameter deep: an object in the query cannot be written.\n[[tool]]\nname = \"search\"\n",
        "description = \"Deprecated. DELETE /pets/{id}\"\nread_only = false\nannotations = { destructive = true, idempotent = true }\n",
        "path = \"/pets/{id}\"\ntell_reason = true\n",
        "\nid = { type = \"integer\", required = true }\n",
        "\nlevel = { type = \"integer\", minimum = 1, maximum = 5, default = 2 }\n",
        "description = \"\"\"\nThe report of a day.\nIt may be \"empty\".\"\"\"\n",
    ] {
        assert!(written.contains(part), "{part}\nis not in\n{written}");
    }
    assert!(!written.contains("readOnly\"") && !written.contains("$ref"), "{written}");
}

#[test]
fn import_of_openapi_reads_the_older_version_and_refuses_what_it_cannot_read() {
    let home = tempfile::tempdir().expect("a directory");
    let document = home.path().join("api.json").display().to_string();
    let import = |text_of: &str| {
        std::fs::write(&document, text_of).expect("writes");
        let output = run(&["import", "--openapi", &document]);
        let told = text(&output.stderr).replace(&document, "api.json");
        (output.status.code(), text(&output.stdout), told)
    };
    let older = json!({
        "openapi": "3.0.3", "info": { "title": "Old", "version": "1" },
        "paths": { "/a": { "post": { "operationId": "a", "requestBody": { "content": { "application/json": { "schema": {
            "type": "object", "properties": {
                "n": { "type": "integer", "nullable": true, "minimum": 0, "exclusiveMinimum": true },
                "o": { "allOf": [{ "$ref": "#/components/schemas/O" }], "description": "An o." } } } } } },
            "responses": {} } },
            "/b": { "get": { "operationId": "b", "parameters": [{ "$ref": "other.yaml#/p" }], "responses": {} } },
            "/c": { "get": { "operationId": "c", "parameters": [{ "$ref": "#/components/parameters/loop" }], "responses": {} } } },
        "components": { "schemas": { "O": { "type": "string" } }, "parameters": { "loop": { "$ref": "#/components/parameters/loop" } } },
    });
    let (code, written, told) = import(&older.to_string());
    assert_eq!(code, Some(0), "{told}");
    let expected = "\
mcp-tools: 1 tool
mcp-tools: not imported: GET /b: the reference other.yaml#/p leads out of the document
mcp-tools: not imported: GET /c: a reference leads to itself
";
    assert_eq!(told, expected);
    assert!(written.contains("base_url_env = \"OLD_URL\"\n"), "{written}");
    assert!(
        written.contains(r#""n":{"type":["integer","null"],"exclusiveMinimum":0,"default":null}"#),
        "{written}"
    );
    assert!(written.contains(r#""o":{"type":"string","description":"An o.","default":null}"#), "{written}");
    for (text, expected) in [
        (r#"{"swagger": "2.0"}"#, "mcp-tools: api.json: is Swagger 2.0 (hint: a converter"),
        (r#"{"openapi": "4.0.0"}"#, "mcp-tools: api.json: is OpenAPI 4.0.0; 3.0 and 3.1 can be imported"),
        ("{\"a\": ", "mcp-tools: api.json: is neither JSON nor YAML: "),
        ("a: [", "mcp-tools: api.json: is neither JSON nor YAML: "),
        ("a: b", "mcp-tools: api.json: has no key `openapi`"),
        (r#"{"openapi": "3.1.0", "paths": {}}"#, "mcp-tools: nothing can be imported: there is no tool"),
    ] {
        let (code, _, told) = import(text);
        assert!(told.starts_with(expected), "{told}");
        assert_eq!(code, Some(2));
    }
}
