//! Probes against a scripted backend, the pulse, and the fingerprint.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::upstream::{Accept, UpstreamAuthorization};

/// What the scripted backend does, and the requests it got.
#[derive(Clone)]
struct Script {
    modern: bool,
    legacy: bool,
    /// It keeps sessions.
    sessions: bool,
    /// It responds with event streams.
    streams: bool,
    pages: Vec<Value>,
    /// Instead of a list.
    broken: Option<&'static str>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

/// A backend that does as `script` says at the time.
async fn scripted(script: Script) -> (Backend, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let shared = Arc::new(Mutex::new(script));
    let served = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&served)));
        }
    });
    let backend = Backend {
        address,
        tls: None,
        path: "/mcp".to_owned(),
        host: "localhost:80".to_owned(),
        accept: Accept::Both,
        authorization: UpstreamAuthorization::Strip,
        pool: 1,
        pool_idle: Duration::from_secs(1),
        strip_session: false,
        sessions: false,
        set_headers: Vec::new(),
        query: false,
        client_header: false,
    };
    (backend, shared)
}

/// One request and its response; the connection stays open until the client leaves.
async fn serve(mut stream: TcpStream, script: Shared) {
    let mut request = Vec::new();
    let answer = loop {
        if stream.read_buf(&mut request).await.is_ok_and(|read| read == 0) {
            return;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        if !body.is_null() || head.starts_with("DELETE ") {
            break answer(&mut script.lock().unwrap(), head, &body);
        }
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _until_it_leaves = stream.read_buf(&mut request).await;
}

fn answer(script: &mut Script, head: &str, body: &Value) -> String {
    let method = body["method"].as_str().unwrap_or("DELETE").to_owned();
    script.asked.push(method.clone());
    let (id, cursor) = (&body["id"], body["params"]["cursor"].as_str());
    let session = if script.sessions { "Mcp-Session-Id: s-1\r\n" } else { "" };
    let result = |result: Value| Some(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    let message = match method.as_str() {
        "server/discover" if script.modern => result(json!({"supportedVersions": ["2026-07-28"]})),
        "initialize" if script.legacy => result(json!({"protocolVersion": "2025-06-18"})),
        "tools/list" if script.broken.is_some() => script.broken.map(str::to_owned),
        "tools/list" => {
            let page = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let next = (page + 1 < script.pages.len()).then(|| (page + 1).to_string());
            result(json!({"tools": script.pages[page], "nextCursor": next}))
        }
        "DELETE" => {
            assert!(head.contains("mcp-session-id: s-1"), "{head}");
            Some(String::new())
        }
        "notifications/initialized" => Some(String::new()),
        _ => None,
    };
    let Some(message) = message else {
        return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned();
    };
    if script.streams && !message.is_empty() {
        return format!(
            "HTTP/1.1 200 OK\r\n{session}Content-Type: text/event-stream\r\n\r\ndata: {message}\n\n"
        );
    }
    let length = message.len();
    format!(
        "HTTP/1.1 200 OK\r\n{session}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{message}"
    )
}

fn tool(name: &str, argument: &str, described: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"days": {"type": argument}}});
    json!({"name": name, "description": described, "inputSchema": schema})
}

fn script(modern: bool, legacy: bool) -> Script {
    let pages = vec![json!([tool("a", "integer", "one"), tool("b", "string", "two")])];
    Script { modern, legacy, sessions: false, streams: false, pages, broken: None, asked: Vec::new() }
}

/// What a probe finds, when all is given back.
async fn probed(prober: &mut Prober) -> Result<ServerSurface, String> {
    let (found, done) = prober.probe().await;
    done.close().await;
    found
}

const TIMEOUT: Duration = Duration::from_secs(5);

/// Probes with one prober after each of these changes, and each time also with one that knows nothing: both must see the
/// same. Returns what was seen.
async fn followed(script: Script, changes: Vec<Vec<Value>>) -> Vec<ServerSurface> {
    let (backend, shared) = scripted(script).await;
    let mut prober = Prober::new(&backend, TIMEOUT, &Secrets::default());
    let mut seen = vec![probed(&mut prober).await.unwrap()];
    for pages in changes {
        shared.lock().unwrap().pages = pages;
        let surface = probed(&mut prober).await.unwrap();
        assert_eq!(
            Ok(&surface),
            probed(&mut Prober::new(&backend, TIMEOUT, &Secrets::default())).await.as_ref()
        );
        seen.push(surface);
    }
    seen
}

