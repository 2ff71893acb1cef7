//! Contract, section 7: "every shared bound (line, hold, body bytes, connections, scrapes) is fair between clients: nobody's
//! excess is another's refusal". One client takes what it can get, by each way there is; the others must not feel it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use mcp_testkit::{Backend, Client, Guard, backend, backend_at, eventually, measured, ok, post, result};

use crate::guard;
use crate::limits::{client, tool_call};

/// What the backend takes for a call: long beside what a busy machine adds by chance.
const SERVICE: Duration = Duration::from_millis(120);
/// Of each polite client, beside each way. What a busy machine adds by chance to half of them, it adds to the measure, too.
const CALLS: usize = 11;
const POLITE: [&str; 2] = ["polite", "kind"];

const LIMITS: &str = "[limits]\nin_flight = 8\nwaiting = 8\nheld = 8\nconnections = 64\nstreams = 64\nbody_bytes = 1_048_576\n\
    bodies_bytes = 4_194_304\n[[route]]\nname = \"feed\"\nprefix = \"/feed\"\nauth = \"bearer\"\naddress = \"ADDRESS\"\nmethods = [\"GET\"]\nin_flight = 16\n";

/// Calls take their time; the tool `stuck` is never answered, and `stream` and subscriptions stream for ever.
fn serve(backend: Backend) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let mut peer = backend.accept_any().await;
            connections.spawn(async move {
                while let Ok(request) = peer.try_request().await {
                    let text = String::from_utf8_lossy(&request.body).into_owned();
                    if text.contains("\"stream\"") || text.contains("listen") || request.start.contains("/stream")
                    {
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                        let mut lives = peer.try_send(head).await;
                        while lives {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            lives = peer.try_send("5\r\n: x\n\n\r\n").await;
                        }
                        return;
                    }
                    if text.contains("\"stuck\"") {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(SERVICE).await;
                    let answer = match request.try_id() {
                        Some(id) => ok(&result(id)),
                        None if request.start.starts_with("GET") => ok("{}"),
                        None => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    };
                    if !peer.try_send(answer).await {
                        return;
                    }
                }
            });
        }
    })
}

/// What the greedy client does on each of its connections, and whether it has done it so far.
struct Greed {
    guard: Arc<Guard>,
    begun: Arc<AtomicUsize>,
}

type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Greed {
    fn began(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends this and stays.
    async fn stays(self, bytes: Vec<u8>) {
        let mut connection = self.guard.connect().await;
        connection.try_send(bytes).await;
        self.began();
        // Until the guard ends it, and for ever then.
        while !connection.ended_within(Duration::from_secs(1)).await {}
        std::future::pending().await
    }

    /// Sends this again and again, whatever the answer.
    async fn floods(self, bytes: Vec<u8>) {
        loop {
            let mut connection = self.guard.connect().await;
            self.began();
            while connection.try_send(&bytes).await && connection.try_response().await.is_ok() {}
        }
    }
}

fn modern(method: &str) -> String {
    let meta = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    let fields = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n");
    post("greedy", &fields, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{meta}}}"#))
}

/// A call with this much in it.
fn large(token: &str, bytes: usize) -> String {
    let pad = "x".repeat(bytes);
    post(
        token,
        "",
        &format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","pad":"{pad}"}}}}"#
        ),
    )
}

/// A way to take what is there for all.
struct Way {
    name: &'static str,
    connections: usize,
    act: fn(Greed) -> Doing,
    /// What the others do meanwhile.
    polite: fn(&str) -> String,
}

fn call(token: &str) -> String {
    post(token, "", &tool_call(1, "echo"))
}

fn big_call(token: &str) -> String {
    large(token, 100_000)
}

