//! Routes that do not end by themselves: event streams and WebSockets, their silence, and their end when the guard stops.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use mcp_testkit::{Backend, Client, Guard, Peer, backend};

use crate::guard;

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-B: 1\r\n\r\n";

async fn opened(keys: &str) -> (Guard, Backend) {
    let backend = backend().await;
    let address = backend.address();
    let route = format!(
        "[[route]]\nname = \"live\"\nprefix = \"/live\"\naddress = \"{address}\"\nauth = \"bearer\"\n{keys}"
    );
    (guard().token("t").config(&route).start().await, backend)
}

fn get(fields: &str) -> String {
    format!("GET /live/7 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n{fields}\r\n")
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

async fn streaming(keys: &str) -> (Guard, Client, Peer) {
    let (guard, backend) = opened(keys).await;
    let mut client = guard.connect().await;
    client.send(get("")).await;
    let mut peer = backend.accept().await;
    assert_eq!(peer.request().await.field("Authorization"), None);
    peer.send(EVENTS).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
    (guard, client, peer)
}

// "flushed per event, idle timeout, no total"
#[tokio::test]
async fn events_arrive_one_by_one_beyond_the_total_time_until_silence() {
    let (guard, mut client, mut peer) = streaming("total = \"3s\"\nidle = \"5s\"").await;
    assert_eq!(guard.metric("mcp_guard_route_streams{route=\"live\"}").await, 1.0);
    let begun = Instant::now();
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    while begun.elapsed() < Duration::from_secs(4) {
        clock.tick().await;
        peer.send(chunk("data: x\n\n")).await;
        client.until("data: x\n\n\r\n").await;
    }
    assert_eq!(client.rest().await, b"", "silence cuts, and what is cut has no proper end");
    peer.closed().await;
    let line = guard.log_line(|line| line["route"] == "live").await;
    assert_eq!((&line["outcome"], &line["status"]), (&"timeout".into(), &200.into()));
    assert_eq!(guard.metric("mcp_guard_route_streams{route=\"live\"}").await, 0.0);
}

// "drained on shutdown with a clean end"
#[tokio::test]
async fn a_stream_ends_behind_a_whole_event_when_the_guard_stops() {
    let (mut guard, mut client, mut peer) = streaming("idle = \"30s\"").await;
    peer.send(chunk("data: 1\n\n")).await;
    client.until("data: 1\n\n\r\n").await;
    peer.send(chunk("data: 2")).await;
    client.until("data: 2\r\n").await;
    let stopped = Instant::now();
    guard.signal(Signal::TERM);
    assert!(!client.receives_within(Duration::from_millis(300)).await, "an event is under way");
    peer.send(chunk("\n\n")).await;
    assert_eq!(client.rest().await, b"2\r\n\n\n\r\n0\r\n\r\n");
    peer.closed().await;
    assert!(guard.ended().await.success());
    assert!(stopped.elapsed() < Duration::from_secs(10), "the drain ends before its deadline");
    assert_eq!(guard.log_line(|line| line["route"] == "live").await["outcome"], "ok");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_at_the_backend() {
    let (guard, client, mut peer) = streaming("idle = \"30s\"").await;
    drop(client);
    peer.closed().await;
    assert_eq!(guard.log_line(|line| line["route"] == "live").await["outcome"], "client_gone");
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn tunnel(keys: &str, early: &str) -> (Guard, Client, Peer) {
    let (guard, backend) = opened(&format!("websocket = true\n{keys}")).await;
    let mut client = guard.connect().await;
    client.send(format!("{}{early}", get(UPGRADE))).await;
    let mut peer = backend.accept().await;
    let seen = peer.request().await;
    assert_eq!(seen.field("Upgrade"), Some("websocket"));
    assert_eq!(seen.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.field("Authorization"), None);
    peer.send(SWITCH).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    (guard, client, peer)
}

// "WebSocket upgrade with auth before the upgrade"
#[tokio::test]
async fn a_client_without_rights_is_refused_before_the_upgrade() {
    let (guard, backend) = opened("websocket = true").await;
    for (fields, status) in [
        (format!("Authorization: Bearer no\r\n{UPGRADE}"), 403),
        (UPGRADE.to_owned(), 401),
        (format!("Authorization: Bearer t\r\nOrigin: https://evil.test\r\n{UPGRADE}"), 403),
    ] {
        let request = format!("GET /live HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        assert_eq!(guard.connect().await.exchange(request).await.status(), status, "{fields}");
    }
    for malformed in [
        UPGRADE.replace("keep-alive, Upgrade", "Upgrade, Sec-WebSocket-Key"),
        UPGRADE.replace("keep-alive, Upgrade", "Upgrade, sec_websocket_version"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: websocket, h2c"),
        UPGRADE.replace("keep-alive, Upgrade", "keep-alive"),
        format!("{UPGRADE}Upgrade: websocket\r\n"),
        format!("{UPGRADE}Sec-WebSocket-Key: x\r\n"),
        format!("{UPGRADE}Content-Length: 3\r\n"),
        format!("{UPGRADE}Transfer-Encoding: chunked\r\n"),
    ] {
        let mut client = guard.connect().await;
        client.send(format!("{}abc", get(&malformed))).await;
        assert_eq!(client.response().await.status(), 400, "{malformed}");
        assert_eq!(client.rest().await, b"");
    }
    let at_the_endpoint = get(UPGRADE).replace("/live/7", "/mcp");
    assert_eq!(guard.connect().await.exchange(at_the_endpoint).await.status(), 405);
    assert!(!backend.is_connected_within(Duration::from_millis(50)).await);
}

// RFC 9110, 7.8: an upgrade that is not taken is ignored, and never passed on.
#[tokio::test]
async fn another_upgrade_on_a_websocket_route_is_a_plain_request() {
    let (guard, backend) = opened("websocket = true").await;
    let mut client = guard.connect().await;
    client.send(get(&UPGRADE.replace("websocket", "h2c"))).await;
    let mut peer = backend.accept().await;
    let seen = peer.request().await;
    for gone in ["Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        assert_eq!(seen.field(gone), None, "{}", seen.head);
    }
    peer.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 426);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_until_one_side_ends() {
    let (guard, mut client, mut peer) = tunnel("idle = \"30s\"", "early").await;
    assert_eq!(peer.until("early").await, "early");
    for round in 0..3 {
        client.send(format!("up {round};")).await;
        peer.until(&format!("up {round};")).await;
        peer.send(format!("down {round};")).await;
        client.until(&format!("down {round};")).await;
    }
    let big = "x".repeat(300_000);
    peer.send(&big).await;
    drop(peer);
    assert_eq!(client.rest().await.len(), big.len());
    let line = guard.log_line(|line| line["route"] == "live").await;
    assert_eq!((&line["status"], &line["outcome"]), (&101.into(), &"ok".into()));
}

// pingora-proxy sends the end of an empty body beside reading the response: it must not end the tunnel.
#[tokio::test]
async fn a_tunnel_outlives_a_backend_that_switches_before_it_reads_the_request() {
    let (guard, backend) = opened("websocket = true\nidle = \"30s\"").await;
    for round in 0..20 {
        let mut client = guard.connect().await;
        client.send(get(UPGRADE)).await;
        let mut peer = backend.accept().await;
        peer.send(SWITCH).await;
        client.until("\r\n\r\n").await;
        peer.request().await;
        client.send(format!("up {round};")).await;
        peer.until(&format!("up {round};")).await;
        peer.send(format!("down {round};")).await;
        client.until(&format!("down {round};")).await;
    }
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let (guard, mut client, mut peer) = tunnel("idle = \"300ms\"", "").await;
    assert_eq!(client.rest().await, b"");
    peer.closed().await;
    assert_eq!(guard.log_line(|line| line["route"] == "live").await["outcome"], "timeout");
}

#[tokio::test]
async fn a_tunnel_says_goodbye_between_two_frames_when_the_guard_stops() {
    let (mut guard, mut client, mut peer) = tunnel("idle = \"30s\"", "").await;
    // A text frame of five bytes, of which three have come.
    peer.send([0x01, 5, b'h', b'e', b'l']).await;
    client.until("hel").await;
    guard.signal(Signal::TERM);
    assert!(!client.receives_within(Duration::from_millis(300)).await, "a frame is under way");
    peer.send("lo").await;
    client.until("lo").await;
    assert_eq!(client.rest().await, [0x88, 2, 3, 0xe9]);
    assert!(guard.ended().await.success());
}

// A backend that declines: its answer is passed on, and no byte of the client has reached it.
#[tokio::test]
async fn a_declined_upgrade_is_a_response_and_ends_the_connection() {
    let (guard, backend) = opened("websocket = true").await;
    let mut client = guard.connect().await;
    client.send(format!("{}GET /live/smuggled HTTP/1.1\r\n\r\n", get(UPGRADE))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await;
    let told = client.response().await;
    assert_eq!((told.status(), told.text()), (200, "no"));
    peer.closed().await;
    assert_eq!(client.rest().await, b"");
    assert!(!backend.is_connected_within(Duration::from_millis(50)).await);
}
