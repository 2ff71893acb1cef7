//! Drills with crowds and with a machine that has nothing left: idle connections, slow senders, slow readers, no file
//! descriptors.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use mcp_testkit::{Client, Guard, backend, call, eventually, ok, post, result};

use crate::guard;

/// Connections of the drills; the process that runs the tests needs as many files.
const CROWD: usize = 1000;
const IDLE: usize = 10_000;

fn health() -> &'static str {
    "GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
}

/// What a health check usually takes, each on a connection of its own. The slowest of them would tell what else the machine
/// does at that moment.
async fn usual_good_request(guard: &Guard) -> Duration {
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        assert_eq!(guard.connect().await.exchange(health()).await.status(), 200);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Memory of the guard in KiB.
fn rss(guard: &Guard) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// "10,000 idle connections"; the claim behind: an idle connection owns no buffer.
#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_disturb_no_call() {
    let backend = backend().await.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap())));
    let limits = format!("[limits]\nconnections = {}\n[timeouts]\nheader = \"120s\"", IDLE + 200);
    let guard = guard().token("t").upstream(&backend).config(&limits).start().await;
    let before = rss(&guard);
    let mut idle: Vec<Client> = Vec::new();
    // As many as the test's own limit allows: the machine of the whole drill allows 20,000.
    let allowed = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = IDLE.min(usize::try_from(allowed).unwrap_or(IDLE).saturating_sub(500) / 2);
    for _ in 0..wanted {
        idle.push(guard.connect().await);
        // The kernel's queue is short, and what is answered has been accepted with everything before it.
        if idle.len().is_multiple_of(64) {
            assert_eq!(guard.connect().await.exchange(health()).await.status(), 200);
        }
    }
    eventually("all are counted", || async { guard.metric("mcp_guard_connections").await >= wanted as f64 })
        .await;
    // Some of them speak, and keep idling.
    for client in idle.iter_mut().step_by(100) {
        assert_eq!(client.exchange(post("t", "", &call(1, "tools/list"))).await.json()["id"], 1);
    }
    assert!(usual_good_request(&guard).await < Duration::from_millis(100));
    let each = (rss(&guard) - before) * 1024 / wanted as u64;
    // Of which Tokio and Pingora hold most; a build for debugging has larger futures than a release.
    assert!(each < 20 * 1024, "{each} bytes for an idle connection");
    drop(idle);
    eventually("all have left", || async { guard.metric("mcp_guard_connections").await < 10.0 }).await;
}

// Drill 21: "slowloris: good requests p99 < 100 ms; slow ones cut at header timeout".
#[tokio::test]
async fn a_thousand_slow_senders_are_cut_off_and_no_other_client_waits() {
    let backend = backend().await.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap())));
    let config = "[limits]\nconnections = 3000\n[timeouts]\nheader = \"3s\"\nbody = \"3s\"";
    let guard = guard().token("t").upstream(&backend).config(config).start().await;
    let whole = post("t", "", &call(1, "tools/call"));
    let head = whole.find("\r\n\r\n").unwrap();
    let mut slow = Vec::new();
    for number in 0..CROWD {
        let mut client = guard.connect().await;
        // Half of them in the head, half of them in the body.
        let end = if number % 2 == 0 { 5 + number % (head - 5) } else { head + 4 + number % 20 };
        client.send(&whole[..end]).await;
        slow.push((client, &whole[end..=end]));
        if number % 64 == 0 {
            assert_eq!(guard.connect().await.exchange(health()).await.status(), 200);
        }
    }
    assert!(usual_good_request(&guard).await < Duration::from_millis(100));
    // One more byte each now and then does not earn more time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (client, next) in slow.iter_mut().step_by(2) {
        client.try_send(next).await;
    }
    for (client, _) in &mut slow {
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
    }
    drop(slow);
    assert_eq!(guard.post(&call(2, "tools/call")).await.json()["id"], 2);
    assert_eq!(backend.requests(), 1);
}

// "slow readers": a client that does not read must not make the guard hold its answer in memory, nor stay for ever.
#[tokio::test]
async fn a_client_that_does_not_read_costs_no_memory_and_ends_with_its_call() {
    let pad = "x".repeat(8 << 20);
    let big = ok(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"pad":"{pad}"}}}}"#));
    let backend = backend().await.serve(move |_| big.clone());
    let config = "[timeouts]\ntotal = \"4s\"\n[limits]\nin_flight = 64";
    let guard = guard().token("t").upstream(&backend).config(config).start().await;
    let before = rss(&guard);
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut client = guard.connect().await;
        client.send(post("t", "", &call(1, "tools/call"))).await;
        readers.push(client);
    }
    eventually("the calls are under way", || async { backend.requests() == 20 }).await;
    assert_eq!(guard.connect().await.exchange(health()).await.status(), 200);
    eventually("the calls have ended", || async {
        guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await == 0.0
    })
    .await;
    let grown = rss(&guard).saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB for 20 responses of 8 MiB that no client reads");
    // What they get is cut, and looks it.
    for mut client in readers {
        assert!(client.try_response().await.is_err());
    }
}

// Drills 18 and 19: "FD limit 64: EMFILE: no crash, no busy loop (CPU < 20 %), recovers".
#[tokio::test]
async fn without_file_descriptors_the_guard_waits_and_recovers() {
    let backend = backend().await.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap())));
    let guard = guard().token("t").upstream(&backend).start().await;
    assert_eq!(guard.post(&call(1, "tools/call")).await.json()["id"], 1);
    let pid = Pid::from_raw(i32::try_from(guard.pid()).unwrap());
    let limit = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(guard.connect().await);
    }
    let spent = cpu_ticks(&guard);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let busy = cpu_ticks(&guard) - spent;
    assert!(busy < 100, "{busy} of 200 ticks: the guard spins where it cannot accept");
    drop(crowd);
    eventually("calls are answered again", || async {
        let answer = tokio::time::timeout(Duration::from_secs(2), guard.post(&call(2, "tools/call"))).await;
        answer.is_ok_and(|answer| answer.status() == 200 && answer.json().get("result").is_some())
    })
    .await;
}

/// User and system time of the guard, in hundredths of a second.
fn cpu_ticks(guard: &Guard) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", guard.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [11, 12].map(|at| fields[at].parse::<u64>().unwrap()).iter().sum()
}