fn feed(token: &str) -> String {
    format!("GET /feed/now HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

const WAYS: [Way; 12] =
    [
        Way {
            name: "places",
            connections: 40,
            act: |it| Box::pin(it.stays(post("greedy", "", &tool_call(1, "stuck")).into())),
            polite: call,
        },
        Way {
            name: "waiting line",
            connections: 40,
            act: |it| Box::pin(it.floods(call("greedy").into())),
            polite: call,
        },
        Way {
            name: "streams",
            connections: 40,
            act: |it| Box::pin(it.stays(post("greedy", "", &tool_call(1, "stream")).into())),
            polite: call,
        },
        Way {
            name: "subscriptions",
            connections: 40,
            act: |it| Box::pin(it.stays(modern("subscriptions/listen").into())),
            polite: call,
        },
        Way {
            name: "discover",
            connections: 40,
            act: |it| Box::pin(it.floods(modern("server/discover").into())),
            polite: call,
        },
        Way {
            name: "notifications",
            connections: 40,
            act: |it| {
                Box::pin(it.floods(
                    post("greedy", "", r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#).into(),
                ))
            },
            polite: call,
        },
        Way {
            name: "bodies",
            connections: 12,
            act: |it| {
                let mut body: Vec<u8> = large("greedy", 1_000_000).into();
                body.truncate(body.len() - 10);
                Box::pin(it.stays(body))
            },
            polite: big_call,
        },
        Way {
            name: "idle connections",
            connections: 90,
            act: |it| Box::pin(it.stays(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n".to_vec())),
            polite: call,
        },
        Way {
            name: "silent connections",
            connections: 90,
            act: |it| Box::pin(it.stays(Vec::new())),
            polite: call,
        },
        Way {
            name: "slow heads",
            connections: 90,
            act: |it| Box::pin(it.stays(b"POST /mcp HTTP/1.1\r\nHost: lo".to_vec())),
            polite: call,
        },
        Way {
            name: "slow bodies",
            connections: 90,
            act: |it| {
                let body: Vec<u8> = call("greedy").into();
                Box::pin(it.stays(body[..body.len() - 5].to_vec()))
            },
            polite: call,
        },
        Way {
            name: "streams of a route",
            connections: 30,
            act: |it| Box::pin(it.stays(feed("greedy").replace("/now", "/stream").into())),
            polite: feed,
        },
    ];

/// A guard, its backend, and clients of which one may be greedy.
struct Stand {
    guard: Arc<Guard>,
    serving: tokio::task::JoinHandle<()>,
}

async fn stand() -> Stand {
    let backend = backend().await;
    let limits = LIMITS.replace("ADDRESS", backend.address());
    let tokens = client("greedy", "") + &client("polite", "") + &client("kind", "");
    let guard = guard().tokens(&tokens).config(&limits).upstream(&backend).start().await;
    Stand { guard: Arc::new(guard), serving: serve(backend) }
}

/// What one call takes, on a connection of its own.
async fn time(guard: &Guard, request: &str, way: &str) -> Duration {
    let begun = Instant::now();
    let answer = guard.connect().await.exchange(request).await;
    let time = begun.elapsed();
    let text = answer.text();
    assert!(answer.status() == 200 && !text.contains("\"error\""), "{way}: {text}");
    time
}

/// The medians of what calls take through an undisturbed guard and through one beside a greedy client. Each call is made
/// through both at the same time, so that both have the same machine.
async fn medians(guards: [Arc<Guard>; 2], request: String, way: &'static str) -> [Duration; 2] {
    let [alone, beside] = &guards;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..CALLS {
        let pair = tokio::join!(time(alone, &request, way), time(beside, &request, way));
        times[0].push(pair.0);
        times[1].push(pair.1);
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[CALLS / 2]
    })
}

async fn is_fair(way: &Way) {
    let (undisturbed, disturbed) = (stand().await, stand().await);
    let begun = Arc::new(AtomicUsize::new(0));
    let mut greedy = JoinSet::new();
    for _ in 0..way.connections {
        greedy.spawn((way.act)(Greed { guard: disturbed.guard.clone(), begun: begun.clone() }));
    }
    eventually(way.name, || std::future::ready(begun.load(Ordering::Relaxed) >= way.connections)).await;
    let mut callers = JoinSet::new();
    for token in POLITE {
        let guards = [undisturbed.guard.clone(), disturbed.guard.clone()];
        callers.spawn(medians(guards, (way.polite)(token), way.name));
    }
    while let Some(medians) = callers.join_next().await {
        let [alone, beside] = medians.unwrap();
        measured(&format!("{}: {alone:?} alone, {beside:?} beside one that takes all it can get", way.name));
        assert!(beside < alone * 2, "{}: {alone:?} alone, {beside:?} beside a greedy client", way.name);
    }
    undisturbed.serving.abort();
    disturbed.serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_one_client_takes_the_others_are_served_in_twice_their_time() {
    for way in WAYS {
        is_fair(&way).await;
    }
}

// Field note M5: with 600 calls of one client under way, a call of another was refused at once instead of being held.
#[tokio::test]
async fn a_client_that_fills_the_hold_queue_makes_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let address = format!("unix:{}", path.display());
    let config = "[limits]\nheld = 8\n[timeouts]\nhold = \"20s\"";
    let tokens = client("greedy", "") + &client("polite", "");
    let guard = guard().tokens(&tokens).config(config).upstream(address.as_str()).start().await;
    let mut greedy = Vec::new();
    for _ in 0..20 {
        let mut connection = guard.connect().await;
        connection.send(call("greedy")).await;
        greedy.push(connection);
    }
    let held = || guard.metric(r#"mcp_guard_held{slot="blue"}"#);
    let refused = || guard.metric(r#"mcp_guard_denials_total{code="backend_refused"}"#);
    eventually("the line is full, and all have come", || async {
        held().await == 8.0 && refused().await == 12.0
    })
    .await;
    let mut polite: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let mut connection = guard.connect().await;
        connection.send(call("polite")).await;
        polite.push(connection);
    }
    let evicted = || guard.metric(r#"mcp_guard_denials_total{code="client_share"}"#);
    eventually("its latest calls make room", || async { evicted().await == 4.0 }).await;
    let _backend = backend_at(&path).serve(|_| ok(&result(1)));
    for connection in &mut polite {
        assert!(connection.response().await.json().get("result").is_some());
    }
    let mut told = std::collections::BTreeMap::new();
    for connection in &mut greedy {
        let answer = connection.response().await.json();
        let reason = answer["error"]["data"]["reason"].as_str().unwrap_or("served").to_owned();
        *told.entry(reason).or_insert(0) += 1;
    }
    assert_eq!(told["client_share"], 4, "{told:?}");
    assert_eq!((told["served"], told["backend_refused"]), (4, 12), "{told:?}");
}

// Field note L8: any local user could hold the 16 scrapes, and monitoring went blind.
#[tokio::test]
async fn scrapes_that_never_end_make_room_for_others() {
    let guard = guard().token("t").start().await;
    let mut silent = Vec::new();
    for number in 0..40 {
        let mut connection = Client::tcp(TcpStream::connect(guard.metrics_address()).await.unwrap());
        if number % 2 == 0 {
            connection.send("GET /metrics HT").await;
        }
        silent.push(connection);
    }
    let begun = Instant::now();
    for _ in 0..5 {
        assert!(guard.metrics().await.contains("mcp_guard_connections"));
    }
    // A scrape that finds no room waits for 10 s.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}
