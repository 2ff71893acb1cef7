//! Starts `mcp-tools` in a directory of its own and speaks to it. Must not judge answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// The program with nothing of the caller's environment that could change it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-tools"));
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("mcp-tools runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) home: TempDir,
    pub(crate) socket: PathBuf,
    log: Mutex<Receiver<String>>,
}

/// What an HTTP request was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

impl Server {
    /// Starts with further arguments; files in them are relative to nothing, so pass whole paths.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        Server::start_in(tempfile::tempdir().expect("a directory"), arguments, &[])
    }

    pub(crate) fn start_in(home: TempDir, arguments: &[&str], env: &[(&str, &str)]) -> Server {
        let socket = home.path().join("t.sock");
        let mut command = program();
        command.arg("serve").arg("--socket").arg(&socket).args(arguments).envs(env.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("mcp-tools starts");
        let stderr = child.stderr.take().expect("piped");
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let server = Server { child, home, socket, log: Mutex::new(log) };
        server.wait_for_log("\"event\":\"ready\"");
        server
    }

    /// The next log line that contains `what`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, what: &str) -> String {
        self.log_until(what).pop().expect("the line that was waited for")
    }

    /// Every log line up to the next one that contains `what`.
    #[track_caller]
    pub(crate) fn log_until(&self, what: &str) -> Vec<String> {
        let log = self.log.lock().expect("no waiter failed");
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match log.recv_timeout(left) {
                Ok(line) => seen.push(line),
                Err(_) => panic!("no log line with {what:?}; seen: {seen:#?}"),
            }
            if seen.last().is_some_and(|line| line.contains(what)) {
                return seen;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end of the process and returns its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("mcp-tools did not end in time");
    }

    /// Sends `head` (without the final empty line and lengths) and `body`, reads one answer.
    pub(crate) fn http(&self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head =
            format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let request = [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat();
        exchange(&self.socket, &request)
    }

    pub(crate) fn post(&self, body: &Value) -> Reply {
        self.http("POST", &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// A JSON-RPC call of the older era; returns the whole message.
    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        self.post(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).json()
    }

    /// A tool call of the older era; returns `result`.
    #[track_caller]
    pub(crate) fn call(&self, name: &str, arguments: Value) -> Value {
        let message = self.ask("tools/call", json!({ "name": name, "arguments": arguments }));
        message.get("result").cloned().unwrap_or_else(|| panic!("{name}: {message}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own.
pub(crate) fn exchange(socket: &Path, request: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(socket).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request).expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("reads");
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
