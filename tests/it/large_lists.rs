//! Contract, section 6: what a backend sends costs bounded memory and time wherever it is read. A candidate answers with
//! lists, schemas and streams that swell in the reader; the guard's probe and gate and the parity command stay small, and
//! stable's clients notice nothing.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use mcp_testkit::{
    CommandOutput, Guard, Load, McpBackend, SPAWNING, eventually, in_time, mcp_backend, measured,
    read_message,
};

use crate::guard;

/// Above what the process takes while it has nothing to do.
const GROWTH_MAX_KIB: u64 = 64 << 10;
/// A rollback is an answer of the control task, however busy the readers are.
const ANSWERED_MAX: Duration = Duration::from_secs(5);

/// What a swelling backend answers to `tools/list`, by the id and the cursor of the question.
#[derive(Clone)]
enum Answer {
    /// A result.
    Result(Arc<dyn Fn(&Value) -> String + Send + Sync>),
    /// This head, and then this piece again and again.
    Endless(&'static str, &'static str),
}

fn fixed(result: String) -> Answer {
    Answer::Result(Arc::new(move |_| result.clone()))
}

/// Schemas that swell: a list of values named by many references.
fn bomb(references: usize, values: usize) -> String {
    let values: Vec<String> = (0..values).map(|value| format!("\"v{value}\"")).collect();
    let references: Vec<String> =
        (0..references).map(|n| format!("{{\"$ref\":\"#/$defs/b\",\"x-n\":{n}}}")).collect();
    format!(
        "{{\"$defs\":{{\"b\":{{\"enum\":[{}]}}}},\"type\":\"object\",\"properties\":{{\"p\":{{\"anyOf\":[{}]}}}}}}",
        values.join(","),
        references.join(",")
    )
}

fn list_of(schemas: &[String]) -> String {
    let tools: Vec<String> = schemas
        .iter()
        .enumerate()
        .map(|(n, schema)| format!("{{\"name\":\"tool_{n}\",\"inputSchema\":{schema}}}"))
        .collect();
    format!("{{\"tools\":[{}]}}", tools.join(","))
}

fn filled(piece: &str, bytes: usize) -> String {
    format!("[{}0]", piece.repeat(bytes / piece.len()))
}

/// A chain of definitions, each of which names the next one twice.
fn chain(length: usize) -> String {
    let link = |n: usize| {
        format!(
            "\"d{n}\":{{\"properties\":{{\"a\":{{\"$ref\":\"#/$defs/d{0}\"}},\"b\":{{\"$ref\":\"#/$defs/d{0}\"}}}}}}",
            n + 1
        )
    };
    let links: Vec<String> = (0..length).map(link).collect();
    format!(
        "{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{},\"d{length}\":{{\"$ref\":\"#/$defs/d0\"}}}}}}",
        links.join(",")
    )
}

