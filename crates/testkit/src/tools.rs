//! A running tool server, and HTTP over its socket; for tests without a runtime.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::message::{self, Kind};
use crate::{Message, Program, TIMEOUT, eventually_blocking};

/// A running server; killed when dropped.
pub struct ToolServer {
    program: Program,
    pub home: TempDir,
    pub socket: PathBuf,
    /// How many lines of the log a wait has passed.
    passed: AtomicUsize,
}

impl ToolServer {
    /// Starts the program of `command` in a directory, with further arguments; a file in them is a whole path.
    pub fn start(
        mut command: Command,
        home: TempDir,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> ToolServer {
        let socket = home.path().join("t.sock");
        command.arg("serve").arg("--socket").arg(&socket).args(arguments).envs(env.iter().copied());
        let program = Program::start(&mut command);
        let server = ToolServer { program, home, socket, passed: AtomicUsize::new(0) };
        server.wait_for_log("\"event\":\"ready\"");
        server
    }

    /// The next log line that contains `what`.
    #[track_caller]
    pub fn wait_for_log(&self, what: &str) -> String {
        self.log_until(what).pop().expect("the line that was waited for")
    }

    /// Every log line up to the next one that contains `what`.
    #[track_caller]
    pub fn log_until(&self, what: &str) -> Vec<String> {
        let passed = self.passed.load(Ordering::SeqCst);
        let lines = eventually_blocking(&format!("{what:?} in the log"), || {
            let mut lines = self.program.log().split_off(passed);
            let at = lines.iter().position(|line| line.contains(what))?;
            lines.truncate(at + 1);
            Some(lines)
        });
        self.passed.store(passed + lines.len(), Ordering::SeqCst);
        lines
    }

    /// Every log line so far.
    pub fn log(&self) -> Vec<String> {
        self.program.log()
    }

    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.program.wait().code()
    }

    /// Sends one request on a connection of its own, and reads the response.
    pub fn http(&self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let mut head =
            format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let request = [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat();
        exchange(&self.socket, &request)
    }

    pub fn post(&self, body: &Value) -> Message {
        self.http("POST", &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// A JSON-RPC request of the older era; returns the whole message.
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.post(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).json()
    }

    /// A tool call of the older era; returns `result`.
    #[track_caller]
    pub fn call(&self, name: &str, arguments: Value) -> Value {
        let message = self.request("tools/call", json!({ "name": name, "arguments": arguments }));
        message.get("result").cloned().unwrap_or_else(|| panic!("{name}: {message}"))
    }
}

/// One request on a connection of its own, which the request asks to be closed.
pub fn exchange(socket: &Path, request: &[u8]) -> Message {
    let mut stream = UnixStream::connect(socket).expect("a listening server");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.write_all(request).expect("an open connection");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).expect("a response");
    let kind = if request.starts_with(b"HEAD ") { Kind::ResponseToHead } else { Kind::Response };
    message::parse_response(&response, kind).expect("a whole response")
}
