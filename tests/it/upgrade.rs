//! Contract, section 4: "a token taken out of the file is refused from the reload's answer on", which holds for an upgrade, too.
//! Section 13: an upgrade loses no call.

use std::cell::Cell;

use rustix::process::{Pid, Signal, kill_process};

use mcp_testkit::{
    Backend, Client, Guard, Message, Peer, backend, call, eventually, mcp_backend, ok, post, result,
};

use crate::guard;
use crate::limits::{client, tool_call};
use crate::rollout::{LONG, QUICK};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";

/// The process that has replaced the guard's first one. It is killed when the test ends.
pub(crate) struct Successor(Pid);

impl Successor {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    /// One that has ended and is not waited for does not live.
    pub(crate) fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_pid()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

pub(crate) async fn upgraded(guard: &Guard) -> Successor {
    let said = guard.command_ok("upgrade").await;
    let pid = said.split(' ').nth(1).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    Successor(pid.unwrap_or_else(|| panic!("{said}")))
}

pub(crate) fn ping(token: &str) -> String {
    post(token, "", &call(1, "ping"))
}

/// Time for a call to outlast several upgrades on a busy machine.
pub(crate) const LONG_DRAIN: &str = "[timeouts]\ndrain = \"120s\"";

/// A response that has begun. Its connection is not idle, and stays with its process, for as long as it goes on.
pub(crate) struct Stream {
    client: Client,
    peer: Peer,
}

impl Stream {
    pub(crate) async fn begin(guard: &Guard, backend: &Backend, token: &str) -> Stream {
        let mut client = guard.connect().await;
        client.send(ping(token)).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        peer.send(format!("{head}{}", chunk(": begun\n\n"))).await;
        client.until("begun").await;
        Stream { client, peer }
    }

