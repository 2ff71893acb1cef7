//! What a tool sends to a REST service: header fields, methods, lists, forms; and what `check` refuses of it.

use serde_json::json;
use tempfile::TempDir;

use mcp_testkit::ToolServer;

use crate::program::{run, start_in, text};
use crate::service::Service;
use crate::surface::block;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// A server with one tool `t`, whose declaration is `rest`, and further settings of its service `s`.
pub(crate) fn server(service: &Service, settings: &str, rest: &str) -> ToolServer {
    let home = tempfile::tempdir().expect("a directory");
    let file = written(&home, &catalogue(&service.url, settings, rest));
    start_in(
        home,
        &["--catalog", &file],
        &[("API_KEY", " k-123\n"), ("QUERY_KEY", "k-123/\n"), ("HTTP_PROXY", "http://127.0.0.1:1")],
    )
}

fn catalogue(url: &str, settings: &str, rest: &str) -> String {
    format!(
        "[service.s]\nbase_url = \"{url}\"\n{settings}\n[[tool]]\nname = \"t\"\ndescription = \"d\"\n{rest}"
    )
}

fn written(home: &TempDir, catalogue: &str) -> String {
    let file = home.path().join("c.toml");
    std::fs::write(&file, catalogue).expect("writes");
    file.display().to_string()
}

const SEARCH: &str = r#"
read_only = true
params.words = { type = "array" }
params.fields = { type = "array" }
params.lang = { type = "string" }
params.trace = { type = "string" }
[tool.http]
service = "s"
method = "POST"
reads = true
path = "/search"
query = { "word[]" = "{words}", fields = "{fields}", lang = "{lang}" }
lists = { fields = "comma" }
headers = { Accept-Language = "{lang}", X-Trace = "t-{trace}", Accept = "application/vnd.api+json" }
json = { words = "{words}" }
content_type = "application/vnd.api+json"
"#;

#[test]
fn a_call_carries_the_headers_of_its_service_and_of_its_tool() {
    let service = Service::responding(OK);
    let settings =
        "headers = { X-Version = \"2\", User-Agent = \"lab\" }\nheaders_env = { X-Api-Key = \"API_KEY\" }";
    let server = server(&service, settings, SEARCH);
    let result = server.call("t", json!({ "words": ["a b", 7, null], "fields": ["x", "y"], "lang": "de" }));
    assert_eq!(result["isError"], json!(false), "{result}");
    let asked = service.next();
    assert_eq!(asked.line, "POST /search?word%5B%5D=a%20b&word%5B%5D=7&fields=x,y&lang=de HTTP/1.1");
    assert_eq!(asked.body, r#"{"words":["a b",7,null]}"#);
    for (name, value) in [
        ("x-version", Some("2")),
        ("user-agent", Some("lab")),
        ("x-api-key", Some("k-123")),
        ("accept-language", Some("de")),
        ("x-trace", None),
        ("accept", Some("application/vnd.api+json")),
        ("content-type", Some("application/vnd.api+json")),
    ] {
        assert_eq!(asked.header(name), value, "{name} in {}", asked.head);
    }
}

#[test]
fn an_argument_in_a_header_or_a_list_cannot_become_a_second_one() {
    let service = Service::responding(OK);
    let server = server(&service, "", SEARCH);
    for (arguments, name) in [
        (json!({ "lang": "de\r\nX-Admin: yes" }), "lang"),
        (json!({ "trace": "\u{0}" }), "trace"),
        (json!({ "trace": "\u{fc}" }), "trace"),
        (json!({ "trace": "x".repeat(9000) }), "trace"),
        (json!({ "fields": ["a,secret"] }), "fields"),
    ] {
        let told = block(&server.call("t", arguments));
        assert!(told["error"].as_str().is_some_and(|told| told.starts_with(name)), "{told}");
    }
    server.call("t", json!({ "words": [], "fields": [] }));
    // Only the last call was sent.
    assert_eq!(service.next().line, "POST /search HTTP/1.1");
    assert!(service.asked.try_recv().is_err());
}

#[test]
fn a_form_and_a_patch_reach_the_service_as_declared() {
    let service = Service::responding(OK);
    let form = r#"
read_only = false
params.name = { type = "string" }
params.tags = { type = "array" }
params.note = { type = "string" }
[tool.http]
service = "s"
method = "PATCH"
path = "/things/1"
query = { kind = "a b&c=d {name}" }
form = { name = "{name}", tag = "{tags}", note = "{note}", fixed = "a&b" }
"#;
    server(&service, "", form).call("t", json!({ "name": "x=1&y", "tags": ["r", "s"] }));
    let asked = service.next();
    assert_eq!(asked.line, "PATCH /things/1?kind=a%20b%26c%3Dd%20x%3D1%26y HTTP/1.1");
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.body, "name=x%3D1%26y&tag=r&tag=s&fixed=a%26b");
}

