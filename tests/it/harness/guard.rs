//! The guard as operators run it: the binary, a configuration file, an environment.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use super::backend::Serving;
use super::{Backend, Client, Message, eventually, post};

/// Held while a process is started: between fork and exec the child has a copy of every socket, and what a test closes
/// then is not closed yet. Who needs a socket to be closed at once holds it, too.
pub(crate) static STARTING: Mutex<()> = Mutex::const_new(());

/// A guard that is being described.
pub(crate) struct Builder {
    token: Option<String>,
    slot: String,
    slot_keys: String,
    tables: String,
    listen: Option<String>,
    listen_keys: String,
    environment: Vec<(String, String)>,
    green: Option<String>,
    plan: Option<String>,
    tokens: Option<String>,
    has_admin: bool,
}

/// Describes a guard; see the methods for what differs from the defaults.
pub(crate) fn guard() -> Builder {
    Builder {
        token: None,
        slot: "unix:/nonexistent/backend.sock".to_owned(),
        slot_keys: String::new(),
        tables: String::new(),
        listen: None,
        listen_keys: String::new(),
        environment: Vec::new(),
        green: None,
        plan: None,
        tokens: None,
        has_admin: false,
    }
}

/// What a slot can point at.
pub(crate) trait Upstream {
    fn address(&self) -> &str;
}

impl Upstream for Backend {
    fn address(&self) -> &str {
        Backend::address(self)
    }
}

impl Upstream for Serving {
    fn address(&self) -> &str {
        Serving::address(self)
    }
}

impl Upstream for str {
    fn address(&self) -> &str {
        self
    }
}

impl Builder {
    /// The token of the client `default`.
    pub(crate) fn token(mut self, token: &str) -> Builder {
        self.token = Some(token.to_owned());
        self
    }

    /// Where the slot blue points.
    pub(crate) fn upstream(mut self, upstream: &(impl Upstream + ?Sized)) -> Builder {
        upstream.address().clone_into(&mut self.slot);
        self
    }

    /// A second slot, an operator's socket, a state, and this plan for rollouts.
    pub(crate) fn rollout(mut self, green: &(impl Upstream + ?Sized), plan: &str) -> Builder {
        self.green = Some(green.address().to_owned());
        self.plan = Some(plan.to_owned());
        self
    }

    /// Named clients.
    pub(crate) fn tokens(mut self, text: &str) -> Builder {
        self.tokens = Some(text.to_owned());
        self
    }

    /// An operator's socket, and a state.
    pub(crate) fn admin(mut self) -> Builder {
        self.has_admin = true;
        self
    }

    /// A line of `[slots.blue]`.
    pub(crate) fn slot(mut self, line: &str) -> Builder {
        let _ = writeln!(self.slot_keys, "{line}");
        self
    }

    /// Further tables of the configuration.
    pub(crate) fn config(mut self, tables: &str) -> Builder {
        let _ = writeln!(self.tables, "{tables}");
        self
    }

    /// Listens on a TCP port of the system's choice instead of a Unix socket.
    pub(crate) fn on_tcp(mut self) -> Builder {
        self.listen = Some("127.0.0.1:0".to_owned());
        self
    }

    /// A line of `[listen]`.
    pub(crate) fn listen(mut self, line: &str) -> Builder {
        let _ = writeln!(self.listen_keys, "{line}");
        self
    }

    /// A variable of the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Builder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the guard and returns when it serves.
    pub(crate) async fn start(self) -> Guard {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("g.sock");
        let listen = self.listen.unwrap_or_else(|| format!("unix:{}", socket.display()));
        let with_admin = "admin = \"a.sock\"\nstate = \"state\"";
        let (mut admin, mut green) =
            (if self.has_admin { with_admin } else { "admin = \"off\"" }, String::new());
        let mut auth = "";
        if let Some(tokens) = &self.tokens {
            std::fs::write(directory.path().join("tokens.toml"), tokens).expect("a writable directory");
            auth = "[auth]\ntokens_file = \"tokens.toml\"\n";
        }
        if let (Some(address), Some(plan)) = (&self.green, &self.plan) {
            std::fs::write(directory.path().join("plan.toml"), plan).expect("a writable directory");
            admin = with_admin;
            green = format!("[slots.green]\naddress = \"{address}\"\n[rollout]\nplan = \"plan.toml\"\n");
        }
        // A scripted backend expects the calls of its test and no others.
        let health = if self.tables.contains("[health]") { "" } else { "[health]\ninterval = \"1h\"\n" };
        let config = format!(
            "[listen]\naddress = \"{listen}\"\nmetrics = \"127.0.0.1:0\"\n{admin}\n{}\n\
             [slots.blue]\naddress = \"{}\"\n{}\n{green}{health}{auth}{}",
            self.listen_keys, self.slot, self.slot_keys, self.tables
        );
        let file = directory.path().join("guard.toml");
        std::fs::write(&file, config).expect("a writable directory");
        let mut environment = self.environment;
        environment.extend(self.token.iter().map(|token| ("MCP_BEARER_TOKEN".to_owned(), token.clone())));
        let (child, log) = spawn(&file, &environment).await;
        let mut guard = Guard {
            child,
            log,
            listen: String::new(),
            metrics: String::new(),
            token: self.token.unwrap_or_default(),
            environment,
            file,
            _directory: directory,
        };
        guard.await_ready().await;
        guard
    }
}

