//! `mcp-guard token distribute`: who has its token, seen from the guard's machine and from a client's.
//!
//! Requirement: a token is distributed to all clients before a cutover, and one authenticated call is made on each client's host.

use mcp_testkit::{CommandOutput, Guard, mcp_backend};

use crate::guard;
use crate::limits::client;

/// On a client's machine: makes the request with this token.
async fn check(guard: &Guard, token: &str, words: &str) -> CommandOutput {
    let file = guard.config().with_file_name("client.token");
    std::fs::write(&file, token).unwrap();
    guard.command(&format!("token distribute --check --token-file {} {words}", file.display())).await
}

#[tokio::test]
async fn every_client_has_its_token_once_each_has_called() {
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("blue"));
    let tokens = format!("{}{}", client("bot", ""), client("watcher", ""));
    let guard = guard().tokens(&tokens).admin().upstream(backend.address()).start().await;
    let overview = guard.command("token distribute").await;
    assert_eq!(overview.code, 1, "{overview:?}");
    let both = "2 of 2 clients have not called since the guard started: bot, watcher";
    assert!(overview.stdout.contains(both), "{overview:?}");

    let checked = check(&guard, "bot", "").await;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.stdout.contains(" is accepted by ") && checked.stdout.contains(": 3 tools, "),
        "{checked:?}"
    );
    let overview = guard.command("token distribute --json").await;
    assert_eq!((overview.code, overview.stdout.trim()), (1, r#"{"clients":2,"missing":["watcher"]}"#));
    // The fingerprint on the client's machine is that of the list.
    let fingerprint = checked.stdout.split_whitespace().nth(1).unwrap();
    let listed = guard.command("token list").await.stdout;
    assert!(listed.lines().any(|line| line.starts_with("bot") && line.contains(fingerprint)), "{listed}");

    assert_eq!(check(&guard, "watcher", "").await.code, 0);
    let overview = guard.command("token distribute").await;
    assert_eq!(overview.code, 0, "{overview:?}");
    assert!(overview.stdout.contains("every client (2) has called"), "{overview:?}");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_or_not_needed_is_a_no() {
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("blue"));
    let guard = guard().tokens(&client("bot", "")).admin().upstream(backend.address()).start().await;
    let refused = check(&guard, "another", "").await;
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert!(refused.stderr.contains("HTTP 403 (hint: use a token that "), "{refused:?}");
    assert!(!refused.stderr.contains("another"), "the token is not quoted: {refused:?}");

    let open = check(&guard, "bot", &format!("--url {}", backend.address())).await;
    assert_eq!(open.code, 1, "{open:?}");
    assert!(open.stderr.contains("responds without a token"), "{open:?}");

    let gone = check(&guard, "bot", "--url unix:/nowhere/guard.sock --json").await;
    assert_eq!(gone.code, 2, "nobody judged the token: {gone:?}");
    assert!(
        gone.stdout.contains(r#""accepted":false"#) && gone.stdout.contains("cannot connect"),
        "{gone:?}"
    );

    let unchecked = guard.command("token distribute --url http://127.0.0.1:1/").await;
    assert_eq!(unchecked.code, 64, "{unchecked:?}");

    for (token, why) in [("", "holds no token"), ("a b", "characters that no token has")] {
        let unusable = check(&guard, token, "").await;
        assert_eq!(unusable.code, 2, "{unusable:?}");
        assert!(unusable.stderr.contains(why), "{unusable:?}");
    }
}
