//! Contract, section 9: what two slots do when backends come, go and take each other's place.

use std::path::PathBuf;

use mcp_testkit::{Client, Guard, McpBackend, call, eventually, mcp_backend, post};

use crate::guard;
use crate::rollout::{LONG, QUICK};

struct Pair {
    blue: Option<McpBackend>,
    green: Option<McpBackend>,
    guard: Guard,
    folder: tempfile::TempDir,
}

async fn pair() -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), LONG).config(QUICK);
    let guard = started.start().await;
    guard.both_healthy().await;
    Pair { blue: Some(blue), green: Some(green), guard, folder }
}

impl Pair {
    fn path(&self, slot: &str) -> PathBuf {
        self.folder.path().join(slot)
    }

    /// Both slots are away, after a switch to green that leaves blue standing by; and these calls are held.
    async fn away(&mut self, calls: u64) -> Vec<Client> {
        self.guard.command_ok("slots switch green").await;
        for gone in [self.blue.take(), self.green.take()].into_iter().flatten() {
            gone.kill().await;
        }
        let mut clients = Vec::new();
        for id in 0..calls {
            let mut client = self.guard.connect().await;
            client.send(post("t", "", &call(id, "tools/call"))).await;
            clients.push(client);
        }
        eventually("every call is held", || async {
            let held = |slot: &'static str| async move { format!("mcp_guard_held{{slot=\"{slot}\"}}") };
            let (blue, green) = (held("blue").await, held("green").await);
            self.guard.metric(&blue).await + self.guard.metric(&green).await == calls as f64
        })
        .await;
        clients
    }
}

/// Every call has its result.
async fn answered(clients: Vec<Client>) {
    for mut client in clients {
        let answer = client.response().await;
        assert!(answer.json().get("result").is_some(), "{}", answer.text());
    }
}

// "Requests are held, not failed, while neither slot can answer."
#[tokio::test]
async fn calls_are_held_while_both_slots_are_away_and_go_to_the_one_that_comes_back() {
    for back in ["green", "blue"] {
        let mut pair = pair().await;
        let held = pair.away(8).await;
        let comes = mcp_backend(&pair.path(back));
        answered(held).await;
        assert_eq!(comes.calls(), 8, "{back} came back");
    }
}

// "A slot whose socket path is re-used by a new process never gets an old pooled connection."
#[tokio::test]
async fn a_backend_that_takes_over_a_socket_path_gets_every_call_while_the_old_one_still_runs() {
    let pair = pair().await;
    let old = pair.blue.as_ref().unwrap();
    let mut clients = Vec::new();
    for id in 0..16 {
        let mut client = pair.guard.connect().await;
        client.send(post("t", "", &call(id, "tools/call"))).await;
        clients.push(client);
    }
    answered(clients).await;
    let idle = "mcp_guard_upstream_idle_connections{slot=\"blue\"}";
    eventually("connections are pooled", || async { pair.guard.metric(idle).await >= 1.0 }).await;
    // A deploy beside the old process, which has not gone yet: it still answers on the connections that it has.
    let new = mcp_backend(&pair.path("blue"));
    let before = old.calls();
    for id in 100..132 {
        let answer = pair.guard.post(&call(id, "tools/call")).await;
        assert!(answer.json().get("result").is_some(), "{}", answer.text());
    }
    assert_eq!((old.calls(), new.calls()), (before, 32));
}

// "swaps, drains, reports": a call under way is not cut, and the command returns when it has ended.
#[tokio::test]
async fn a_switch_waits_for_calls_under_way_and_says_how_many_there_still_are() {
    let pair = pair().await;
    let blue = pair.blue.as_ref().unwrap();
    blue.set_behaviour(mcp_testkit::Behaviour::Delayed(std::time::Duration::from_secs(6)));
    let mut client = pair.guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    eventually("the call is on blue", || std::future::ready(blue.calls() == 1)).await;
    let impatient = pair.guard.command_when_healthy("slots switch green --drain-timeout 0").await;
    assert_eq!(impatient.code, 1, "{impatient:?}");
    assert!(impatient.stdout.contains("stable is green now"), "{impatient:?}");
    assert!(impatient.stderr.contains("blue still has 1 calls in flight; they are not cut"), "{impatient:?}");
    let drained = pair.guard.command_ok("slots drain blue").await;
    assert!(drained.contains("blue is idle after"), "{drained}");
    assert!(client.response().await.json().get("result").is_some());
}
