//! What every kind of response of a REST service becomes: for the caller, and in the log.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::rest::server;
use crate::service::Service;

/// A response of a service: status line, further fields, body.
fn response(status: &str, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn json_response(status: &str, body: &str) -> Vec<u8> {
    response(status, "Content-Type: application/json\r\n", body)
}

const READS: &str = "read_only = true\n[tool.http]\nservice = \"s\"\nmethod = \"GET\"\npath = \"/\"\n";
const WRITES: &str = "read_only = false\n[tool.http]\nservice = \"s\"\nmethod = \"POST\"\npath = \"/\"\n";
const DOUBT: &str = "; whether it was carried out is unknown, check before you repeat it";

/// The result of a call, and the log up to its line.
fn called(response: Vec<u8>, tool: &str) -> (Value, String) {
    let service = Service::responding(response);
    let settings = "headers_env = { X-Api-Key = \"API_KEY\" }";
    let server = server(&service, settings, tool);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t", "arguments": {} } });
    let headers = [("Content-Type", "application/json"), ("X-Request-Id", "req-7")];
    let result = server.http("POST", &headers, call.to_string().as_bytes()).json()["result"].clone();
    (result, server.log_until("\"event\":\"call\"").join("\n"))
}

#[track_caller]
fn told(response: Vec<u8>, tool: &str) -> String {
    let (result, log) = called(response, tool);
    assert_eq!(result["isError"], json!(true), "{result}");
    assert!(log.contains("service_error"), "{log}");
    result["content"][0]["text"].as_str().expect("a text").to_owned()
}

#[track_caller]
fn result_of(response: Vec<u8>, tool: &str) -> Value {
    let (result, _) = called(response, tool);
    assert_eq!(result["isError"], json!(false), "{result}");
    result
}

const INVALID: &str = r#"{"type": "about:blank", "title": "Unprocessable", "detail": "qty must be positive", "id": "Zq7secretQx"}"#;

// Requirement: what goes wrong by the caller's doing is told to the caller where the tool allows it.
#[test]
fn the_reason_of_a_refusal_is_told_where_the_tool_opens_it() {
    let invalid =
        || response("422 Unprocessable Entity", "Content-Type: application/problem+json\r\n", INVALID);
    assert_eq!(told(invalid(), READS), "s did not accept the call (status 422)");
    let open = format!("{READS}tell_reason = true\n");
    assert_eq!(told(invalid(), &open), "s did not accept the call (status 422): qty must be positive");
    assert_eq!(
        told(response("400 Bad Request", "Content-Type: text/plain\r\n", "no such\r\ncolour\n"), &open),
        "s did not accept the call (status 400): no such colour"
    );
    let page = response("404 Not Found", "Content-Type: text/html\r\n", "<html><h1>404</h1></html>");
    assert_eq!(told(page, &open), "s did not accept the call (status 404)");
    assert_eq!(
        told(json_response("403 Forbidden", r#"{"message": "the project is archived"}"#), &open),
        "s did not accept the call (status 403): the project is archived"
    );
    assert_eq!(
        told(json_response("403 Forbidden", r#"{"message": "the project is archived"}"#), READS),
        "s refused this server's credentials"
    );
    // The operator's: credentials, and what went wrong inside the service.
    assert_eq!(
        told(json_response("401 Unauthorized", r#"{"message": "key expired"}"#), &open),
        "s refused this server's credentials"
    );
    assert_eq!(
        told(json_response("500 Oops", r#"{"message": "at line 7"}"#), &open),
        "s failed with status 500"
    );
    // A service that repeats the key of this server.
    let repeated = json_response("400 Bad Request", r#"{"message": "key k-123 is of another tenant"}"#);
    assert_eq!(told(repeated, &open), "s did not accept the call (status 400): key ... is of another tenant");
}

#[test]
fn retry_after_is_told_and_logged() {
    let fields = "Retry-After: 7\r\n";
    let (result, log) = called(response("429 Too Many Requests", fields, ""), READS);
    assert_eq!(result["content"][0]["text"], "s did not accept the call (status 429); try again in 7 s");
    assert!(log.contains("\"s responded 429 Too Many Requests; Retry-After: 7 s\""), "{log}");
    assert_eq!(
        told(response("503 Service Unavailable", fields, ""), WRITES),
        format!("s failed with status 503; try again in 7 s{DOUBT}")
    );
    let past = "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n";
    assert_eq!(
        told(response("503 Service Unavailable", past, ""), READS),
        "s failed with status 503; try again in 0 s"
    );
    assert_eq!(told(response("500 Oops", fields, ""), READS), "s failed with status 500");
}

// Requirement: the log names tool, request id, service, status; never a body unless log_reason opens it.
#[test]
fn the_log_of_a_refusal_names_tool_and_request_and_holds_the_body_where_the_tool_opens_it() {
    let invalid = || json_response("422 Unprocessable Entity", INVALID);
    let open = format!("{READS}tell_reason = true\n");
    for tool in [READS, &open] {
        let (_, log) = called(invalid(), tool);
        let line: Value = log
            .lines()
            .find(|line| line.contains("service_error"))
            .and_then(|line| serde_json::from_str(line).ok())
            .expect("a line");
        assert_eq!(line["tool"], "t");
        assert_eq!(line["request_id"], "req-7");
        assert_eq!(line["detail"], "s responded 422 Unprocessable Entity");
        assert!(!log.contains("Zq7secretQx") && !log.contains("qty"), "{log}");
    }
    let (_, log) = called(invalid(), &format!("{READS}log_reason = true\n"));
    assert!(log.contains("; body: {") && log.contains("Zq7secretQx"), "{log}");
    let repeated = json_response("400 Bad Request", "{\"key\": \"k-123\"}");
    let (_, log) = called(repeated, &format!("{READS}log_reason = true\n"));
    assert!(log.contains("body: ") && !log.contains("k-123"), "{log}");
}

// Requirement: HTML or binary under 200 is a failure.
#[test]
fn a_response_that_is_no_data_is_a_failure_with_its_reason() {
    let page = || {
        response(
            "200 OK",
            "Content-Type: text/html; charset=utf-8\r\n",
            "<!doctype html><title>Log in</title>",
        )
    };
    assert_eq!(
        told(page(), READS),
        "s responded with a page for people (HTML), perhaps a login, instead of data"
    );
    // A declared result does not hide that the call never reached its service.
    assert_eq!(
        told(page(), &format!("{WRITES}result = {{ success = true }}\n")),
        format!("s responded with a page for people (HTML), perhaps a login, instead of data{DOUBT}")
    );
    assert_eq!(
        told(response("200 OK", "Content-Type: image/png\r\n", b"\x89PNG\r\n\x1a\n"), READS),
        "s responded with image/png, which is neither JSON nor text"
    );
    assert_eq!(
        told(json_response("200 OK", "{\"items\": [1, 2"), READS),
        "s declared its response as JSON, and it is not"
    );
    assert_eq!(
        told(response("200 OK", "Content-Type: text/plain\r\nContent-Encoding: br\r\n", "x"), READS),
        "s responded in the encoding br, which was not asked for"
    );
    assert_eq!(
        told(response("200 OK", "Content-Type: text/plain\r\n", b"gr\xfcn"), READS),
        "s responded with text that is not in UTF-8"
    );
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("writes");
    let fields = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    response("200 OK", fields, encoder.finish().expect("ends"))
}

#[test]
fn a_compressed_response_is_read_although_none_is_asked_for() {
    let service = Service::responding(gzipped(b"{\"n\": 1}"));
    let server = server(&service, "", READS);
    let result = server.call("t", json!({}));
    assert_eq!(result["content"][0]["text"], "{\n  \"n\": 1\n}");
    assert_eq!(service.next().header("accept-encoding"), Some("identity"));
    assert_eq!(
        told(gzipped(&vec![b' '; 32 << 20]), READS),
        "the response of s is too large; narrow the filters"
    );
    let too_large = format!("the response of s is too large{DOUBT}");
    assert_eq!(told(gzipped(&vec![b' '; 32 << 20]), WRITES), too_large);
    let mut cut = gzipped(b"{\"n\": 1}");
    let length = cut.len();
    cut[length - 6..].fill(0);
    assert_eq!(told(cut, READS), "s responded with compressed data that are damaged or end early");
}

// Requirement: exact numbers.
#[test]
fn numbers_of_a_service_keep_their_digits() {
    let body = r#"{"a": 12345678901234567890.1234567891, "b": [1.50, 18446744073709551616], "c": 1e400}"#;
    let expected = "{\n  \"a\": 12345678901234567890.1234567891,\n  \"b\": [\n    1.50,\n    18446744073709551616\n  ],\n  \"c\": 1e400\n}";
    assert_eq!(result_of(json_response("200 OK", body), READS)["content"][0]["text"], expected);
    let pick = format!("{READS}pick = \"/b\"\n");
    let picked = result_of(json_response("200 OK", body), &pick);
    assert_eq!(picked["content"][0]["text"], "[\n  1.50,\n  18446744073709551616\n]");
    let totals = format!("{READS}pick = \"/rows\"\n[tool.http.totals]\nall = {{ sum = \"n\" }}\n");
    let rows = r#"{"rows": [{"n": 9007199254740993}, {"n": 2}, {"m": 1}]}"#;
    let added = result_of(json_response("200 OK", rows), &totals);
    assert_eq!(added["content"][0]["text"], "{\n  \"all\": 9007199254740995\n}");
}

#[test]
fn the_parts_that_a_tool_picks_are_its_result() {
    let body = || {
        json_response(
            "200 OK",
            r#"{"data": {"items": [{"id": 1, "long": "..."}], "next": "p2"}, "debug": {}}"#,
        )
    };
    let several = format!(
        "{READS}pick = {{ first = \"/data/items/0/id\", next = \"/data/next\", none = \"/data/none\" }}\n"
    );
    assert_eq!(
        result_of(body(), &several)["content"][0]["text"],
        "{\n  \"first\": 1,\n  \"next\": \"p2\",\n  \"none\": null\n}"
    );
    assert_eq!(
        told(body(), &format!("{READS}pick = \"/data/rows\"\n")),
        "s responded without /data/rows, which the tool picks"
    );
    assert_eq!(
        told(body(), &format!("{WRITES}pick = \"/data/rows\"\n")),
        format!("s responded without /data/rows, which the tool picks{DOUBT}")
    );
}

#[test]
fn a_response_without_content_says_so() {
    let created = response("204 No Content", "", "");
    let created = String::from_utf8(created).expect("text").replace("Content-Length: 0\r\n", "").into_bytes();
    let said = "s accepted the call (status 204); its response has no content.";
    assert_eq!(result_of(created.clone(), WRITES)["content"][0]["text"], said);
    let done = result_of(created, &format!("{WRITES}result = {{ success = true }}\n"));
    assert_eq!(done["content"][0]["text"], "{\n  \"success\": true\n}");
    let said = "s accepted the call (status 200); its response has no content.";
    assert_eq!(result_of(response("200 OK", "", ""), READS)["content"][0]["text"], said);
}

#[test]
fn a_redirect_is_not_followed_and_its_host_is_logged_without_its_path() {
    let elsewhere = "Location: https://u:p@login.example.org/?return=Zq7secretQx\r\n";
    let (result, log) = called(response("302 Found", elsewhere, ""), READS);
    assert_eq!(result["content"][0]["text"], "s redirected the call; redirects are not followed");
    assert!(log.contains("\"s responded 302 Found; to login.example.org\""), "{log}");
    assert!(!log.contains("Zq7secretQx") && !log.contains("u:p"), "{log}");
    assert_eq!(
        told(response("303 See Other", "Location: /things/1\r\n", ""), WRITES),
        format!("s redirected the call; redirects are not followed{DOUBT}")
    );
}

// Requirement: "not found" beside an output schema is an error without structured content.
#[test]
fn not_found_beside_an_output_schema_is_an_error() {
    let not_found = || json_response("404 Not Found", "{}");
    let tool = format!("{READS}not_found = \"No such thing.\"\n");
    let (result, _) = called(not_found(), &tool);
    assert_eq!(
        (&result["isError"], &result["content"][0]["text"]),
        (&json!(false), &json!("{\n  \"error\": \"No such thing.\"\n}"))
    );
    let schema = r#"output_schema = '{"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}'"#;
    let (result, _) = called(not_found(), &format!("{schema}\n{tool}"));
    assert_eq!((&result["isError"], &result["content"][0]["text"]), (&json!(true), &json!("No such thing.")));
    assert!(result.get("structuredContent").is_none(), "{result}");
    let exact =
        result_of(json_response("200 OK", "{\"id\": 12345678901234567890}"), &format!("{schema}\n{READS}"));
    assert_eq!(exact["structuredContent"].to_string(), "{\"id\":12345678901234567890}");
}
