//! Contract, section 13: "SIGTERM: stop accepting, finish in-flight up to 15 s", for the two processes of an upgrade: neither is
//! left behind, and neither ends the calls of the other.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use mcp_testkit::{
    Backend, Client, Guard, Peer, SPAWNING, backend, call, eventually, guard_command, in_time, ok, post,
    result,
};

use crate::guard;
use crate::limits::client;
use crate::upgrade::{LONG_DRAIN, Stream, Successor, brief, ping, upgraded};

/// A call that the backend has, and that is not answered yet.
async fn call_under_way(guard: &Guard, backend: &Backend) -> (Client, Peer) {
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    (client, peer)
}

async fn ends(successor: &Successor) {
    eventually("the new process ends", || std::future::ready(!successor.is_alive())).await;
}

#[tokio::test]
async fn sigterm_after_an_upgrade_ends_the_new_process_only_after_the_calls_of_the_old_one() {
    let backend = backend().await;
    let mut guard = guard().token("t").admin().upstream(&backend).start().await;
    let (mut client, mut peer) = call_under_way(&guard, &backend).await;
    let successor = upgraded(&guard).await;
    successor.signal(Signal::TERM);
    // A service manager ends what is left of a service whose main process has ended.
    guard.logged("the process before this one still finishes its calls").await;
    assert!(successor.is_alive());
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.json()["id"], 1);
    assert!(guard.ended().await.success());
    ends(&successor).await;
}

#[tokio::test]
async fn a_second_sigterm_ends_the_new_process_at_once_whatever_the_old_one_does() {
    let backend = backend().await;
    let guard = guard().token("t").admin().upstream(&backend).start().await;
    let (_client, _peer) = call_under_way(&guard, &backend).await;
    let successor = upgraded(&guard).await;
    successor.signal(Signal::TERM);
    guard.logged("the process before this one still finishes its calls").await;
    successor.signal(Signal::TERM);
    guard.logged("the process before this one has not ended").await;
    ends(&successor).await;
}

#[tokio::test]
async fn sigterm_to_the_old_process_cuts_no_call_after_an_upgrade_and_another_one_does() {
    let backend = backend().await;
    let mut guard = guard().token("t").admin().upstream(&backend).start().await;
    let (mut client, mut peer) = call_under_way(&guard, &backend).await;
    let (mut cut, _silent) = call_under_way(&guard, &backend).await;
    let successor = upgraded(&guard).await;
    guard.signal(Signal::TERM);
    guard.logged("this process finishes its calls already").await;
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.json()["id"], 1);
    guard.signal(Signal::TERM);
    guard.ended().await;
    assert_eq!(cut.response().await.json()["error"]["data"]["reason"], "draining");
    assert!(successor.is_alive() && guard.accepts().await, "the new process serves on");
}

#[tokio::test]
async fn a_process_that_was_replaced_ends_after_the_one_that_it_has_replaced() {
    let backend = backend().await;
    let both = client("alice", "") + &client("bob", "");
    let guard = guard().tokens(&both).config(LONG_DRAIN).admin().upstream(&backend).start().await;
    let of_first = Stream::begin(&guard, &backend, "alice").await;
    let second = upgraded(&guard).await;
    // It has no connection, so it could end at once; what changes reaches the first process through it.
    let third = upgraded(&guard).await;
    guard.logged("the process before this one still finishes its calls").await;
    guard.set_tokens(&client("bob", ""));
    guard.command_ok("reload").await;
    let mut connection = of_first.end().await;
    assert_eq!(brief(&connection.exchange(ping("alice")).await), (403, Some("close")));
    ends(&second).await;
    assert!(third.is_alive());
}

#[tokio::test]
async fn an_old_process_that_no_change_can_reach_refuses_requests_that_begin() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().token("t").admin().upstream(&backend).start().await;
    let mut of_first = guard.connect().await;
    assert_eq!(brief(&of_first.exchange(ping("t")).await), (200, None));
    let second = upgraded(&guard).await;
    second.signal(Signal::KILL);
    guard.logged("no change of the process that serves now can reach it").await;
    let response = of_first.exchange(ping("t")).await;
    assert_eq!(response.json()["error"]["data"]["reason"], "draining");
}

