//! What a reload does to TLS that is in use: certificates of open connections, pairs that have expired, and the listener's own TLS.

use mcp_testkit::{Certificates, Client, Guard, ServingBackend, backend, call, eventually, ok, post, result};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::guard;
use crate::limits::client;
use crate::tls::{TlsClient, listen_tls};

const URI: &str = "URI:spiffe://example.org/bot";

/// `clients.pem` holds the authorities of clients.
fn certificates() -> Certificates {
    let certificates = Certificates::new();
    certificates.authority("other");
    certificates.issue("server", "DNS:localhost", "ca");
    certificates.issue("bot", URI, "ca");
    std::fs::write(certificates.file("clients.pem"), certificates.text("ca.pem")).unwrap();
    certificates
}

fn tokens() -> String {
    let certificate = "[clients.bot]\ncertificates = [\"spiffe://example.org/bot\"]\n";
    format!("{certificate}{}", client("with-token", ""))
}

async fn start(certificates: &Certificates, more: &str) -> (Guard, ServingBackend) {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let config = listen_tls(certificates, more);
    let guard = guard().tokens(&tokens()).admin().upstream(&backend).on_tcp().config(&config);
    (guard.start().await, backend)
}

/// The key `client_ca`.
fn client_ca(certificates: &Certificates) -> String {
    format!("client_ca = {:?}\n", certificates.file("clients.pem").display().to_string())
}

async fn open(certificates: &Certificates, guard: &Guard, shows: Option<&str>) -> Client {
    TlsClient { shows, ..TlsClient::new(certificates) }.open(guard).await
}

/// A call without `Authorization`.
fn bare() -> String {
    post("t", "", &call(1, "ping")).replace("Authorization: Bearer t\r\n", "")
}

fn with_token() -> String {
    post("with-token", "", &call(1, "ping"))
}

/// The next request is refused, and the connection ends with that.
async fn is_ended(client: &mut Client, request: &str) {
    let refused = client.exchange(request).await;
    assert_eq!(refused.status(), 401, "{}", refused.text());
    assert_eq!(refused.field("Connection"), Some("close"));
    assert_eq!(client.rest().await, b"", "the client opens a new one, and shows another certificate there");
}

#[tokio::test]
async fn a_reload_of_client_ca_verifies_the_certificates_of_open_connections_again() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, &client_ca(&certificates)).await;
    let mut kept = open(&certificates, &guard, Some("bot")).await;
    assert_eq!(kept.exchange(bare()).await.status(), 200);
    let (own, other) = (certificates.text("ca.pem"), certificates.text("other.pem"));
    std::fs::write(certificates.file("clients.pem"), own + &other).unwrap();
    guard.command_ok("reload").await;
    assert_eq!(kept.exchange(bare()).await.status(), 200, "its authority is still among them");
    let mut by_token = open(&certificates, &guard, None).await;
    std::fs::write(certificates.file("clients.pem"), other).unwrap();
    guard.command_ok("reload").await;
    is_ended(&mut kept, &bare()).await;
    assert_eq!(by_token.exchange(with_token()).await.status(), 200, "a token needs no certificate");
}

#[tokio::test]
async fn a_reload_without_client_ca_takes_the_certificates_of_open_connections_away() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, &client_ca(&certificates)).await;
    let mut kept = open(&certificates, &guard, Some("bot")).await;
    assert_eq!(kept.exchange(bare()).await.status(), 200);
    guard.edit(&client_ca(&certificates), "");
    guard.command_ok("reload").await;
    assert_eq!(kept.exchange(bare()).await.status(), 401);
    assert_eq!(kept.exchange(with_token()).await.status(), 200);
}

#[tokio::test]
async fn a_reload_that_requires_client_certificates_ends_open_connections_without_one() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, &client_ca(&certificates)).await;
    let mut shows = open(&certificates, &guard, Some("bot")).await;
    let mut without = open(&certificates, &guard, None).await;
    assert_eq!(without.exchange(with_token()).await.status(), 200);
    assert_eq!(shows.exchange(bare()).await.status(), 200);
    guard.edit("client_ca", "client_auth = \"required\"\nclient_ca");
    guard.command_ok("reload").await;
    is_ended(&mut without, &with_token()).await;
    assert_eq!(shows.exchange(bare()).await.status(), 200);
}

