//! `mcp-tools serve --listen`: a loopback address with a token, for use without a guard.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use mcp_testkit::{Program, TIMEOUT};

use crate::program::{program, run, text};

const TOKEN: &str = "a-token-of-this-test-0123";

const CATALOGUE: &str = r#"
[[tool]]
name = "hello"
description = "Greets."
read_only = true
text = { body = "hello" }

[[tool]]
name = "mine"
description = "Greets a known client."
read_only = true
identity = { client = true }
text = { body = "hello" }
"#;

/// A running server and its address.
struct Listening {
    program: Program,
    address: String,
    _home: tempfile::TempDir,
}

fn listen() -> Listening {
    listen_at("127.0.0.1:0")
}

fn listen_at(address: &str) -> Listening {
    let home = tempfile::tempdir().expect("a directory");
    let (catalogue, token) = (home.path().join("c.toml"), home.path().join("token"));
    std::fs::write(&catalogue, CATALOGUE).expect("writes");
    std::fs::write(&token, format!("{TOKEN}\n")).expect("writes");
    let mut command = program();
    command.args(["serve", "--listen", address, "--token-file"]).arg(&token);
    command.arg("--catalog").arg(&catalogue);
    let program = Program::start(&mut command);
    let ready = program.wait_for_log("\"event\":\"ready\"");
    let address = ready.split("http://").nth(1).and_then(|rest| rest.split('"').next());
    Listening { address: address.expect("an address").to_owned(), program, _home: home }
}

impl Listening {
    /// Status and body of the response to a call with these header lines.
    fn call(&self, tool: &str, headers: &[&str]) -> String {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } })
            .to_string();
        let host =
            if headers.iter().any(|line| line.starts_with("Host")) { "" } else { "Host: localhost\r\n" };
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!(
            "POST /mcp HTTP/1.1\r\n{host}{lines}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).expect("a listening server");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("an open connection");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response.split_off("HTTP/1.1 ".len())
    }
}

#[test]
fn a_loopback_address_serves_only_with_its_token() {
    let server = listen();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let good = server.call("hello", &[&bearer]);
    assert!(good.starts_with("200") && good.contains("\"text\":\"hello\""), "{good}");
    let wrong = format!("Authorization: Bearer {TOKEN}4");
    let other = format!("Authorization: Basic {TOKEN}");
    for headers in
        [&[][..], &[wrong.as_str()], &[other.as_str()], &["Authorization: Bearer"], &[&bearer, &bearer]]
    {
        let refused = server.call("hello", headers);
        assert!(
            refused.starts_with("401") && refused.to_lowercase().contains("www-authenticate: bearer"),
            "{headers:?}: {refused}"
        );
    }
    assert!(!server.program.log().concat().contains(TOKEN));
}

// MCP 2025-06-18, Transports: "Servers MUST validate the Origin header on all incoming connections to prevent DNS rebinding attacks."
#[test]
fn a_loopback_address_refuses_foreign_hosts_and_origins_and_names_its_own() {
    let server = listen();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (line, status) in [
        ("Host: evil.example", "403"),
        ("Host: 127.0.0.1.evil.example", "403"),
        ("Host: 127.0.0.1:9", "200"),
        ("Host: [::1]:9", "200"),
        ("Origin: http://evil.example", "403"),
        ("Origin: null", "403"),
        ("Origin: http://localhost:6274", "200"),
    ] {
        let response = server.call("hello", &[&bearer, line]);
        assert!(response.starts_with(status), "{line}: {response}");
        assert!(
            status == "200" || response.contains("one of localhost, 127.0.0.1, ::1"),
            "{line}: {response}"
        );
    }
}

#[test]
fn another_loopback_address_is_a_name_of_the_server_that_listens_there() {
    let server = listen_at("127.0.0.2:0");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (line, status) in [
        (format!("Host: {}", server.address), "200"),
        ("Host: localhost".to_owned(), "200"),
        ("Origin: http://127.0.0.2:6274".to_owned(), "200"),
        ("Host: 127.0.0.3".to_owned(), "403"),
        ("Origin: http://127.0.0.3".to_owned(), "403"),
    ] {
        let response = server.call("hello", &[&bearer, &line]);
        assert!(response.starts_with(status), "{line}: {response}");
        assert!(
            status == "200" || response.contains("one of localhost, 127.0.0.1, ::1, 127.0.0.2"),
            "{response}"
        );
    }
}

#[test]
fn a_loopback_address_does_not_trust_a_claimed_identity() {
    let server = listen();
    let told = server.call("mine", &[&format!("Authorization: Bearer {TOKEN}"), "X-MCP-Client: root"]);
    assert!(told.contains("\"isError\":true") && told.contains("needs the caller's client"), "{told}");
}

#[test]
fn a_place_to_listen_at_that_is_unsafe_or_mistaken_is_refused() {
    for (arguments, reason) in [
        (&["--socket", "127.0.0.1:80"][..], "hint: --listen 127.0.0.1:80"),
        (&["--socket", "localhost:8080"], "is an address"),
        (&["--listen", "127.0.0.1:0"], "--listen needs a token"),
        (&["--listen", "0.0.0.0:8080", "--token-env", "T"], "can be reached from other machines"),
        (
            &["--listen", "127.0.0.1:0", "--token-env", "NO_SUCH"],
            "--token-env NO_SUCH: the variable is not set",
        ),
        (&["--listen", "127.0.0.1:0", "--token-file", "/no/such"], "--token-file /no/such: cannot be read"),
        (&["--listen", "127.0.0.1:0", "--token-file", "/dev/null"], "must be at least 16 visible"),
        (&["--socket", "/no/such/a.sock", "--listen", "127.0.0.1:0"], "cannot be used with"),
        (&["--socket", "/no/such/a.sock", "--token-env", "T"], "a token is for --listen"),
        (&[], "--socket <PATH>"),
    ] {
        let output = run(&[&["serve"], arguments].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {told}");
        assert!(told.contains(reason), "{arguments:?}: {told}");
    }
}