/// The family: what was seen to take gigabytes, and its relatives.
fn family() -> Vec<(&'static str, Answer)> {
    const FULL: usize = 1_900 << 10;
    let one = |schema: String| fixed(list_of(&[schema]));
    let object = |key: &str, value: String| format!("{{\"type\":\"object\",\"{key}\":{value}}}");
    let pages = |cursor: fn(&Value) -> String| {
        Answer::Result(Arc::new(move |params: &Value| {
            format!("{{\"tools\":[{{\"name\":\"a\"}}],\"nextCursor\":\"{}\"}}", cursor(params))
        }))
    };
    vec![
        ("100 references to 5,000 values", one(bomb(100, 5_000))),
        ("1,000 references to 5,000 values", one(bomb(1_000, 5_000))),
        ("2,000 references to 10,000 values", one(bomb(2_000, 10_000))),
        ("20,000 references to 100,000 values", one(bomb(20_000, 100_000))),
        ("many schemas that swell", fixed(list_of(&vec![bomb(30, 300); 400]))),
        ("a chain of references that is a cycle", one(chain(60))),
        ("a deep schema", one(format!("{}{{}}{}", "{\"items\":".repeat(100_000), "}".repeat(100_000)))),
        (
            "a schema nested in lists",
            one(object("default", format!("{}{}", "[".repeat(900_000), "]".repeat(900_000)))),
        ),
        ("a wide enum of numbers", one(object("enum", filled("0,", FULL)))),
        ("a wide enum of objects", one(object("enum", filled("{\"\":0},", FULL)))),
        ("a default of empty lists", one(object("default", filled("[],", FULL)))),
        (
            "variants in variants",
            one(object("anyOf", filled("{\"anyOf\":[{\"type\":\"null\"},{\"enum\":[1]}]},", FULL))),
        ),
        (
            "a long list of empty tools",
            fixed(format!("{{\"tools\":{}}}", filled("{\"name\":\"\"},", FULL).replace(",0]", "]"))),
        ),
        ("long names", fixed(format!("{{\"tools\":[{{\"name\":\"{}\"}}]}}", "n".repeat(FULL)))),
        (
            "a list beside a tree",
            fixed(format!("{{\"tools\":[{{\"name\":\"a\"}}],\"x\":{}}}", filled("{\"\":0},", FULL))),
        ),
        (
            "endless pages",
            pages(|params| {
                let last = params["cursor"].as_str().and_then(|cursor| cursor.parse::<u64>().ok());
                (last.unwrap_or_default() + 1).to_string()
            }),
        ),
        ("cursors that grow", pages(|params| format!("{0}{0}x", params["cursor"].as_str().unwrap_or("x")))),
        ("an endless body", Answer::Endless("application/json", "[[[[{},{},{},")),
        ("an endless stream of comments", Answer::Endless("text/event-stream", ": ping\n\n")),
        (
            "an endless event",
            Answer::Endless("text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":[0,0,0,0,0\n"),
        ),
        (
            "endless events",
            Answer::Endless("text/event-stream", "data: {\"id\":[0,0,{},{}],\"x\":[[],[]]}\n\n"),
        ),
    ]
}

/// A backend whose list is the test's.
struct Swelling {
    list: Mutex<Answer>,
    listed: AtomicU64,
}

impl Swelling {
    fn start(path: &Path) -> Arc<Swelling> {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let plain = fixed("{\"tools\":[{\"name\":\"tool_0\"}]}".to_owned());
        let shared = Arc::new(Swelling { list: Mutex::new(plain), listed: AtomicU64::new(0) });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        shared
    }

    fn lists(&self, answer: Answer) {
        *self.list.lock().unwrap() = answer;
    }

    async fn serve(&self, mut stream: UnixStream) {
        let mut buffer = Vec::new();
        while let Ok(question) = read_message(&mut stream, &mut buffer).await {
            let body: Value = serde_json::from_slice(&question.body).unwrap_or_default();
            let id = &body["id"];
            let result = match body["method"].as_str().unwrap_or_default() {
                "server/discover" => {
                    json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}).to_string()
                }
                "initialize" => {
                    json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}).to_string()
                }
                "tools/list" => {
                    self.listed.fetch_add(1, Ordering::SeqCst);
                    let list = self.list.lock().unwrap().clone();
                    match list {
                        Answer::Result(result) => result(&body["params"]),
                        Answer::Endless(kind, piece) => {
                            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n");
                            let pieces = piece.repeat((64 << 10) / piece.len());
                            if stream.write_all(head.as_bytes()).await.is_err() {
                                return;
                            }
                            while stream.write_all(pieces.as_bytes()).await.is_ok() {}
                            return;
                        }
                    }
                }
                _ => "{}".to_owned(),
            };
            let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all(head.as_bytes()).await.is_err()
                || stream.write_all(body.as_bytes()).await.is_err()
            {
                return;
            }
        }
    }
}

