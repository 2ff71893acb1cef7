//! The process: socket, signals, exit codes, log.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{run, start, start_in, text};

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_process() {
    let mut server = start(&[]);
    let mode = std::fs::metadata(&server.socket).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), Some(0));
    assert!(!server.socket.exists());
}

#[test]
fn replaces_a_dead_socket_and_leaves_a_living_one_alone() {
    let home = tempfile::tempdir().expect("a directory");
    drop(UnixListener::bind(home.path().join("t.sock")).expect("binds"));
    let server = start_in(home, &[], &[]);
    let second = run(&["serve", "--socket", &server.socket.display().to_string()]);
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("another process is serving"), "{}", text(&second.stderr));
    assert_eq!(server.request("ping", json!({}))["result"], json!({}));
}

#[test]
fn logs_one_line_for_each_call_and_never_its_arguments() {
    let server = start(&[]);
    server.call("get_server_instructions", json!({ "ignored": "s3cret" }));
    let line = server.wait_for_log("\"event\":\"call\"");
    let entry: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&entry["tool"], &entry["outcome"]), (&json!("get_server_instructions"), &json!("ok")));
    assert!(entry["ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{line}");
    assert!(!line.contains("s3cret"), "{line}");
}

// A second process that subscribed at its start once saved every message twice.
#[test]
fn starting_and_listing_touch_nothing_outside() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.set_nonblocking(true).expect("does not wait");
    let address = listener.local_addr().expect("an address");
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("swf.db");
    let script = "CREATE TABLE t (a)";
    rusqlite::Connection::open(&file).expect("opens").execute_batch(script).expect("runs");
    let before = std::fs::read(&file).expect("a file");
    let (url, database) = (format!("http://{address}"), format!("postgresql://u@{address}/d"));
    let env = [
        ("MCP_TOOLS_ACTIVEMQ_URL", url.as_str()),
        ("MCP_TOOLS_PANDA_MONITOR_URL", url.as_str()),
        ("PANDA", database.as_str()),
    ];
    let main = format!("sqlite:{}", file.display());
    let server = start_in(home, &["--database", &main, "--database", "panda=env:PANDA"], &env);
    server.request("tools/list", json!({}));
    server.call("get_server_instructions", json!({}));
    let connected = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(connected, Err(ErrorKind::WouldBlock));
    assert_eq!(std::fs::read(&file).expect("a file"), before);
    let folder = server.socket.parent().expect("a folder");
    let mut left: Vec<_> =
        folder.read_dir().expect("lists").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["swf.db", "t.sock"]);
    // The listener would have failed.
    server.call("panda_list_queues", json!({}));
    assert!(listener.accept().is_ok());
}

#[test]
fn notifies_the_service_manager_when_ready_alive_and_stopping() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("binds");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let heard = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {word}: {error}"));
            if text(&buffer[..length]).contains(word) {
                return;
            }
        }
    };
    let path = path.display().to_string();
    let mut server = start_in(home, &[], &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "100000")]);
    heard("READY=1");
    heard("WATCHDOG=1");
    server.signal(rustix::process::Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn exit_codes_tell_what_happened() {
    let code = |arguments: &[&str]| run(arguments).status.code();
    assert_eq!(code(&["list"]), Some(0));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["call", "get_server_instructions"]), Some(0));
    assert_eq!(code(&["call", "no_such_tool", "{}"]), Some(1));
    assert_eq!(code(&["call", "get_server_instructions", "[]"]), Some(64));
    assert_eq!(code(&["check", "/no/such/file.toml"]), Some(1));
    assert_eq!(code(&["list", "--catalog", "/no/such/file.toml"]), Some(2));
    assert_eq!(code(&["serve"]), Some(64));
    assert_eq!(code(&["fly"]), Some(64));
}

#[test]
fn every_help_page_shows_an_example() {
    for command in ["serve", "check", "list", "call"] {
        let help = run(&[command, "--help"]);
        assert!(text(&help.stdout).contains("Example"), "{command}");
    }
}

// `mcp-tools list | head -1`
#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_mcp-tools")).arg("list").stdout(writer).status();
    assert_eq!(status.expect("runs").code(), Some(0));
}

#[test]
fn a_write_whose_client_went_ends_before_the_process_does() {
    let home = tempfile::tempdir().expect("a directory");
    let (database, file) = (home.path().join("t.db"), home.path().join("c.toml"));
    let connection = rusqlite::Connection::open(&database).expect("opens");
    connection.execute_batch("CREATE TABLE t (n)").expect("runs");
    let catalogue = r#"
[[tool]]
name = "count"
description = "Counts for a while, and keeps the number."
read_only = false
[tool.sql]
shape = "row"
query = "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 4000000) INSERT INTO t SELECT COUNT(*) FROM counted"
"#;
    std::fs::write(&file, catalogue).expect("writes");
    let (file, url) = (file.display().to_string(), format!("sqlite:{}", database.display()));
    let mut server = start_in(home, &["--catalog", &file, "--database", &url], &[]);
    connection.busy_timeout(Duration::ZERO).expect("does not wait");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count"}}"#;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = UnixStream::connect(&server.socket).expect("a listening server");
    client.write_all(format!("{head}{body}").as_bytes()).expect("an open connection");
    // The write has begun once its transaction holds the database.
    let begun = Instant::now();
    while connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the write does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(client);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), Some(0));
    let count = connection.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(4_000_000));
    let log = server.log().concat();
    assert!(
        log.contains("\"tool\":\"count\",\"writes\":true") && log.contains("\"outcome\":\"ok\""),
        "{log}"
    );
}