#[test]
fn a_key_of_the_query_comes_from_the_environment_and_stands_in_no_error() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 45\r\nConnection: close\r\n\r\n{\"detail\": \"bad key k-123/ or k-123%2F, ok?\"}";
    let service = Service::responding(refusal);
    let tool = r#"
read_only = true
params.q = { type = "string" }
http = { service = "s", method = "GET", path = "/x", query = { q = "{q}" }, tell_reason = true }
"#;
    let settings = "query_env = { \"api key\" = \"QUERY_KEY\" }";
    let server = server(&service, settings, tool);
    let told = server.call("t", json!({ "q": "a" })).to_string();
    assert!(told.contains("bad key") && told.contains("ok?") && !told.contains("k-123"), "{told}");
    assert_eq!(service.next().line, "GET /x?q=a&api%20key=k-123%2F HTTP/1.1");
    server.call("t", json!({}));
    assert_eq!(service.next().line, "GET /x?api%20key=k-123%2F HTTP/1.1");
    assert!(!server.log().concat().contains("k-123"), "{:?}", server.log());
    let unset = self::server(&service, "query_env = { key = \"NOT_SET\" }", tool);
    let told = unset.call("t", json!({})).to_string();
    assert!(told.contains("must set NOT_SET to the value of a key that it needs"), "{told}");
    assert!(service.asked.try_recv().is_err());
}