#[tokio::test]
async fn a_changed_list_is_noticed_by_the_next_probe() {
    for (modern, streams) in [(true, false), (false, false), (false, true)] {
        let script = Script { streams, sessions: streams, ..script(modern, true) };
        let same = script.pages.clone();
        let longer = vec![json!([tool("a", "integer", "one"), tool("b", "string", "two, in more words")])];
        // As many bytes as before.
        let retyped = vec![json!([tool("a", "boolean", "one"), tool("b", "string", "two")])];
        let renamed = vec![json!([tool("a", "boolean", "one"), tool("c", "string", "two")])];
        let fewer = vec![json!([tool("a", "boolean", "one")])];
        assert_eq!(same[0].to_string().len(), retyped[0].to_string().len());
        let changes = vec![same.clone(), longer, retyped.clone(), retyped, renamed, fewer, same];
        let seen = followed(script, changes).await;
        let prints: Vec<&str> = seen.iter().map(|surface| surface.fingerprint.as_str()).collect();
        assert_eq!([prints[1], prints[2], prints[7]], [prints[0]; 3], "what it was, and other words");
        assert_eq!(prints[3], prints[4]);
        let distinct: std::collections::HashSet<&str> = prints.iter().copied().collect();
        assert_eq!(distinct.len(), 4, "{prints:?}");
        let tools: Vec<usize> = seen.iter().map(|surface| surface.tools).collect();
        assert_eq!(tools, [2, 2, 2, 2, 2, 2, 1, 2]);
    }
}

#[tokio::test]
async fn a_change_on_any_page_is_noticed() {
    let page = |name, argument| json!([tool(name, argument, "x")]);
    let pages = |last| vec![page("a", "integer"), page("b", "string"), page("c", last)];
    let mut begin = script(true, true);
    begin.pages = pages("integer");
    let mut first = pages("boolean");
    first[0] = page("a", "boolean");
    let grown = [first.clone(), vec![page("d", "string")]].concat();
    let shrunk = first[..2].to_vec();
    let seen =
        followed(begin, vec![pages("integer"), pages("boolean"), first.clone(), grown, first, shrunk]).await;
    let prints: Vec<&str> = seen.iter().map(|surface| surface.fingerprint.as_str()).collect();
    assert_eq!((prints[0], prints[3]), (prints[1], prints[5]));
    let distinct: std::collections::HashSet<&str> = prints.iter().copied().collect();
    assert_eq!(distinct.len(), 5, "{prints:?}");
    assert_eq!(seen.iter().map(|surface| surface.tools).collect::<Vec<_>>(), [3, 3, 3, 3, 4, 3, 2]);
}

#[tokio::test]
async fn another_era_is_noticed_and_the_list_still_known() {
    let (backend, shared) = scripted(script(true, true)).await;
    let mut prober = Prober::new(&backend, TIMEOUT, &Secrets::default());
    let both = probed(&mut prober).await.unwrap();
    assert!(both.modern && both.legacy);
    shared.lock().unwrap().modern = false;
    assert!(probed(&mut prober).await.unwrap_err().starts_with("server/discover at "));
    assert_eq!(probed(&mut prober).await, Ok(ServerSurface { modern: false, ..both.clone() }));
    shared.lock().unwrap().modern = true;
    for _ in 0..BOTH_ERAS_EVERY {
        probed(&mut prober).await.unwrap();
    }
    assert_eq!(probed(&mut prober).await, Ok(both));
}

#[tokio::test]
async fn what_was_known_does_not_hide_a_broken_response() {
    let (backend, shared) = scripted(script(false, true)).await;
    let mut prober = Prober::new(&backend, TIMEOUT, &Secrets::default());
    let before = probed(&mut prober).await.unwrap();
    let other_id = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}"#;
    let error = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"boom"}}"#;
    for (broken, why) in [("<html>", "no JSON-RPC answer"), (other_id, "no JSON-RPC answer"), (error, "boom")]
    {
        shared.lock().unwrap().broken = Some(broken);
        for _ in 0..2 {
            let refusal = probed(&mut prober).await.unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
        }
        shared.lock().unwrap().broken = None;
        assert_eq!(probed(&mut prober).await.as_ref(), Ok(&before));
    }
}