/// The hand-over as the old process sees it.
struct Channel(UnixStream);

impl Channel {
    fn expect(&mut self, wanted: &str) {
        let mut message = [0; 200];
        let length = self.0.read(&mut message).unwrap();
        let message = String::from_utf8_lossy(&message[..length]);
        assert!(message.starts_with(wanted), "{message}");
    }

    /// No message follows.
    fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 200]).unwrap(), 0);
    }

    fn send(&mut self, message: &str) {
        self.0.write_all(message.as_bytes()).unwrap();
    }
}

/// A new process of this guard, whose old one is the test. Nothing is handed over.
async fn new_process(guard: &Guard) -> (Channel, Child) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut command = Command::from(guard_command(env!("CARGO_BIN_EXE_mcp-guard").as_ref(), guard.config()));
    command.env("MCP_BEARER_TOKEN", "t").env("MCP_GUARD_HANDOFF", "launched");
    command.stdin(theirs).stderr(Stdio::piped()).kill_on_drop(true);
    let starting = SPAWNING.lock().await;
    let child = command.spawn().unwrap();
    drop((starting, command));
    let ours = UnixStream::from(ours);
    ours.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut channel = Channel(ours);
    channel.send("mcp-guard hand-off 1");
    (channel, child)
}

/// A new process that can serve, and the guard whose configuration it has, which has ended.
async fn new_process_that_can_serve() -> (Channel, Child, Guard) {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let mut old = guard().token("t").admin().upstream(&backend).start().await;
    old.signal(Signal::TERM);
    old.ended().await;
    let (mut channel, process) = new_process(&old).await;
    channel.expect("prepared ");
    channel.send("go");
    channel.expect("serving");
    (channel, process, old)
}

async fn ends_with_success(process: Child) {
    let ended = in_time("the end of the new process", process.wait_with_output()).await.unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && log.contains("stopped before the upgrade was complete"), "{log}");
}

#[tokio::test]
async fn a_new_process_that_is_told_to_stop_before_it_takes_over_asks_the_old_one_to_carry_on() {
    let (mut channel, process, _guard) = new_process_that_can_serve().await;
    let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    channel.expect("failed it was told to stop");
    channel.expect_end();
    drop(channel);
    ends_with_success(process).await;
}

// Either may be the main process then, and a service manager ends what is left of a service whose main process has ended.
#[tokio::test]
async fn a_new_process_whose_old_one_was_told_to_stop_ends_after_it_and_with_success() {
    let (mut channel, mut process, _guard) = new_process_that_can_serve().await;
    channel.send("stopped");
    assert!(process.try_wait().unwrap().is_none(), "the old process lives");
    drop(channel);
    ends_with_success(process).await;
}

// The old process admits what a reload of the new one has revoked: its requests that begin are refused from the hand-over on.
#[tokio::test]
async fn an_old_process_that_has_missed_a_change_before_the_hand_over_is_cut_off_from_changes() {
    let (mut channel, _process, guard) = new_process_that_can_serve().await;
    // It waits for the hand-over for some seconds.
    guard.command_ok("reload").await;
    channel.send("yours");
    channel.expect_end();
}

// Without the old process's word the service manager does not know of the new one: nothing would ever stop it.
#[tokio::test]
async fn a_new_process_whose_old_one_ends_before_it_has_handed_over_ends_as_well() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let mut old = guard().token("t").admin().upstream(&backend).start().await;
    old.signal(Signal::TERM);
    old.ended().await;
    for (last, said) in [("prepared ", None), ("serving", Some("go"))] {
        let (mut channel, process) = new_process(&old).await;
        channel.expect("prepared ");
        if let Some(said) = said {
            channel.send(said);
            channel.expect(last);
        }
        drop(channel);
        let ended = in_time("the end of the new process", process.wait_with_output()).await.unwrap();
        let log = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "after {last}: {log}");
        assert!(log.contains("the old process has ended"), "after {last}: {log}");
        assert!(!old.accepts().await);
    }
}
