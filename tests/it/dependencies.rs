//! Contract, sections 11 and 21: dependencies are checked at their own interval, and shown in `/ready`, status, metrics, doctor, log.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use mcp_testkit::{Guard, Message, backend, closed_address, eventually, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};

const READY: &str = "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n";
/// For checks whose other end is this process, which a busy machine may stop for a while.
const PATIENT: &str = "interval = \"2s\"\ntimeout = \"2s\"\nrise = 1\nfall = 1\n";
const FAST: &str = "interval = \"100ms\"\ntimeout = \"100ms\"\nrise = 1\nfall = 1\n";

async fn ready(guard: &Guard) -> Message {
    guard.connect().await.exchange(READY).await
}

/// Waits until `/ready` has this HTTP status and this word for its status; returns its checks.
async fn becomes(guard: &Guard, http: u16, status: &str) -> Value {
    let is_there = || async {
        let response = ready(guard).await;
        response.status() == http && response.json()["status"] == status
    };
    eventually(&format!("/ready says {status}"), is_there).await;
    ready(guard).await.json()["checks"].clone()
}

/// Waits until `/ready` has this word for this dependency.
async fn shows(guard: &Guard, name: &str, word: &str) {
    let is_there = || async { ready(guard).await.json()["checks"][name] == word };
    eventually(&format!("{name} is {word}"), is_there).await;
}

async fn dependencies(guard: &Guard) -> Vec<Value> {
    let status = guard.command_ok("status --json").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    status["dependencies"].as_array().unwrap().clone()
}

fn table(name: &str, lines: &str) -> String {
    format!("[[dependency]]\nname = \"{name}\"\n{FAST}{lines}\n")
}

fn tool_table(lines: &str) -> String {
    table("database", &format!("tool = {{ name = \"check\" }}{lines}")).replace(FAST, PATIENT)
}

#[tokio::test]
async fn a_required_dependency_makes_the_guard_unready_and_another_one_degraded() {
    let backend = backend().await;
    let (database, cache) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (at, cache_at) = (database.local_addr().unwrap(), cache.local_addr().unwrap());
    let tables = table("database", &format!("tcp = {{ address = \"{at}\" }}\nrequired = true"))
        + &table("cache", &format!("tcp = {{ address = \"{cache_at}\" }}"));
    let guard = guard().token("t").upstream(&backend).admin().config(&tables).start().await;

    shows(&guard, "database", "ok").await;
    shows(&guard, "cache", "ok").await;
    let checks = becomes(&guard, 200, "ok").await;
    let own = json!({"listening": "ok", "tokens": "ok", "backend": "ok", "database": "ok", "cache": "ok"});
    assert_eq!(checks, own);
    let health = guard.connect().await.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await;

    drop(cache);
    assert_eq!(becomes(&guard, 200, "degraded").await["cache"], "failed");
    drop(database);
    assert_eq!(becomes(&guard, 503, "unready").await["database"], "failed");
    // Strangers read words alone.
    let body = ready(&guard).await.text().to_owned();
    assert!(!body.contains("refused") && !body.contains(&at.to_string()), "{body}");
    let up = |name: &str, required: bool| {
        format!("mcp_guard_dependency_up{{dependency=\"{name}\",required=\"{required}\",slot=\"none\"}}")
    };
    assert_eq!(guard.metric(&up("database", true)).await, 0.0);
    assert!(guard.metrics().await.contains(&up("cache", false)));
    guard.logged("dependency database: down (required): cannot connect").await;

    let found = dependencies(&guard).await;
    assert_eq!((&found[0]["name"], &found[0]["state"]), (&"database".into(), &"down".into()));
    assert!(found[0]["reason"].as_str().unwrap().contains("Connection refused"), "{found:?}");
    let shown = guard.command_ok("status").await;
    assert!(
        shown.contains("DEPENDENCY") && shown.contains("DOWN") && shown.contains("Connection refused"),
        "{shown}"
    );
    // /health is the same in every state, byte for byte.
    let again = guard.connect().await.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((health.text(), again.text()), ("{\"status\": \"ok\"}", "{\"status\": \"ok\"}"));

    let _database = TcpListener::bind(at).await.unwrap();
    becomes(&guard, 200, "degraded").await;
    guard.logged("dependency database: up again after").await;
    assert_eq!(guard.metric(&up("database", true)).await, 1.0);
}

