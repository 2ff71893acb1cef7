//! A probe of a real store: what it finds, what it leaves behind, and what a user without rights is told.

use super::server::Server;
use crate::request::StoreError;

#[tokio::test]
async fn a_probe_finds_version_and_clock_and_leaves_the_fleet_as_it_is() {
    let server = Server::start();
    let found = server.store().probe().await.unwrap();
    assert!(found.is_supported && found.server.starts_with("Redis "), "{found:?}");
    assert!(found.clock_ahead_ms.abs() < 1_000, "one clock: {found:?}");
    for key in server.command(&["keys", "*"]).lines() {
        assert!(key.starts_with("{mcp-fleet:sim}:probe-"), "{key}");
        let left: i64 = server.command(&["pttl", key]).trim().parse().unwrap();
        assert!(left <= 1_000 && left != -1, "{key} stays: {left}");
    }
}

#[tokio::test]
async fn a_probe_says_which_right_of_the_store_is_missing() {
    let server = Server::start();
    // The rights that docs/fleet.md names, and one less.
    let rights = [
        "~{mcp-fleet:sim}:*",
        "+@hash",
        "+@sortedset",
        "+pexpire",
        "+time",
        "+info",
        "+evalsha",
        "+script|load",
    ];
    let set = |user: &str, rights: &[&str]| {
        let told = server.command(&[&["acl", "setuser", user, "on", ">word"], rights].concat());
        assert!(told.contains("OK"), "{told}");
    };
    set("whole", &rights);
    set("less", &[&rights[..], &["-zadd"]].concat());
    set("other", &["~{mcp-fleet:other}:*", "+@all"]);
    let probe = async |user: &str| server.store_as(&format!("?user={user}&pass=word")).probe().await;
    assert!(probe("whole").await.is_ok(), "{:?}", probe("whole").await);
    for (user, says) in [("less", "ZADD"), ("other", "key")] {
        let found = probe(user).await;
        assert!(matches!(&found, Err(StoreError::Refused(why)) if why.contains(says)), "{user}: {found:?}");
    }
    let found = probe("stranger").await;
    assert!(found.is_err(), "{found:?}");
}
