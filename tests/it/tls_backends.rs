//! The guard's own certificates for backends: what is said of them, and when they end.

use mcp_testkit::{Certificates, call};

use crate::guard;

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