#[tokio::test]
async fn a_reload_adds_and_removes_dependencies_and_keeps_the_state_of_the_others() {
    let backend = backend().await;
    let (_held, gone) = closed_address();
    let first = table("first", &format!("tcp = {{ address = \"{gone}\" }}"));
    let guard = guard().token("t").upstream(&backend).admin().config(&first).start().await;
    becomes(&guard, 200, "degraded").await;
    let since = dependencies(&guard).await[0]["since"].as_u64().unwrap();
    // A state that is not kept would begin now.
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    eventually("a second has passed", || std::future::ready(now() > since)).await;

    let second = table("second", "command = { argv = [\"sh\", \"-c\", \"exit 3\"] }\nrequired = true");
    guard.edit(&first, &format!("{first}{second}"));
    guard.command_ok("reload").await;
    // Before its first check, a required one counts as down.
    shows(&guard, "second", "failed").await;
    assert_eq!(becomes(&guard, 503, "unready").await["first"], "failed");
    assert_eq!(dependencies(&guard).await[0]["since"], since);

    guard.edit(&first, "");
    guard.command_ok("reload").await;
    assert_eq!(becomes(&guard, 503, "unready").await.get("first"), None);
    let metrics = guard.metrics().await;
    assert!(
        !metrics.contains("dependency=\"first\"") && metrics.contains("dependency=\"second\""),
        "{metrics}"
    );

    guard.edit(&second, "");
    guard.command_ok("reload").await;
    becomes(&guard, 200, "ok").await;
    assert_eq!(dependencies(&guard).await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_dependency_that_hangs_delays_neither_calls_nor_probes_nor_other_dependencies() {
    let folder = tempfile::tempdir().unwrap();
    let blue = mcp_backend(&folder.path().join("blue"));
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listening.local_addr().unwrap();
    let hangs = |name: &str, kind: &str| {
        format!("[[dependency]]\nname = \"{name}\"\ninterval = \"1h\"\ntimeout = \"60s\"\n{kind}\n")
    };
    let mut tables = QUICK.to_owned();
    for number in 0..10 {
        tables += &hangs(&format!("redis-{number}"), &format!("redis = {{ address = \"{silent}\" }}"));
        tables += &hangs(&format!("command-{number}"), "command = { argv = [\"sleep\", \"50\"] }");
    }
    tables += &table("other", "command = { argv = [\"true\"] }");
    let guard = guard().token("t").upstream(blue.address()).admin().config(&tables).start().await;
    let up = "mcp_guard_dependency_up{dependency=\"other\",required=\"false\",slot=\"none\"}";
    eventually("the other one is up", || async { guard.metric(up).await == 1.0 }).await;
    let healthy = "mcp_guard_slot_healthy{slot=\"blue\"}";
    eventually("blue is healthy", || async { guard.metric(healthy).await == 1.0 }).await;
    let started = Instant::now();
    let call = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"tool_0\",\"arguments\":{}}}";
    assert_eq!(guard.post(call).await.status(), 200);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // One that is not required and has no result yet changes nothing.
    assert_eq!(becomes(&guard, 200, "ok").await["redis-0"], "unknown");
}

#[tokio::test]
async fn a_tool_is_asked_of_each_slot_and_counts_where_calls_go() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let tables = QUICK.to_owned() + &tool_table("\nrequired = true");
    let guard = guard().token("t").upstream(blue.address()).rollout(green.address(), LONG).config(&tables);
    let guard = guard.start().await;
    guard.both_healthy().await;
    green.check_fails(true);
    let up = |slot: &str| {
        format!("mcp_guard_dependency_up{{dependency=\"database\",required=\"true\",slot=\"{slot}\"}}")
    };
    eventually("it is up at blue only", || async {
        let metrics = guard.metrics().await;
        metrics.contains(&format!("{} 1", up("blue"))) && metrics.contains(&format!("{} 0", up("green")))
    })
    .await;
    // Green gets no calls.
    becomes(&guard, 200, "ok").await;
    guard.logged("dependency database (slot green): down (required): tool `check` answers isError").await;
    blue.check_fails(true);
    becomes(&guard, 503, "unready").await;
    guard.command_ok("slots switch green").await;
    green.check_fails(false);
    becomes(&guard, 200, "ok").await;
}

#[tokio::test]
async fn a_critical_dependency_ends_a_rollout() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let plan = format!(
        "critical = [\"database\"]\n{LONG}[triggers.critical_check]\nwindow = \"0s\"\nmin_samples = 2\n"
    );
    let tables = QUICK.to_owned() + &tool_table("");
    let guard = guard().token("t").upstream(blue.address()).rollout(green.address(), &plan).config(&tables);
    let guard = guard.start().await;
    guard.both_healthy().await;
    guard.command_ok("rollout start").await;
    // Stable's trouble is not the candidate's.
    blue.check_fails(true);
    guard.logged("dependency database (slot blue): down").await;
    assert_eq!(guard.history().await.len(), 1);
    green.check_fails(true);
    let back = guard.transition("rolled_back", 0).await;
    assert_eq!(back["cause"]["fired"]["trigger"], "critical_check", "{back}");
    let detail = back["cause"]["fired"]["detail"].as_str().unwrap();
    assert!(detail.contains("critical check `database` fails: tool `check` answers isError"), "{detail}");
}

