//! TLS settings of backends over time: certificates of the guard's own that end, and reloads that mend what is wrong.

use std::sync::Arc;

use mcp_testkit::{Certificates, call, eventually, mcp_backend};

use crate::guard;
use crate::tls_upstream::terminator;

#[tokio::test]
async fn an_expired_certificate_for_a_backend_is_a_warning_and_counts_in_the_gauge_of_expiry() {
    let certificates = Certificates::new();
    certificates.issue_expired("old", "DNS:guard.example", "ca");
    let file = |name: &str| certificates.file(name).display().to_string();
    let tls = format!(
        "[slots.blue.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n[timeouts]\nhold = \"100ms\"",
        file("ca.pem"),
        file("old.pem"),
        file("old.key")
    );
    let guard = guard().token("t").admin().upstream("https://localhost:1").config(&tls).start().await;
    // 2020-01-02, in seconds since the epoch.
    assert_eq!(guard.metric("mcp_guard_tls_certificate_not_after_seconds").await, 1_577_923_200.0);
    let told = guard.command_ok("reload").await;
    assert!(told.contains("slots.blue.tls.certificate: expired on 2020-01-02"), "{told}");
    assert!(guard.post(&call(1, "ping")).await.json().get("error").is_some(), "there is no backend");
}

#[tokio::test]
async fn a_reload_that_mends_tls_lets_the_calls_through_that_are_held() {
    let certificates = Certificates::new();
    certificates.authority("other");
    certificates.issue("server", "DNS:localhost", "ca");
    let trusted = certificates.file("trusted.pem");
    std::fs::write(&trusted, certificates.text("other.pem")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let front = terminator(&certificates, "server", None, backend.address()).await;
    let tls = format!(
        "[slots.blue.tls]\nca = {:?}\n[timeouts]\nhold = \"25s\"\ntotal = \"28s\"",
        trusted.display().to_string()
    );
    let address = format!("https://localhost:{}", front.port);
    let guard = Arc::new(guard().token("t").admin().upstream(&*address).config(&tls).start().await);
    let held: Vec<_> = (1..=2)
        .map(|id| {
            let guard = guard.clone();
            tokio::spawn(async move { guard.post(&call(id, "ping")).await })
        })
        .collect();
    eventually("the calls are held", || async {
        guard.metric(r#"mcp_guard_held{slot="blue"}"#).await == 2.0
    })
    .await;
    assert_eq!(front.connections(), 0);
    std::fs::write(&trusted, certificates.text("ca.pem")).unwrap();
    guard.command_ok("reload").await;
    for call in held {
        let response = call.await.unwrap();
        assert!(response.json().get("result").is_some(), "{}", response.text());
    }
}