async fn spawn(file: &Path, environment: &[(String, String)]) -> (Child, Log) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-guard"));
    command.arg("run").arg("--config").arg(file).stdin(Stdio::null()).stderr(Stdio::piped());
    command.env_clear().envs(environment.iter().cloned());
    let starting = STARTING.lock().await;
    let mut child = command.spawn().expect("the guard's binary");
    drop(starting);
    let log = Log::default();
    let lines = BufReader::new(child.stderr.take().expect("piped"));
    let writer = log.clone();
    std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| writer.push(line)));
    (child, log)
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        self.0.lock().expect("no panic while held").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic while held").clone()
    }
}

/// A running guard. It is killed when the test ends.
pub(crate) struct Guard {
    child: Child,
    log: Log,
    listen: String,
    metrics: String,
    token: String,
    environment: Vec<(String, String)>,
    file: PathBuf,
    _directory: TempDir,
}

impl Guard {
    async fn await_ready(&mut self) {
        let log = self.log.clone();
        let found = |lines: &[String]| lines.iter().find(|line| line.contains("serving on ")).cloned();
        eventually("the guard serves", || {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            assert!(!ended, "the guard ended at once:\n{}", log.lines().join("\n"));
            std::future::ready(found(&log.lines()).is_some())
        })
        .await;
        let line = found(&self.log.lines()).unwrap_or_default();
        let after = |mark: &str| {
            let text = line.split(mark).nth(1).unwrap_or_default();
            text.split([',', '"', ' ']).next().unwrap_or_default().to_owned()
        };
        self.listen = after("serving on ");
        self.metrics = after("metrics on ");
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.file
    }

    /// Where the rollout's state is.
    pub(crate) fn state(&self) -> PathBuf {
        self.file.with_file_name("state")
    }

    /// Changes the configuration file: what stands for `old` becomes `new`.
    pub(crate) fn edit(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(&self.file).expect("the configuration");
        assert!(text.contains(old), "{old:?} is not in\n{text}");
        std::fs::write(&self.file, text.replacen(old, new, 1)).expect("a writable directory");
    }

    /// Replaces the named clients.
    pub(crate) fn set_tokens(&self, text: &str) {
        std::fs::write(self.file.with_file_name("tokens.toml"), text).expect("a writable directory");
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// SIGKILL, and another guard with the same configuration.
    pub(crate) async fn kill_and_start_again(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
        (self.child, self.log) = spawn(&self.file, &self.environment).await;
        self.await_ready().await;
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Client {
        match self.listen.strip_prefix("unix:") {
            Some(path) => Client::unix(UnixStream::connect(path).await.expect("a listening guard")),
            None => Client::tcp(TcpStream::connect(&self.listen).await.expect("a listening guard")),
        }
    }

    /// Whether new connections are accepted.
    pub(crate) async fn accepts(&self) -> bool {
        match self.listen.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).await.is_ok(),
            None => TcpStream::connect(&self.listen).await.is_ok(),
        }
    }

    /// Posts a body on a connection of its own.
    pub(crate) async fn post(&self, body: &str) -> Message {
        self.post_with("", body).await
    }

    /// Posts a body with further header lines on a connection of its own.
    pub(crate) async fn post_with(&self, fields: &str, body: &str) -> Message {
        self.connect().await.ask(post(&self.token, fields, body)).await
    }

    /// The value of a metric: the name with its labels as Prometheus writes them; 0 if there is no such line.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The whole page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        let stream = TcpStream::connect(&self.metrics).await.expect("a metrics listener");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        Client::tcp(stream).ask(request).await.text().to_owned()
    }

    /// Where the metrics are.
    pub(crate) fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// What the guard has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until some line of the log contains this. What a process writes last arrives when it gets its turn.
    pub(crate) async fn logged(&self, text: &str) {
        let found = || std::future::ready(self.log.lines().iter().any(|line| line.contains(text)));
        eventually(&format!("{text:?} in the log"), found).await;
    }

    /// The first request line of the log that `wanted` accepts.
    pub(crate) async fn log_line(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let find = || {
            let lines = self.log.lines();
            lines
                .iter()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|line| line.get("request_id").is_some() && wanted(line))
        };
        eventually("a log line", || std::future::ready(find().is_some())).await;
        find().expect("found a moment ago")
    }

    /// Sends a signal by its number.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a running guard");
    }

    /// Waits for the process to end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the guard ends", || {
            status = self.child.try_wait().expect("a child of ours");
            std::future::ready(status.is_some())
        })
        .await;
        status.expect("ended a moment ago")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the guard's log ---\n{}", self.log.lines().join("\n"));
        }
    }
}