#[tokio::test]
async fn a_dependency_that_goes_down_and_comes_back_is_notified_of_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let told = folder.path().join("told");
    let receiver = format!(
        "[[notify]]\nkind = \"exec\"\non = [\"dependency\"]\nexec = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        told.display()
    );
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = database.local_addr().unwrap();
    let tables =
        QUICK.to_owned() + &table("database", &format!("tcp = {{ address = \"{at}\" }}\nrequired = true"));
    let plan = format!("{LONG}{receiver}");
    let guard = guard().token("t").upstream(blue.address()).rollout(green.address(), &plan).config(&tables);
    let guard = guard.start().await;
    guard.both_healthy().await;
    shows(&guard, "database", "ok").await;
    // A transition that the receiver did not select.
    guard.command_ok("rollout start").await;

    let is_told = |count: usize| {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().count() == count
    };
    drop(database);
    eventually("the end is told", || std::future::ready(is_told(1))).await;
    let _database = TcpListener::bind(at).await.unwrap();
    eventually("the return is told", || std::future::ready(is_told(2))).await;

    let text = std::fs::read_to_string(&told).unwrap();
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |told: &Value| (told["event"].clone(), told["severity"].clone(), told["dependency"]["state"].clone());
    let event = |severity: &str, state: &str| (json!("mcp_guard.dependency"), json!(severity), json!(state));
    assert_eq!(told.iter().map(of).collect::<Vec<_>>(), [event("critical", "down"), event("info", "up")]);
    assert!(told[0]["dependency"]["reason"].as_str().unwrap().contains("Connection refused"), "{text}");
    assert!(
        told[1]["summary"].as_str().unwrap().starts_with("dependency database is up again after "),
        "{text}"
    );
}

#[tokio::test]
async fn doctor_checks_dependencies_itself_and_the_watchdog_names_them_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let blue = mcp_backend(&folder.path().join("blue"));
    let (_held, gone) = closed_address();
    let tables = table("cache", &format!("tcp = {{ address = \"{gone}\" }}"));
    let guard = guard().token("t").upstream(blue.address()).admin().config(&tables).start().await;
    becomes(&guard, 200, "degraded").await;
    let state = folder.path().join("watchdog.json");
    let token = folder.path().join("token");
    std::fs::write(&token, guard.token()).unwrap();
    let (token, remembered) = (token.display(), format!("--state {}", state.display()));
    let watchdog =
        format!("watchdog --restart nothing.service --failures 1 --token-file {token} {remembered}");
    let watch = |exit: i32| {
        let (guard, watchdog) = (&guard, &watchdog);
        async move {
            let done = guard.command(watchdog).await;
            assert_eq!(done.code, exit, "{done:?}");
            format!("{}{}", done.stdout, done.stderr)
        }
    };
    let said = watch(0).await;
    assert!(said.contains("MCP watchdog OK: ") && said.contains("; degraded, down: cache"), "{said}");
    let doctor = guard.command("doctor").await;
    let line = doctor.stdout.lines().find(|line| line.contains("dependency cache")).unwrap();
    assert!(line.starts_with("[WARN]") && line.contains("Connection refused"), "{line}");

    guard.edit("name = \"cache\"", "name = \"cache\"\nrequired = true");
    guard.command_ok("reload").await;
    becomes(&guard, 503, "unready").await;
    let said = watch(1).await;
    assert!(
        said.contains("MCP watchdog FAILED: not ready, down: cache") && said.contains("no restart"),
        "{said}"
    );
    let report = guard.command_ok(&format!("watchdog --report {remembered}")).await;
    assert!(report.contains("0 of 2 probes failed, 2 found a dependency down"), "{report}");
    let doctor = guard.command("doctor").await;
    let line = doctor.stdout.lines().find(|line| line.contains("dependency cache")).unwrap();
    assert!(line.starts_with("[BAD]"), "{line}");
}
