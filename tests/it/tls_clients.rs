//! Client certificates: whom they name, in place of a token and beside one, and what revokes them.

use mcp_testkit::{Certificates, Guard, backend, call, ok, post, result};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::guard;
use crate::limits::client;
use crate::tls::{TlsClient, listen_tls};

fn certificates() -> Certificates {
    let certificates = Certificates::new();
    certificates.authority("other");
    certificates.issue("server", "DNS:localhost", "ca");
    certificates.issue("bot", "DNS:bot.example", "ca");
    certificates.issue("watchdog", "URI:spiffe://example.org/watchdog,DNS:w.example", "ca");
    certificates.issue("stranger", "URI:spiffe://example.org/stranger", "ca");
    certificates.issue("forged", "URI:spiffe://example.org/watchdog", "other");
    certificates.issue_expired("expired", "URI:spiffe://example.org/watchdog", "ca");
    certificates
}

fn tokens(certificates: &Certificates) -> String {
    let der = CertificateDer::from_pem_file(certificates.file("bot.pem")).unwrap();
    let digest: Vec<String> = Sha256::digest(&der).iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "[clients.bot]\ncertificates = [\"sha256:{}\"]\n\
         [clients.watchdog]\ncertificates = [\"spiffe://example.org/watchdog\"]\n{}",
        digest.join(":"),
        client("with-token", "")
    )
}

/// A call without `Authorization`.
fn bare() -> String {
    post("t", "", &call(1, "ping")).replace("Authorization: Bearer t\r\n", "")
}

async fn start(certificates: &Certificates, more: &str) -> (Guard, mcp_testkit::ServingBackend) {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let authority = certificates.file("ca.pem").display().to_string();
    let config = listen_tls(certificates, &format!("client_ca = {authority:?}\n{more}"));
    let guard = guard().tokens(&tokens(certificates)).admin().upstream(&backend).on_tcp().config(&config);
    (guard.start().await, backend)
}

#[tokio::test]
async fn a_client_certificate_names_a_client_by_fingerprint_or_uri() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, "").await;
    let open = |shows| {
        let client = TlsClient { shows, ..TlsClient::new(&certificates) };
        let guard = &guard;
        async move { client.open(guard).await }
    };
    for name in ["bot", "watchdog"] {
        let response = open(Some(name)).await.exchange(bare()).await;
        assert_eq!(response.status(), 200, "{name}");
        let line = guard.log_line(|line| line["client"] == name).await;
        assert_eq!(line["status"], 200, "{line}");
    }
    // Verified, but no client of the configuration; and none at all.
    assert_eq!(open(Some("stranger")).await.exchange(bare()).await.status(), 401);
    assert_eq!(open(None).await.exchange(bare()).await.status(), 401);
    // A token counts first, with and without a certificate.
    for shows in [None, Some("bot"), Some("stranger")] {
        let response = open(shows).await.exchange(post("with-token", "", &call(1, "ping"))).await;
        assert_eq!(response.status(), 200);
    }
    mcp_testkit::eventually("all three are the token's", || async {
        guard.log().iter().filter(|line| line.contains("\"client\":\"with-token\"")).count() == 3
    })
    .await;
    // An unknown token beside a certificate that names a client.
    assert_eq!(open(Some("stranger")).await.exchange(post("no", "", &call(1, "ping"))).await.status(), 403);
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_ends_the_handshake() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, "").await;
    for name in ["forged", "expired"] {
        let client = TlsClient { shows: Some(name), ..TlsClient::new(&certificates) };
        // In TLS 1.3 the client learns of it after its own side of the handshake.
        if let Ok(stream) = client.connect(&guard).await {
            let mut client = mcp_testkit::Client::over(stream);
            let _ = client.try_send(bare()).await;
            assert!(client.try_response().await.is_err(), "{name}");
        }
    }
    mcp_testkit::eventually("both are counted", || async {
        guard.metric(r#"mcp_guard_tls_handshakes_total{outcome="certificate"}"#).await == 2.0
    })
    .await;
}

#[tokio::test]
async fn a_required_certificate_is_required_at_the_handshake() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, "client_auth = \"required\"").await;
    let without = TlsClient::new(&certificates).connect(&guard).await;
    if let Ok(stream) = without {
        let mut client = mcp_testkit::Client::over(stream);
        let _ = client.try_send(bare()).await;
        assert!(client.try_response().await.is_err());
    }
    let client = TlsClient { shows: Some("bot"), ..TlsClient::new(&certificates) };
    assert_eq!(client.open(&guard).await.exchange(bare()).await.status(), 200);
}

#[tokio::test]
async fn a_reload_revokes_a_certificate_on_an_open_connection() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, "").await;
    let client = TlsClient { shows: Some("watchdog"), ..TlsClient::new(&certificates) };
    let mut open = client.open(&guard).await;
    assert_eq!(open.exchange(bare()).await.status(), 200);
    guard.set_tokens(
        &tokens(&certificates).replace("spiffe://example.org/watchdog", "spiffe://example.org/w2"),
    );
    guard.command_ok("reload").await;
    assert_eq!(open.exchange(bare()).await.status(), 401);
    let over = tokens(&certificates).replace("/watchdog\"]", "/watchdog\"]\nnot_after = 2020-01-01");
    guard.set_tokens(&over);
    guard.command_ok("reload").await;
    assert_eq!(open.exchange(bare()).await.status(), 403, "its time is over");
}

#[tokio::test]
async fn a_slow_handshake_takes_nothing_from_the_time_of_the_first_head() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, "[timeouts]\nheader = \"9s\"").await;
    let most = std::time::Duration::from_secs(5);
    let stream = tokio::net::TcpStream::connect(guard.listen_address()).await.unwrap();
    // What is tested is what passes: most of the time before the handshake, and most of the time after it.
    tokio::time::sleep(most).await;
    let client = TlsClient { shows: Some("bot"), ..TlsClient::new(&certificates) };
    let mut client = mcp_testkit::Client::over(client.connect_over(stream).await.unwrap());
    tokio::time::sleep(most).await;
    assert_eq!(client.exchange(bare()).await.status(), 200);
}
