//! Contract, section 22: "client and tool rates hold over the fleet [..]: each guard takes limit / members last seen [..], and nobody is
//! refused for the store's sake". A guard that has seen no other member has the whole.

use std::time::{Duration, Instant};

use mcp_testkit::{Guard, Message, backend, ok, post, result};

use crate::explain::{explained, limit};
use crate::guard;
use crate::limits::{client, tool_call};

/// A store that cannot be reached.
const FLEET: &str = "[fleet]\nstore = \"unix:///nonexistent/store.sock\"\nname = \"site\"\nmember = \"a\"\n\
                     key = \"env:FLEET_KEY\"\n";

async fn call(guard: &Guard) -> Message {
    guard.connect().await.exchange(post("bot", "", &tool_call(7, "echo"))).await
}

fn retry_after(answer: &Message) -> Option<Duration> {
    let data = answer.json()["error"]["data"].clone();
    (data["reason"] == "rate_limited").then(|| Duration::from_millis(data["retryAfterMs"].as_u64().unwrap()))
}

#[tokio::test]
async fn without_its_store_a_guard_of_a_fleet_holds_a_shared_rate_by_itself() {
    let backend = backend().await.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap())));
    let guard = guard()
        .tokens(&client("bot", "rate = \"1800/h\"\nburst = 3"))
        .environment("FLEET_KEY", "0123456789abcdef0123456789abcdef")
        .admin()
        .config(FLEET)
        .upstream(&backend)
        .start()
        .await;
    // A guard that has just started has one call and fills up at its rate: a restart is no second burst.
    let (mut passed, mut refused) = (0, None);
    while refused.is_none() {
        refused = retry_after(&call(&guard).await);
        passed += u32::from(refused.is_none());
        assert!(passed < 10);
    }
    let (asked, told) = (Instant::now(), refused.unwrap());
    assert!(passed >= 1 && told > Duration::ZERO && told <= Duration::from_secs(2), "{passed} {told:?}");
    let found = explained(&guard, "--client bot --tool echo", "").await;
    let shown = limit(&found, "client_rate");
    assert_eq!(shown["allows"], "30 a minute, 3 at once, shared by the fleet");
    assert!(shown["now"].as_str().is_some_and(|now| now.ends_with(" left of this guard's share")), "{shown}");
    tokio::time::sleep((asked + told).saturating_duration_since(Instant::now())).await;
    assert_eq!(retry_after(&call(&guard).await), None, "it came when it was told to");

    guard.set_tokens(&client("bot", "rate = \"1/h\""));
    guard.command_ok("reload").await;
    // What was left, or has come back meanwhile, is left.
    let mut slow = None;
    for _ in 0..5 {
        slow = slow.or(retry_after(&call(&guard).await));
    }
    assert!(slow.is_some_and(|wait| wait > Duration::from_secs(60)), "{slow:?}");
    guard.set_tokens(&client("bot", "rate = \"100000/s\""));
    guard.command_ok("reload").await;
    // What the slow rate left behind is no debt: the first call waits for one call's time at most.
    let wait = retry_after(&call(&guard).await);
    assert!(wait.is_none_or(|wait| wait <= Duration::from_millis(1)), "{wait:?}");
    assert_eq!(retry_after(&call(&guard).await), None);
}
