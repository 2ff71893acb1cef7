//! A backend that speaks MCP, and fails in the way that a test chooses.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::message::{self, Message};
use crate::ok;
use crate::program::SPAWNING;

/// The field that marks a copy of a client's request.
const COPY: &str = "x-mcp-shadow";

/// How a backend responds to calls. `initialize`, discover and, except in `FailsProbes`, the probes get good responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    /// Of a hundred calls, this many get JSON-RPC error -32603.
    InternalErrors(u64),
    /// Of a hundred `tools/call`, this many get `isError`.
    ToolErrors(u64),
    /// Calls get their response after this time.
    Delayed(Duration),
    /// Calls get no response.
    NeverResponds,
    /// Calls get a body that is not JSON-RPC.
    NotJsonRpc,
    /// Calls get 500 and an HTML page.
    Status500,
    /// Calls get bytes that are not HTTP.
    NotHttp,
    /// Connections are closed before a response.
    ClosesConnection,
    /// Connections are closed within a response.
    CutsResponse,
    /// Connections are closed behind a good response, without a word of it before.
    ClosesBehindResponse,
    /// No request gets a response, not even probes.
    FailsProbes,
}

/// A serving backend.
pub struct McpBackend {
    address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    modern: bool,
    tools: AtomicUsize,
    calls: AtomicU64,
    copies: AtomicU64,
    /// Connections that copies came over: so far, and open now.
    copy_connections: AtomicU64,
    copy_connections_open: AtomicU64,
    /// Milliseconds since the epoch at which a client's request last arrived.
    last: AtomicU64,
    executed: Mutex<HashSet<u64>>,
    fails_tool: AtomicBool,
    /// Results by method, or by `tools/call NAME`; the text `$n` in one stands for a number that grows.
    results: Mutex<HashMap<String, String>>,
    numbers: AtomicU64,
}

/// A backend on `path` that speaks both eras.
pub fn mcp_backend(path: &Path) -> McpBackend {
    McpBackend::start(path, true)
}

/// A backend on `path` that only knows `initialize`.
pub fn old_mcp_backend(path: &Path) -> McpBackend {
    McpBackend::start(path, false)
}

impl McpBackend {
    fn start(path: &Path, modern: bool) -> McpBackend {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a free path");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Healthy),
            modern,
            tools: AtomicUsize::new(3),
            calls: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            copy_connections: AtomicU64::new(0),
            copy_connections_open: AtomicU64::new(0),
            last: AtomicU64::new(0),
            executed: Mutex::default(),
            fails_tool: AtomicBool::new(false),
            results: Mutex::default(),
            numbers: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                connections.spawn(async move { shared.converse(stream).await });
            }
        });
        McpBackend { address: format!("unix:{}", path.display()), shared, task }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *self.shared.lock(&self.shared.behaviour) = behaviour;
    }

    /// How many tools it lists from now on.
    pub fn lists(&self, tools: usize) {
        self.shared.tools.store(tools, Ordering::SeqCst);
    }

    /// Whether the tool `check` answers `isError` from now on.
    pub fn check_fails(&self, fails: bool) {
        self.shared.fails_tool.store(fails, Ordering::SeqCst);
    }

    /// What a method, or `tools/call NAME`, is answered with from now on; `"$n"` in it is another number each time.
    pub fn answers(&self, question: &str, result: &Value) {
        self.shared.lock(&self.shared.results).insert(question.to_owned(), result.to_string());
    }

    /// Requests of clients so far.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Copies of clients' requests so far.
    pub fn copies(&self) -> u64 {
        self.shared.copies.load(Ordering::SeqCst)
    }

    /// Connections that copies came over: so far, and open now.
    pub fn copy_connections(&self) -> (u64, u64) {
        let all = self.shared.copy_connections.load(Ordering::SeqCst);
        (all, self.shared.copy_connections_open.load(Ordering::SeqCst))
    }

    /// When a client's request last arrived, in milliseconds since the epoch.
    pub fn last_call(&self) -> u64 {
        self.shared.last.load(Ordering::SeqCst)
    }

    /// Whether a `tools/call` with this id was executed here.
    pub fn executed(&self, id: u64) -> bool {
        self.shared.lock(&self.shared.executed).contains(&id)
    }

    /// Ends at once, as SIGKILL ends a process: listener and connections are closed, the path stays.
    pub async fn kill(mut self) -> ExecutedCalls {
        let _no_spawn = SPAWNING.lock().await;
        self.task.abort();
        let _ = (&mut self.task).await;
        ExecutedCalls(self.shared.clone())
    }
}

impl Drop for McpBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The calls that a stopped backend has executed.
pub struct ExecutedCalls(Arc<Shared>);

impl ExecutedCalls {
    pub fn executed(&self, id: u64) -> bool {
        self.0.lock(&self.0.executed).contains(&id)
    }
}