#[tokio::test]
async fn a_client_certificate_that_expires_ends_its_open_connection() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, &client_ca(&certificates)).await;
    certificates.issue_for_seconds("short", URI, "ca", 12);
    let mut kept = open(&certificates, &guard, Some("short")).await;
    assert_eq!(kept.exchange(bare()).await.status(), 200);
    let ended = async {
        loop {
            let response = kept.exchange(bare()).await;
            if response.status() != 200 {
                assert_eq!((response.status(), response.field("Connection")), (401, Some("close")));
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    mcp_testkit::in_time("the certificate to expire", ended).await;
}

#[tokio::test]
async fn a_pair_that_expires_while_it_is_shown_does_not_refuse_a_reload() {
    let certificates = certificates();
    let (guard, _backend) = start(&certificates, "").await;
    certificates.issue_for_seconds("short", "DNS:localhost", "ca", 12);
    for part in ["pem", "key"] {
        let text = certificates.text(&format!("short.{part}"));
        std::fs::write(certificates.file(&format!("server.{part}")), text).unwrap();
    }
    guard.command_ok("reload").await;
    eventually("the pair has expired", || async {
        let told = guard.command("check").await;
        told.code == 1 && told.stdout.contains("expired on ")
    })
    .await;
    // A token that has leaked must be revoked now, whatever the state of the certificate is.
    guard.set_tokens(&tokens().replace("with-token", "renamed"));
    let told = guard.command_ok("reload").await;
    assert!(told.contains("listen.tls.certificate: expired on "), "a warning: {told}");
    certificates.issue_expired("server", "DNS:localhost", "ca");
    let told = guard.command("reload").await;
    assert!(
        told.code == 1 && told.stdout.contains("expired on 2020-01-02"),
        "another one is refused: {told:?}"
    );
}

#[tokio::test]
async fn a_reload_never_takes_tls_from_the_listener() {
    let certificates = certificates();
    let table = listen_tls(&certificates, "");
    let (guard, _backend) = start(&certificates, "").await;
    let later = "listen.tls: what changed here takes effect at the next start or upgrade";
    guard.edit(table.trim_end(), "");
    assert!(guard.command_ok("reload").await.contains(later));
    let mut client = open(&certificates, &guard, None).await;
    assert_eq!(client.exchange(with_token()).await.status(), 200);
    // The address changes at the next start only, and so does what belongs to it.
    let address = "address = \"127.0.0.1:0\"";
    guard.edit(address, "address = \"127.0.0.1:9\"");
    let told = guard.command_ok("reload").await;
    assert!(told.contains(later) && told.contains("listen.address: "), "{told}");
    let mut client = open(&certificates, &guard, None).await;
    assert_eq!(client.exchange(with_token()).await.status(), 200);
    // Back again, there is nothing left for the next start.
    guard.edit("address = \"127.0.0.1:9\"", address);
    guard.edit("[slots.blue]", &format!("{table}\n[slots.blue]"));
    let told = guard.command_ok("reload").await;
    assert!(!told.contains("at the next start"), "{told}");
}

#[tokio::test]
async fn tls_of_another_address_waits_for_the_next_start() {
    let certificates = certificates();
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().token("t").admin().upstream(&backend).on_tcp().start().await;
    let table = listen_tls(&certificates, "");
    guard.edit("address = \"127.0.0.1:0\"", "address = \"127.0.0.1:9\"");
    guard.edit("[slots.blue]", &format!("{table}\n[slots.blue]"));
    let told = guard.command_ok("reload").await;
    assert!(told.contains("listen.tls: ") && told.contains("listen.address: "), "{told}");
    assert_eq!(guard.post(&call(1, "ping")).await.status(), 200, "still in clear where it listens");
    guard.edit("127.0.0.1:9", "127.0.0.1:0");
    guard.command_ok("reload").await;
    assert_eq!(
        open(&certificates, &guard, None).await.exchange(post("t", "", &call(1, "ping"))).await.status(),
        200
    );
}

#[tokio::test]
async fn the_first_pair_keeps_its_own_names_whatever_further_pairs_have() {
    let certificates = certificates();
    certificates.issue("second", "DNS:localhost,DNS:second.example", "ca");
    let file = |name: &str| certificates.file(name).display().to_string();
    let more =
        format!("more = [{{ certificate = {:?}, key = {:?} }}]", file("second.pem"), file("second.key"));
    let (guard, _backend) = start(&certificates, &more).await;
    for (name, shown) in [("localhost", "server"), ("second.example", "second")] {
        let stream = TlsClient { name, ..TlsClient::new(&certificates) }.connect(&guard).await.unwrap();
        let first = &stream.get_ref().1.peer_certificates().unwrap()[0];
        let expected = CertificateDer::from_pem_file(certificates.file(&format!("{shown}.pem"))).unwrap();
        assert!(*first == expected, "{name}");
    }
}