    /// Ends the response. Its connection may carry one more request.
    pub(crate) async fn end(self) -> Client {
        let Stream { mut client, mut peer } = self;
        let event = chunk(&format!("data: {}\n\n", result(1)));
        peer.send(format!("{event}0\r\n\r\n")).await;
        client.until("\r\n0\r\n\r\n").await;
        client
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Its status, and what it says about the connection.
pub(crate) fn brief(response: &Message) -> (u16, Option<&str>) {
    (response.status(), response.field("connection"))
}

#[tokio::test]
async fn a_token_that_an_upgrade_revokes_is_refused_on_connections_that_stay_with_the_old_process() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let both = client("alice", "") + &client("bob", "");
    let guard = guard().tokens(&both).admin().upstream(&backend).start().await;
    let [mut alice, mut bob, mut silent] =
        [guard.connect().await, guard.connect().await, guard.connect().await];
    assert_eq!(brief(&alice.exchange(ping("alice")).await), (200, None));
    assert_eq!(brief(&bob.exchange(ping("bob")).await), (200, None));
    assert_eq!(brief(&silent.exchange(HEALTH).await), (200, None));

    guard.set_tokens(&client("bob", ""));
    let _successor = upgraded(&guard).await;
    // The old process has these connections, so it closes them, after some seconds also without a request.
    assert_eq!(brief(&alice.exchange(ping("alice")).await), (403, Some("close")));
    assert_eq!(brief(&silent.exchange(ping("alice")).await), (403, Some("close")));
    assert_eq!(brief(&bob.exchange(ping("bob")).await), (200, Some("close")));
    for _ in 0..20 {
        // The old process would close it.
        assert_eq!(brief(&guard.connect().await.exchange(ping("bob")).await), (200, None));
        assert_eq!(guard.connect().await.exchange(ping("alice")).await.status(), 403);
    }
}

#[tokio::test]
async fn what_is_taken_away_after_an_upgrade_is_taken_away_on_connections_of_the_old_process_too() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let both = client("alice", "") + &client("bob", "");
    let guard = guard().tokens(&both).admin().upstream(&backend).start().await;
    let [mut alice, mut bob] = [guard.connect().await, guard.connect().await];
    for connection in [&mut alice, &mut bob] {
        assert_eq!(brief(&connection.exchange(ping("bob")).await), (200, None));
    }
    let _successor = upgraded(&guard).await;
    guard.command_ok("feature off tool:tool_1").await;
    let denied = bob.exchange(post("bob", "", &tool_call(2, "tool_1"))).await;
    assert!(denied.text().contains("Unknown tool"), "{}", denied.text());
    guard.set_tokens(&client("bob", ""));
    guard.command_ok("reload").await;
    assert_eq!(brief(&alice.exchange(ping("alice")).await), (403, Some("close")));
}

/// Everything that is switched off after an upgrade must be off in the old process as well, and nothing else changes there.
async fn check_switch_after_upgrade(before: impl Fn(&Guard), after: impl Fn(&Guard)) {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().tokens(&client("bob", "")).admin().upstream(&backend).start().await;
    let [mut one, mut other] = [guard.connect().await, guard.connect().await];
    for connection in [&mut one, &mut other] {
        assert_eq!(brief(&connection.exchange(ping("bob")).await), (200, None));
    }
    before(&guard);
    let _successor = upgraded(&guard).await;
    after(&guard);
    guard.command_ok("feature off tool:tool_1").await;
    let denied = one.exchange(post("bob", "", &tool_call(2, "tool_1"))).await;
    assert!(denied.text().contains("Unknown tool"), "{}", denied.text());
    let response = other.exchange(ping("bob")).await;
    assert_eq!(brief(&response), (200, Some("close")));
    assert!(response.json().get("result").is_some(), "{}", response.text());
}

#[tokio::test]
async fn a_switch_reaches_the_old_process_while_the_configuration_is_being_edited() {
    check_switch_after_upgrade(|_| {}, |guard| guard.edit("[listen]", "[listen]\nnonsense =")).await;
}

#[tokio::test]
async fn a_switch_reaches_the_old_process_where_the_new_one_keeps_no_state() {
    check_switch_after_upgrade(|guard| guard.edit("state = \"state\"\n", ""), |_| {}).await;
}

// In a fleet, the shares of the old process are not renewed: what it admits after the hand-over is bounded by this.
#[tokio::test]
async fn a_connection_of_the_old_process_carries_one_request_after_the_hand_over() {
    let backend = backend().await;
    let guard = guard().token("t").admin().upstream(&backend).start().await;
    let mut idle = guard.connect().await;
    assert_eq!(brief(&idle.exchange(HEALTH).await), (200, None));
    let streaming = Stream::begin(&guard, &backend, "t").await;
    let _successor = upgraded(&guard).await;
    let mut streaming = streaming.end().await;
    for connection in [&mut idle, &mut streaming] {
        // Two at once: the second one is not read.
        connection.send(format!("{HEALTH}{HEALTH}")).await;
        assert_eq!(brief(&connection.response().await), (200, Some("close")));
        assert_eq!(connection.rest().await, b"");
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_after_two_upgrades_is_refused_by_both_old_processes() {
    let backend = backend().await;
    let both = client("alice", "") + &client("bob", "");
    let guard = guard().tokens(&both).config(LONG_DRAIN).admin().upstream(&backend).start().await;
    let of_first = Stream::begin(&guard, &backend, "alice").await;
    let _second = upgraded(&guard).await;
    let of_second = Stream::begin(&guard, &backend, "alice").await;
    let _third = upgraded(&guard).await;
    guard.set_tokens(&client("bob", ""));
    guard.command_ok("reload").await;
    for stream in [of_first, of_second] {
        let mut connection = stream.end().await;
        assert_eq!(brief(&connection.exchange(ping("alice")).await), (403, Some("close")));
    }
}

/// Calls one after the other, on a connection that is kept until the guard closes it.
async fn call_steadily(guard: &Guard, made: &Cell<u64>, is_over: &Cell<bool>) {
    let mut connection = guard.connect().await;
    while !is_over.get() {
        let response = connection.exchange(ping("bob")).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        assert!(response.json().get("result").is_some(), "{}", response.text());
        if response.field("connection") == Some("close") {
            connection = guard.connect().await;
        }
        made.set(made.get() + 1);
    }
}

#[tokio::test]
async fn an_upgrade_that_revokes_one_token_fails_no_call_of_another_client() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let both = client("alice", "") + &client("bob", "");
    let guard = guard().tokens(&both).admin().upstream(&backend).start().await;
    let (made, is_over) = (Cell::new(0), Cell::new(false));
    let more = async || {
        let before = made.get();
        eventually("more calls", || std::future::ready(made.get() > before + 100)).await;
    };
    let operator = async {
        more().await;
        guard.set_tokens(&client("bob", ""));
        let successor = upgraded(&guard).await;
        more().await;
        is_over.set(true);
        successor
    };
    let calls = || call_steadily(&guard, &made, &is_over);
    let (_successor, ..) = tokio::join!(operator, calls(), calls(), calls(), calls());
}

// The old program may not read the new one's configuration. Here: the slot that serves is taken out, which only a start can do.
#[tokio::test]
async fn an_old_process_that_cannot_follow_its_upgrade_refuses_requests_that_begin() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let both = client("alice", "") + &client("bob", "");
    let route = "[[route]]\nname = \"files\"\nprefix = \"/files\"\nmethods = [\"GET\"]\nauth = \"none\"\n";
    let described = guard().tokens(&both).upstream(blue.address()).rollout(green.address(), LONG);
    let guard = described.config(&format!("{QUICK}{route}address = \"{}\"", blue.address())).start().await;
    guard.both_healthy().await;
    guard.command_ok("slots switch green").await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut connection = guard.connect().await;
        assert_eq!(brief(&connection.exchange(ping("alice")).await), (200, None));
        connections.push(connection);
    }
    guard.set_tokens(&client("bob", ""));
    guard.edit(&format!("[slots.green]\naddress = \"{}\"\n", green.address()), "");
    let _successor = upgraded(&guard).await;
    guard.logged("this process refuses requests from now on").await;

    let [health, route, alice, bob] = &mut connections[..] else { panic!("four connections") };
    assert_eq!(brief(&health.exchange(HEALTH).await), (200, Some("close")));
    for (connection, token) in [(alice, "alice"), (bob, "bob")] {
        let response = connection.exchange(ping(token)).await;
        let data = &response.json()["error"]["data"];
        assert_eq!(brief(&response), (200, Some("close")), "{token}");
        assert_eq!((&data["reason"], &data["executed"]), (&"draining".into(), &"no".into()), "{token}");
    }
    let request = "GET /files/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(brief(&route.exchange(request).await), (503, Some("close")));
    // The new process decides by its configuration.
    assert_eq!(guard.connect().await.exchange(ping("alice")).await.status(), 403);
    assert_eq!(brief(&guard.connect().await.exchange(ping("bob")).await), (200, None));
}