#[test]
fn a_text_of_a_body_whose_parameter_is_not_given_is_left_out() {
    let service = Service::responding(OK);
    let tool = r#"
read_only = false
params.i = { type = "integer" }
[tool.http]
service = "s"
method = "POST"
path = "/things"
json = { s = "i={i}", list = ["i={i}", "fixed"], i = "{i}" }
result = { said = "i={i}", done = true }
"#;
    let server = server(&service, "", tool);
    for (arguments, body, result) in [
        (json!({}), r#"{"list":["fixed"]}"#, json!({ "done": true })),
        (
            json!({ "i": 1 }),
            r#"{"s":"i=1","list":["i=1","fixed"],"i":1}"#,
            json!({ "said": "i=1", "done": true }),
        ),
    ] {
        assert_eq!(block(&server.call("t", arguments)), result);
        assert_eq!(service.next().body, body);
    }
}

#[test]
fn a_service_whose_header_is_not_set_is_not_called() {
    let service = Service::responding(OK);
    let server = server(&service, "headers_env = { X-Api-Key = \"NOT_SET\" }", SEARCH);
    let told = block(&server.call("t", json!({})));
    assert_eq!(
        told["error"],
        "This tool needs the service s, which is not configured: the operator of mcp-tools must set NOT_SET to the value of a header that it needs."
    );
    assert!(service.asked.try_recv().is_err());
}

// Requirement: identity binds the guard's X-MCP-Client and X-MCP-Subject.
#[test]
fn the_callers_identity_goes_where_the_tool_declares_it() {
    let service = Service::responding(OK);
    let rest = r#"
read_only = false
identity = { client = true, subject = true }
[tool.http]
service = "s"
method = "DELETE"
path = "/of/{client}"
headers = { X-On-Behalf-Of = "{subject}" }
json = { by = "{client}" }
"#;
    let server = server(&service, "", rest);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t", "arguments": { "client": "root" } } });
    let headers = [("Content-Type", "application/json"), ("X-MCP-Client", "bot/7"), ("X-MCP-Subject", "ann")];
    server.http("POST", &headers, call.to_string().as_bytes());
    let asked = service.next();
    assert_eq!(asked.line, "DELETE /of/bot%2F7 HTTP/1.1");
    assert_eq!((asked.header("x-on-behalf-of"), asked.body.as_str()), (Some("ann"), r#"{"by":"bot/7"}"#));
}

#[track_caller]
fn check(settings: &str, rest: &str, reasons: &[&str]) {
    let home = tempfile::tempdir().expect("a directory");
    let checked = run(&["check", &written(&home, &catalogue("http://127.0.0.1:1", settings, rest))]);
    let told = text(&checked.stdout);
    let told: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split_once("toml:")?.1.split_once(": "))
        .map(|(_, told)| told)
        .collect();
    assert_eq!(told, reasons);
}

#[test]
fn every_mistake_of_a_call_is_named() {
    check(
        "headers = { Host = \"x\", Authorization = \"x\", X-Key = \"x\" }\nheaders_env = { x-key = \"API_KEY\" }",
        SEARCH,
        &[
            "service.s: headers.Host: is written by mcp-tools itself",
            "service.s: headers.Authorization: has a key of its own (hint: authorization_env of the service)",
            "service.s: headers_env.x-key: is declared twice",
            "tool.t: http.service: s is not declared (hint: a [service.s] table)",
        ],
    );
    check(
        "headers = { X-Key = \"x\" }",
        r#"
read_only = true
params.now = { type = "string" }
params.a = { type = "string" }
params.l = { type = "array" }
[tool.http]
service = "s"
method = "GET"
reads = true
path = "/\u0001"
query = { a = "{a}-{now}", l = "x{l}" }
headers = { x-key = "{a}", Content-Length = "0", "a b" = "c" }
content_type = "text/plain"
form = { a = "{a}" }
lists = { a = "comma", l = "pipe", z = "space" }
"#,
        &[
            "tool.t: http.path: has a letter that cannot stand in a URL (hint: %20 for a blank, %C3%BC for \u{fc})",
            "tool.t: http.reads: has no effect: GET reads",
            "tool.t: params.now: is the time of the call in [tool.http] (hint: another name)",
            "tool.t: http.headers.x-key: is a header of the service",
            "tool.t: http.headers.Content-Length: is written by mcp-tools itself",
            "tool.t: http.headers.a b: is not the name of a header field",
            "tool.t: http.content_type: is the media type of json, which is not given",
            "tool.t: http.form: GET has no body (hint: query)",
            "tool.t: http.lists.a: is for a list; the parameter is of type string",
            "tool.t: http.lists.l: has no effect: query and form lack \"{l}\"",
            "tool.t: http.lists.z: there is no parameter z",
        ],
    );
    let both = "read_only = false\n[tool.http]\nservice = \"s\"\nmethod = \"POST\"\npath = \"/\"\njson = {}\nform = {}\ncontent_type = \"text/plain\"\n";
    check("", both, &["tool.t: http: has json and form; a request has one body"]);
}

#[test]
fn a_tool_that_only_reads_uses_a_method_that_reads() {
    for (method, read_only, reads, reason) in [
        ("PUT", true, true, "http.method: a tool that only reads must use GET, or POST with reads = true"),
        (
            "DELETE",
            true,
            false,
            "http.method: a tool that only reads must use GET, or POST with reads = true",
        ),
        ("POST", false, true, "http.reads: is for a tool with read_only = true"),
    ] {
        let rest = format!(
            "read_only = {read_only}\n[tool.http]\nservice = \"s\"\nmethod = \"{method}\"\nreads = {reads}\npath = \"/\"\n"
        );
        check("", &rest, &[&format!("tool.t: {reason}")]);
    }
}

#[test]
fn every_mistake_of_an_identity_and_of_picked_parts_is_named() {
    let caller = r#"
read_only = true
identity = { client = true }
params.client = { type = "string" }
params.subject = { type = "string" }
[tool.http]
service = "s"
method = "GET"
path = "/{subject}"
result = { a = "{client}" }
pick = "/a"
"#;
    check(
        "",
        caller,
        &[
            "tool.t: params.client: is the identity of the caller in [tool.http] (hint: another name)",
            "tool.t: http.pick: has no effect beside result",
            "tool.t: http: the parameter client has no effect",
        ],
    );
    let pick = r#"
read_only = true
[tool.http]
service = "s"
method = "GET"
path = "/"
query = { a = "{client}" }
pick = { a = "a", b = "/x~", c = 3 }
"#;
    check(
        "",
        pick,
        &[
            "tool.t: http.pick.a: \"a\" is not a JSON Pointer (hint: it begins with /)",
            "tool.t: http.pick.b: \"/x~\" is not a JSON Pointer (hint: ~ is written ~0, and / in a name ~1)",
            "tool.t: http.pick.c: must be a JSON Pointer such as \"/data/items\", or a table of names with one each",
            "tool.t: http: there is no parameter client (hint: identity = { client = true } of the tool)",
        ],
    );
}