impl Shared {
    fn lock<'m, T>(&self, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn converse(self: Arc<Shared>, mut stream: tokio::net::UnixStream) {
        let (mut buffer, mut of_copies) = (Vec::new(), None);
        while let Ok(request) = message::read_message(&mut stream, &mut buffer).await {
            if of_copies.is_none() && request.field(COPY).is_some() {
                of_copies = Some(CopyConnection::open(&self));
            }
            let Some(answer) = self.answer(&request, &mut stream).await else { return };
            let is_written = stream.write_all(answer.as_bytes()).await.is_ok();
            if !is_written || *self.lock(&self.behaviour) == Behaviour::ClosesBehindResponse {
                return;
            }
        }
    }

    /// The answer's bytes; none to close the connection.
    async fn answer(&self, request: &Message, stream: &mut tokio::net::UnixStream) -> Option<String> {
        let body = request.json();
        let (method, id) = (body["method"].as_str().unwrap_or_default().to_owned(), body["id"].as_u64());
        let ours = request.field("user-agent").is_some_and(|agent| agent.starts_with("mcp-guard/"));
        let is_copy = request.field(COPY).is_some();
        let is_probe = ours && !is_copy;
        let mut behaviour = *self.lock(&self.behaviour);
        if behaviour == Behaviour::FailsProbes {
            std::future::pending::<()>().await;
        }
        let Some(id) = id else {
            return Some("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned());
        };
        let mut number = 0;
        if is_probe {
            behaviour = Behaviour::Healthy;
        } else {
            let count = if is_copy { &self.copies } else { &self.calls };
            number = count.fetch_add(1, Ordering::SeqCst);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            self.last
                .store(u64::try_from(now.as_millis()).expect("before the year 584942417"), Ordering::SeqCst);
        }
        let calls_tool = method == "tools/call";
        if calls_tool {
            self.lock(&self.executed).insert(id);
        }
        match behaviour {
            Behaviour::Healthy | Behaviour::ClosesBehindResponse => {}
            Behaviour::InternalErrors(percent) if spread(number) < percent => {
                let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "oops"}});
                return Some(ok(&error.to_string()));
            }
            Behaviour::ToolErrors(percent) if calls_tool && spread(number) < percent => {
                return Some(answer_with(id, json!({"content": [], "isError": true})));
            }
            Behaviour::InternalErrors(_) | Behaviour::ToolErrors(_) => {}
            Behaviour::Delayed(time) => tokio::time::sleep(time).await,
            Behaviour::NeverResponds | Behaviour::FailsProbes => std::future::pending().await,
            Behaviour::NotJsonRpc => return Some(ok("<html>It works!</html>")),
            Behaviour::Status500 => {
                let page = "<h1>Server Error (500)</h1>";
                let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html";
                return Some(format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len()));
            }
            Behaviour::NotHttp => return Some("\u{1}\u{2} 200 oh my\r\n\r\n".to_owned()),
            Behaviour::ClosesConnection => return None,
            Behaviour::CutsResponse => {
                let whole = self.good_answer(&method, id, &body)?;
                let _ = stream.write_all(&whole.as_bytes()[..whole.len() - 1]).await;
                return None;
            }
        }
        self.good_answer(&method, id, &body)
    }

    fn good_answer(&self, method: &str, id: u64, body: &Value) -> Option<String> {
        if let Some(result) = self.told(method, body) {
            return Some(answer_with(id, result));
        }
        let server = json!({"name": "swf-testbed", "version": "1"});
        let result = match method {
            "server/discover" if self.modern => json!({
                "supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": server},
            }),
            "server/discover" => {
                let error =
                    json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32600, "message": "Unsupported"}});
                let text = error.to_string();
                let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json";
                return Some(format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
            }
            "initialize" => json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server,
            }),
            "tools/list" => {
                let tools = self.tools.load(Ordering::SeqCst);
                let tool = |n: usize| json!({"name": format!("tool_{n}"), "inputSchema": {"type": "object"}});
                json!({"tools": (0..tools).map(tool).collect::<Vec<_>>()})
            }
            "tools/call" if body["params"]["name"] == "check" => {
                json!({"content": [], "isError": self.fails_tool.load(Ordering::SeqCst)})
            }
            _ => json!({"content": []}),
        };
        Some(answer_with(id, result))
    }
}

impl Shared {
    /// What the test has told it to answer.
    fn told(&self, method: &str, body: &Value) -> Option<Value> {
        let named = format!("{method} {}", body["params"]["name"].as_str().unwrap_or_default());
        let results = self.lock(&self.results);
        let text = results.get(&named).or_else(|| results.get(method))?;
        let number = self.numbers.fetch_add(1, Ordering::SeqCst).to_string();
        serde_json::from_str(&text.replace("\"$n\"", &number)).ok()
    }
}

/// A connection that copies come over, while it is open.
struct CopyConnection(Arc<Shared>);

impl CopyConnection {
    fn open(shared: &Arc<Shared>) -> CopyConnection {
        shared.copy_connections.fetch_add(1, Ordering::SeqCst);
        shared.copy_connections_open.fetch_add(1, Ordering::SeqCst);
        CopyConnection(shared.clone())
    }
}

impl Drop for CopyConnection {
    fn drop(&mut self) {
        self.0.copy_connections_open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Every number below a hundred once in a hundred calls, not in a row.
fn spread(number: u64) -> u64 {
    number * 37 % 100
}

fn answer_with(id: u64, result: Value) -> String {
    ok(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
}
