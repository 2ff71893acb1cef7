//! Contract, section 13: start, readiness and the end.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use mcp_testkit::{Guard, backend, call, eventually, ok, post, result};

use crate::guard;
use crate::upgrade::upgraded;

#[tokio::test]
async fn readiness_follows_the_backend_and_health_does_not() {
    let backend = backend().await;
    let ready = guard().token("t").upstream(&backend).start().await;
    let request = "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = ready.connect().await.exchange(request).await;
    let json = answer.json();
    assert_eq!((answer.status(), &json["status"]), (200, &"ok".into()));
    assert_eq!(json["checks"], serde_json::json!({"listening": "ok", "tokens": "ok", "backend": "ok"}));
    assert!(json["version"].is_string() && json["uptime_seconds"].is_u64());

    let lost = guard().token("t").start().await;
    let answer = lost.connect().await.exchange(request).await;
    assert_eq!((answer.status(), &answer.json()["checks"]["backend"]), (503, &"failed".into()));
    assert_eq!(lost.connect().await.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
}

// "SIGTERM: stop accepting, finish in-flight up to 15 s, exit as soon as idle."
#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_ends_as_soon_as_that_is_done() {
    let backend = backend().await;
    let mut guard = guard().token("t").upstream(&backend).start().await;
    let mut idle = guard.connect().await;
    assert_eq!(idle.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
    let mut busy = guard.connect().await;
    busy.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;

    guard.signal(Signal::TERM);
    guard.logged("stopping: ").await;
    // A request on an idle connection at this very moment still gets a response, with `Connection: close`. On a machine so busy that
    // the moment has passed, it is closed.
    if idle.try_send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await
        && let Ok(last) = idle.try_response().await
    {
        assert_eq!((last.status(), last.field("connection")), (200, Some("close")));
    }
    assert_eq!(idle.rest().await, b"");
    assert!(!guard.accepts().await);

    peer.send(ok(&result(1))).await;
    let answer = busy.response().await;
    assert_eq!((&answer.json()["id"], answer.field("connection")), (&1.into(), Some("close")));
    let begun = std::time::Instant::now();
    assert!(guard.ended().await.success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_idle_guard_ends_at_once() {
    let mut guard = guard().token("t").start().await;
    let begun = std::time::Instant::now();
    guard.signal(Signal::INT);
    assert!(guard.ended().await.success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_that_outlives_the_drain_gets_an_error() {
    let backend = backend().await;
    let mut guard =
        guard().token("t").upstream(&backend).config("[timeouts]\ndrain = \"300ms\"").start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    guard.signal(Signal::TERM);
    let answer = client.response().await;
    let json = answer.json();
    assert_eq!(
        (&json["error"]["data"]["reason"], answer.field("connection")),
        (&"draining".into(), Some("close"))
    );
    assert_eq!(json["error"]["data"]["executed"], "unknown");
    guard.ended().await;
}

#[tokio::test]
async fn a_second_signal_ends_the_drain() {
    let backend = backend().await;
    let mut guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    guard.signal(Signal::TERM);
    eventually("the listener is closed", || async { !guard.accepts().await }).await;
    let begun = std::time::Instant::now();
    guard.signal(Signal::TERM);
    guard.ended().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn client_connections_are_spread_evenly_over_the_threads() {
    let guard = guard().token("t").on_tcp().listen("threads = 4").start().await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = guard.connect().await;
        assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
        clients.push(client);
    }
    match connections_by_thread(&guard) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && std::env::var_os("CI").is_none() => {
            println!("skipped: the descriptors of another process take CAP_SYS_PTRACE: {error}");
        }
        connections => assert_eq!(connections.unwrap(), [3, 3, 3, 3]),
    }
}

/// How many client connections each epoll instance of the guard has, of those that have any.
fn connections_by_thread(guard: &Guard) -> io::Result<Vec<usize>> {
    let port = guard.listen_address().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // Field 1 is the local address, 3 the state, of which 1 is open, and 9 the inode.
    let of_clients: Vec<u64> = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "01")
        .map(|fields| fields[9].parse().unwrap())
        .collect();
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", guard.pid()))? {
        match std::fs::read_to_string(entry?.path()) {
            Ok(text) => texts.push(text),
            // It was closed meanwhile.
            Err(gone) if gone.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let of_epoll = |text: String| {
        let inodes = text.lines().filter(|line| line.starts_with("tfd:"));
        let inodes = inodes.filter_map(|line| line.split("ino:").nth(1)?.split_whitespace().next());
        let inodes = inodes.map(|inode| u64::from_str_radix(inode, 16).unwrap());
        inodes.filter(|inode| of_clients.contains(inode)).collect::<BTreeSet<_>>()
    };
    // A runtime has several descriptors of its instance.
    let instances: BTreeSet<_> = texts.into_iter().map(of_epoll).collect();
    Ok(instances.iter().map(BTreeSet::len).filter(|connections| *connections > 0).collect())
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_on_every_thread() {
    let backend = backend().await;
    let mut guard = guard().token("t").upstream(&backend).listen("threads = 4").start().await;
    let mut calls = Vec::new();
    for number in 0..8 {
        let mut client = guard.connect().await;
        client.send(post("t", "", &call(number, "tools/call"))).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        calls.push((number, client, peer));
    }
    // Accepted or still queued by the kernel. With a part of its request sent, the time that an idle connection has does not end it.
    let mut late = guard.connect().await;
    late.send("GET /health HTTP/1.1\r\n").await;
    guard.signal(Signal::TERM);
    guard.logged("stopping: ").await;
    late.send("Host: h\r\n\r\n").await;
    let response = late.response().await;
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
    assert_eq!(late.rest().await, b"");
    for (number, mut client, mut peer) in calls {
        peer.send(ok(&result(number))).await;
        let answer = client.response().await;
        assert_eq!((&answer.json()["id"], answer.field("connection")), (&number.into(), Some("close")));
    }
    assert!(guard.ended().await.success());
}

// An upgrade that fails changes nothing.
#[tokio::test]
async fn the_mode_of_the_socket_changes_with_an_upgrade_and_not_with_one_that_fails() {
    let guard = guard().token("t").admin().listen("mode = \"0666\"").start().await;
    let path = guard.listen_address().trim_start_matches("unix:").to_owned();
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o666);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = format!("metrics = \"{}\"", taken.local_addr().unwrap());
    guard.edit("metrics = \"127.0.0.1:0\"", &metrics);
    guard.edit("mode = \"0666\"", "mode = \"0600\"");
    let failed = guard.command("upgrade").await;
    assert_ne!(failed.code, 0, "{failed:?}");
    assert_eq!(mode(), 0o666);
    // The port that is given back now may be taken at once.
    guard.edit(&metrics, "metrics = \"127.0.0.1:0\"");
    let _successor = upgraded(&guard).await;
    assert_eq!(mode(), 0o600);
}
