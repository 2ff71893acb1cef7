//! Any bytes as a client's connection to a whole guard with a backend behind it, and any bytes as what the backend says.
//!
//! The guard is the real one without its listener; both ends of the connection are judged by readers of their own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_guard::fuzzing::Connections;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

use super::exchange::{Answer, answers, read_request};

/// Between what the client sends and what the backend says. Without it the backend answers well.
const BACKEND_SAYS: &[u8] = b"\n<<<\n";
const TOKEN: &str = "T0ken-of-the-fuzz-target";
/// Longer than any deadline of the configuration below.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}    GET /health HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /swf-monitor/mcp/ HTTP/1.1\r\nHost: localhost:80\r\nAuthorization: bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nCookie: a=b\r\n\r\n1a;x=y\r\n{\"jsonrpc\":\"2.0\",\"id\":\"a\",\r\n1B\r\n\"method\":\"tools/call\",\"para\r\n16\r\nms\":{\"name\":\"tool_1\"}}\r\n0\r\nX-T: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: t\r\nContent-Length: 139\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"t\",\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}}      ",
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}POST /mcp HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\nContent-Length: 3\r\n\r\nabcOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 46\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}\n<<<\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\nServer: x\r\nSet-Cookie: a\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}\n<<<\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}   \n\n\r\n0\r\n\r\n",
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer T0ken-of-the-fuzz-target\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n<<<\nHTTP/1.0 500 Oops\r\nContent-Type: text/html\r\n\r\n<h1>Server Error</h1>",
];

/// What the backend is told to do, and what it has heard.
#[derive(Default)]
struct Script {
    says: Option<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

struct World {
    runtime: Runtime,
    guard: Connections,
    script: Shared,
    socket: PathBuf,
}

thread_local! {
    static WORLD: World = World::start();
}

/// However the client speaks: what the backend hears is one plain request each, none without a token; what the client
/// hears is a sequence of whole answers of HTTP, cut only where the backend's was.
pub fn target(data: &[u8]) {
    hold(data);
}

/// The target, and how many calls the backend has heard.
pub fn hold(data: &[u8]) -> usize {
    let at = data.windows(BACKEND_SAYS.len()).position(|window| window == BACKEND_SAYS);
    let (sent, says) = match at {
        Some(at) => (&data[..at], Some(data[at + BACKEND_SAYS.len()..].to_vec())),
        None => (data, None),
    };
    let misbehaves = says.is_some();
    let (heard, transcript) = WORLD.with(|world| world.converse(sent, says));
    let authorized = sent.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
    assert!(authorized || heard.is_empty(), "a call without a token");
    let posts = sent.windows(5).filter(|window| window == b"POST ").count();
    // What changes nothing may be asked again where the first answer never came.
    assert!(heard.len() <= if misbehaves { 3 * posts } else { posts }, "{} of {posts} calls", heard.len());
    // An answer to HEAD declares a body that is not there: the reader below would wait for it.
    if sent.windows(4).any(|window| window == b"HEAD") {
        return heard.len();
    }
    let (answers, rest) = answers(&transcript);
    assert!(rest.is_empty() || misbehaves, "an answer of {:?} is cut", rest.escape_ascii().to_string());
    check(&answers);
    heard.len()
}

fn check(answers: &[Answer]) {
    for (at, answer) in answers.iter().enumerate() {
        if answer.status == 100 {
            continue;
        }
        assert!(answer.is_last || !answer.closes || at + 1 == answers.len(), "an answer behind the last one");
        assert_eq!(answer.fields("x-request-id"), 1, "{}", answer.head);
        let unwanted = ["server", "set-cookie", "proxy-authenticate", "trailer", "upgrade", "keep-alive"];
        assert!(unwanted.iter().all(|name| answer.fields(name) == 0), "{}", answer.head);
    }
}

impl World {
    fn start() -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let name = format!("mcp-guard-fuzz-{}-{:?}.sock", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        let _ = std::fs::remove_file(&path);
        let script = Shared::default();
        let listening = script.clone();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).expect("a place for a socket");
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, listening.clone()));
                }
            });
        });
        let config = format!(
            "[slots.blue]\naddress = \"unix:{}\"\n[timeouts]\nhold = \"100ms\"\nwaiting = \"100ms\"\n",
            path.display()
        );
        let guard =
            runtime.block_on(async { Connections::new(&config, TOKEN) }).expect("a valid configuration");
        World { runtime, guard, script, socket: path }
    }

    /// One connection of a client, from its first byte to its end.
    fn converse(&self, sent: &[u8], says: Option<Vec<u8>>) -> (Vec<Vec<u8>>, Vec<u8>) {
        *lock(&self.script) = Script { says, ..Script::default() };
        // In one piece, or in many.
        let step = [sent.len().max(1), 7, 1, 64][sent.len() % 4];
        let transcript = self.runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(1 << 20);
            let client = async {
                for piece in sent.chunks(step) {
                    if near.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                let mut transcript = Vec::new();
                // To a modern call, the end of the request's stream is its cancellation: wait for the answer first.
                if sent.windows(10).any(|window| window == b"2026-07-28") {
                    let answer = near.read_buf(&mut transcript);
                    let _ = tokio::time::timeout(Duration::from_millis(2), answer).await;
                }
                let _ = near.shutdown().await;
                let _ = near.read_to_end(&mut transcript).await;
                transcript
            };
            let both = async {
                let transcript = tokio::join!(self.guard.serve(far), client).1;
                self.settle().await;
                transcript
            };
            tokio::time::timeout(PATIENCE, both).await.expect("the connection ends")
        });
        let script = std::mem::take(&mut *lock(&self.script));
        assert!(script.wrong.is_empty(), "the backend heard {:?}", script.wrong);
        (script.heard, transcript)
    }
}

impl World {
    /// Returns when the backend has read whatever was written to it before: a cancelled call leaves bytes on their way.
    async fn settle(&self) {
        let Ok(mut stream) = UnixStream::connect(&self.socket).await else { return };
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

async fn serve(mut stream: UnixStream, script: Shared) {
    let mut buffer = Vec::new();
    loop {
        let request = match read_request(&mut stream, &mut buffer).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(wrong) => {
                lock(&script).wrong.push(wrong);
                return;
            }
        };
        let (says, answer) = {
            let mut script = lock(&script);
            let answer = good_answer(&request);
            script.heard.push(request);
            (script.says.clone(), answer)
        };
        let kept = says.is_none();
        if stream.write_all(&says.unwrap_or(answer)).await.is_err() || !kept {
            return;
        }
    }
}

fn good_answer(body: &[u8]) -> Vec<u8> {
    let call: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(id) = call.get("id") else {
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    let body = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: x\r\nSet-Cookie: a=b";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn lock(script: &Shared) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}
