//! A running guard, as its clients, its scraper and its operator meet it.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use crate::{Client, GuardProcess, Message, Program, eventually, guard_command, post};

/// A running guard. It is killed when the test ends.
pub struct Guard {
    process: GuardProcess,
    binary: PathBuf,
    token: String,
    environment: Vec<(String, String)>,
    file: PathBuf,
    _directory: TempDir,
}

async fn start(binary: &Path, file: &Path, environment: &[(String, String)]) -> GuardProcess {
    let mut command = guard_command(binary, file);
    let program = Program::start_alone(command.envs(environment.iter().cloned())).await;
    GuardProcess::serving(program).await
}

impl Guard {
    /// Starts the guard of this configuration file, which is in `directory`.
    pub(crate) async fn start(
        binary: PathBuf,
        directory: TempDir,
        file: PathBuf,
        environment: Vec<(String, String)>,
        token: String,
    ) -> Guard {
        let process = start(&binary, &file, &environment).await;
        Guard { process, binary, token, environment, file, _directory: directory }
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.program.pid()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.file
    }

    /// Where the rollout's state is.
    pub fn state(&self) -> PathBuf {
        self.file.with_file_name("state")
    }

    /// Changes the configuration file: what stands for `old` becomes `new`.
    pub fn edit(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(&self.file).expect("the configuration");
        assert!(text.contains(old), "{old:?} is not in\n{text}");
        std::fs::write(&self.file, text.replacen(old, new, 1)).expect("a writable directory");
    }

    /// Replaces the named clients.
    pub fn set_tokens(&self, text: &str) {
        std::fs::write(self.file.with_file_name("tokens.toml"), text).expect("a writable directory");
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// SIGKILL, and another guard with the same configuration.
    pub async fn kill_and_start_again(&mut self) {
        self.process.program.kill();
        self.process = start(&self.binary, &self.file, &self.environment).await;
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        match self.process.listen.strip_prefix("unix:") {
            Some(path) => Client::unix(UnixStream::connect(path).await.expect("a listening guard")),
            None => Client::tcp(TcpStream::connect(&self.process.listen).await.expect("a listening guard")),
        }
    }

    /// Whether new connections are accepted.
    pub async fn accepts(&self) -> bool {
        match self.process.listen.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).await.is_ok(),
            None => TcpStream::connect(&self.process.listen).await.is_ok(),
        }
    }

    /// Posts a body on a connection of its own.
    pub async fn post(&self, body: &str) -> Message {
        self.post_with("", body).await
    }

    /// Posts a body with further header lines on a connection of its own.
    pub async fn post_with(&self, fields: &str, body: &str) -> Message {
        self.connect().await.exchange(post(&self.token, fields, body)).await
    }

    /// The value of a metric: the name with its labels as Prometheus writes them; 0 if there is no such line.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The whole page of metrics.
    pub async fn metrics(&self) -> String {
        let stream = TcpStream::connect(&self.process.metrics).await.expect("a metrics listener");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        Client::tcp(stream).exchange(request).await.text().to_owned()
    }

    /// Where clients connect.
    pub fn listen_address(&self) -> &str {
        &self.process.listen
    }

    /// Where the metrics are.
    pub fn metrics_address(&self) -> &str {
        &self.process.metrics
    }

    /// What the guard has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.process.program.log()
    }

    /// Waits until some line of the log contains this. What a process writes last arrives when it gets its turn.
    pub async fn logged(&self, text: &str) {
        let found = || std::future::ready(self.process.program.find_in_log(text).is_some());
        eventually(&format!("{text:?} in the log"), found).await;
    }

    /// The first request line of the log that `wanted` accepts.
    pub async fn log_line(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let find = || {
            let lines = self.log();
            lines
                .iter()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|line| line.get("request_id").is_some() && wanted(line))
        };
        eventually("a log line", || std::future::ready(find().is_some())).await;
        find().expect("found a moment ago")
    }

    pub fn signal(&self, signal: Signal) {
        self.process.program.signal(signal);
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the guard ends", || {
            status = self.process.program.exit_status();
            std::future::ready(status.is_some())
        })
        .await;
        status.expect("ended a moment ago")
    }
}