// MCP 2025-06-18, Transports: clients that no longer need a session SHOULD send a DELETE with its id.
#[tokio::test]
async fn every_session_is_given_back() {
    let (backend, shared) = scripted(Script { sessions: true, ..script(false, true) }).await;
    let mut prober = Prober::new(&backend, TIMEOUT, &Secrets::default());
    let counted = |method: &str| shared.lock().unwrap().asked.iter().filter(|one| *one == method).count();
    for probes in 1..=3 {
        probed(&mut prober).await.unwrap();
        assert_eq!((counted("initialize"), counted("DELETE")), (probes, probes));
    }
    shared.lock().unwrap().broken = Some("<html>");
    probed(&mut prober).await.unwrap_err();
    assert_eq!((counted("initialize"), counted("DELETE")), (4, 4), "also where the probe failed");
}

fn pulse() -> HealthCounter {
    let second = Duration::from_secs(1);
    HealthCounter::new(
        &config::Health { interval: second * 5, timeout: second, rise: 2, fall: 3 },
        Health::Unknown,
    )
}

fn bad(why: &str) -> Result<(), String> {
    Err(why.to_owned())
}

// SPEC 11: "rise 2 / fall 3".
#[test]
fn two_good_probes_in_a_row_make_a_slot_healthy_and_three_bad_ones_unhealthy() {
    let mut pulse = pulse();
    assert_eq!(pulse.count(Ok(())), Health::Unknown);
    assert_eq!(pulse.count(bad("refused")), Health::Unknown);
    assert_eq!(pulse.count(Ok(())), Health::Unknown, "not in a row");
    assert_eq!(pulse.count(Ok(())), Health::Healthy);
    assert_eq!(pulse.count(bad("a")), Health::Healthy);
    assert_eq!(pulse.count(bad("b")), Health::Healthy);
    assert_eq!(pulse.count(Ok(())), Health::Healthy);
    for _ in 0..2 {
        assert_eq!(pulse.count(bad("c")), Health::Healthy);
    }
    assert_eq!(pulse.count(bad("d")), Health::Unhealthy("d".to_owned()));
    assert_eq!(pulse.count(bad("e")), Health::Unhealthy("e".to_owned()), "the latest reason");
    assert_eq!(pulse.count(Ok(())), Health::Unhealthy("e".to_owned()));
    assert_eq!(pulse.count(Ok(())), Health::Healthy);
}

#[test]
fn an_unsettled_slot_is_looked_at_more_often() {
    let (five, mut pulse) = (Duration::from_secs(5), pulse());
    assert_eq!(pulse.pause(five), UNSETTLED);
    pulse.count(Ok(()));
    pulse.count(Ok(()));
    assert_eq!(pulse.pause(five), five);
    pulse.count(bad("refused"));
    assert_eq!(pulse.pause(five), UNSETTLED);
    assert_eq!(pulse.pause(Duration::from_millis(50)), Duration::from_millis(50));
}

#[test]
fn the_fingerprint_is_of_names_and_arguments_and_of_nothing_else() {
    let tool = |name: &str, schema| {
        let declared = json!({"name": name, "description": name, "inputSchema": schema});
        Tool::read(declared.to_string().as_bytes()).unwrap()
    };
    let schema = || json!({"type": "object", "properties": {"days": {"type": "integer"}}});
    let print = |tools: &[Tool]| fingerprint(tools);
    let base = print(&[tool("a", schema()), tool("b", schema())]);
    assert_eq!(base, print(&[tool("b", schema()), tool("a", schema())]), "order does not matter");
    let described = json!({"type": "object", "title": "X", "properties": {"days": {"type": "integer", "description": "d"}}});
    assert_eq!(base, print(&[tool("a", described), tool("b", schema())]), "descriptions may drift");
    let retyped = json!({"type": "object", "properties": {"days": {"type": "string"}}});
    assert_ne!(base, print(&[tool("a", retyped), tool("b", schema())]));
    assert_ne!(base, print(&[tool("a", schema())]));
    assert_ne!(base, print(&[tool("a", schema()), tool("c", schema())]));
}