/// The most memory that a process has ever taken, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Types a command and says how much memory it took at most.
async fn typed(words: &[&str]) -> (CommandOutput, u64) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-guard"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let starting = SPAWNING.lock().await;
    let child = command.spawn().unwrap();
    drop(starting);
    let (pid, highest) = (child.id().unwrap(), AtomicU64::new(0));
    let watching = async {
        loop {
            highest.fetch_max(peak(pid).unwrap_or_default(), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let output = tokio::select! {
        output = child.wait_with_output() => output.unwrap(),
        never = watching => never,
    };
    let typed = CommandOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    (typed, highest.load(Ordering::SeqCst))
}

const OFTEN: &str = "[health]\ninterval = \"1s\"\ntimeout = \"1s\"\nrise = 1\nfall = 1\n";
const LONG: &str = "[triggers.protocol]\naction = \"off\"\n[triggers.candidate_health]\naction = \"off\"\n\
                    [[step]]\nstage = \"dual_protocol\"\nhold = \"1h\"\n";

async fn stage(folder: &Path) -> (McpBackend, Arc<Swelling>, Arc<Guard>) {
    let (blue, green) = (mcp_backend(&folder.join("blue")), Swelling::start(&folder.join("green")));
    let address = format!("unix:{}", folder.join("green").display());
    let started = guard().token("t").upstream(blue.address()).rollout(address.as_str(), LONG).config(OFTEN);
    let guard = started.start().await;
    guard.both_healthy().await;
    (blue, green, Arc::new(guard))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_of_a_swelling_list_takes_bounded_memory_and_stable_notices_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_blue, green, guard) = stage(folder.path()).await;
    guard.command_ok("rollout start --force").await;
    let load = Load::start(&guard, 1);
    eventually("some calls", || std::future::ready(load.made() > 200)).await;
    let idle = peak(guard.pid()).unwrap();
    for (name, answer) in family() {
        green.lists(answer);
        let before = green.listed.load(Ordering::SeqCst);
        // The second probe begins when the first one has come to its end.
        eventually(name, || std::future::ready(green.listed.load(Ordering::SeqCst) >= before + 2)).await;
        let asked = Instant::now();
        guard.command_ok("rollout status").await;
        assert!(asked.elapsed() < ANSWERED_MAX, "{name}: {:?}", asked.elapsed());
        let grown = peak(guard.pid()).unwrap() - idle;
        assert!(grown < GROWTH_MAX_KIB, "{name}: {grown} KiB above {idle}");
    }
    let asked = Instant::now();
    guard.command_ok("rollout rollback").await;
    assert!(asked.elapsed() < ANSWERED_MAX, "{:?}", asked.elapsed());
    let grown = peak(guard.pid()).unwrap() - idle;
    let (made, told) = load.stop().await;
    measured(&format!("probes of swelling lists: {grown} KiB above {idle} KiB; {made} calls beside them"));
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_before_a_swelling_candidate_takes_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (_blue, green, guard) = stage(folder.path()).await;
    let load = Load::start(&guard, 1);
    eventually("some calls", || std::future::ready(load.made() > 200)).await;
    let idle = peak(guard.pid()).unwrap();
    for (name, answer) in family() {
        green.lists(answer);
        let refused = in_time(name, guard.command("rollout start")).await;
        assert_eq!(refused.code, 1, "{name}: {refused:?}");
        let grown = peak(guard.pid()).unwrap() - idle;
        assert!(grown < GROWTH_MAX_KIB, "{name}: {grown} KiB above {idle}");
    }
    let grown = peak(guard.pid()).unwrap() - idle;
    let (made, told) = load.stop().await;
    measured(&format!("gates before swelling lists: {grown} KiB above {idle} KiB; {made} calls beside them"));
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parity_command_takes_bounded_memory_whichever_side_swells() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, swelling) =
        (mcp_backend(&folder.path().join("blue")), Swelling::start(&folder.path().join("green")));
    let (plain, swells) = (blue.address(), format!("unix:{}", folder.path().join("green").display()));
    let parity = |live: &str, candidate: &str| {
        let words =
            ["parity", "--live-url", live, "--candidate-url", candidate, "--timeout", "2", "--samples", "1"];
        words.map(str::to_owned)
    };
    let run = async |words: [String; 9]| typed(&words.each_ref().map(String::as_str)).await;
    let (fine, idle) = run(parity(plain, plain)).await;
    assert_eq!(fine.code, 0, "{fine:?}");
    let mut highest = 0;
    for (name, answer) in family() {
        swelling.lists(answer);
        for (live, candidate) in [(plain, swells.as_str()), (swells.as_str(), plain)] {
            let (ended, took) = in_time(name, run(parity(live, candidate))).await;
            assert!([1, 2].contains(&ended.code), "{name}: {ended:?}");
            assert!(ended.stdout.len() < 4 << 20, "{name}: {} bytes", ended.stdout.len());
            highest = highest.max(took.saturating_sub(idle));
            assert!(took < idle + GROWTH_MAX_KIB, "{name}: {took} KiB, {idle} without");
        }
    }
    measured(&format!("parity with swelling lists: {highest} KiB above {idle} KiB"));
}
