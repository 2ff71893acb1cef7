//! Contract, section 19: "`[console] address` (loopback by default; elsewhere only with TLS)": handshakes, reload, bounds.

use mcp_testkit::{Certificates, Client, Guard, ServingBackend, backend, ok, result};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::guard;
use crate::tls::TlsClient;

const VIEWER: &str = "viewer-0123456789abcdef";

/// A guard whose console has the pair `server`, if anything.
struct Encrypted {
    certificates: Certificates,
    guard: Guard,
    port: u16,
    _backend: ServingBackend,
}

async fn start(address: &str, tls: bool) -> Encrypted {
    let certificates = Certificates::new();
    certificates.issue("server", "DNS:localhost", "ca");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let backend = backend().await.serve(|_| ok(&result(1)));
    let tls = if tls { console_tls(&certificates) } else { String::new() };
    let console =
        format!("[console]\naddress = \"{address}:{port}\"\nviewers = [\"env:TEST_VIEWER\"]\n{tls}");
    let started = guard().token("t").admin().upstream(&backend).environment("TEST_VIEWER", VIEWER);
    let guard = started.config(&console).start().await;
    Encrypted { certificates, guard, port, _backend: backend }
}

fn console_tls(certificates: &Certificates) -> String {
    let file = |name: &str| certificates.file(name).display().to_string();
    format!("[console.tls]\ncertificate = {:?}\nkey = {:?}\n", file("server.pem"), file("server.key"))
}

fn status_request() -> String {
    format!("GET /api/v1/status HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {VIEWER}\r\n\r\n")
}

impl Encrypted {
    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        TlsClient::new(&self.certificates).connect_over(self.tcp().await).await
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self) -> Vec<u8> {
        self.tls().await.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    fn certificate(&self) -> Vec<u8> {
        CertificateDer::from_pem_file(self.certificates.file("server.pem")).unwrap().to_vec()
    }

    async fn refuses_clear_text(&self) -> bool {
        let mut plain = Client::tcp(self.tcp().await);
        plain.send(status_request()).await;
        !plain.rest().await.starts_with(b"HTTP")
    }

    async fn responds(&self) {
        let mut client = Client::over(self.tls().await.unwrap());
        assert_eq!(client.exchange(status_request()).await.status(), 200);
    }
}

#[tokio::test]
async fn the_console_speaks_tls_on_an_address_that_other_machines_reach() {
    let console = start("0.0.0.0", true).await;
    console.guard.logged(&format!("console on https://0.0.0.0:{}/", console.port)).await;
    console.responds().await;
    let mut stream = Client::over(console.tls().await.unwrap());
    let request = status_request().replace("/api/v1/status", "/api/v1/events");
    stream.send(request).await;
    stream.until("event: state\n").await;
    stream.until("event: second\n").await;
    assert!(console.refuses_clear_text().await);
    assert!(console.guard.metric("mcp_guard_tls_certificate_not_after_seconds").await > 1.7e9);
}

#[tokio::test]
async fn a_reload_renews_the_certificate_of_the_console_and_refuses_a_pair_that_cannot_serve() {
    let console = start("127.0.0.1", true).await;
    let first = console.certificate();
    assert_eq!(console.shown().await, first);
    let mut kept = Client::over(console.tls().await.unwrap());
    console.certificates.issue("server", "DNS:localhost", "ca");
    console.guard.command_ok("reload").await;
    let second = console.certificate();
    assert_eq!(console.shown().await, second);
    assert_ne!(first, second);
    assert_eq!(kept.exchange(status_request()).await.status(), 200, "connections in use continue");

    console.certificates.issue("other", "DNS:localhost", "ca");
    std::fs::write(console.certificates.file("server.key"), console.certificates.text("other.key")).unwrap();
    let refused = console.guard.command("reload").await;
    assert!(refused.code == 1 && refused.stdout.contains("console.tls.key"), "{refused:?}");
    assert_eq!(console.shown().await, second);

    console.guard.edit(&console_tls(&console.certificates), "");
    let reloaded = console.guard.command_ok("reload").await;
    assert!(reloaded.contains("console.tls"), "{reloaded}");
    console.responds().await;
}

#[tokio::test]
async fn a_reload_turns_tls_of_the_console_on() {
    let console = start("127.0.0.1", false).await;
    assert_eq!(Client::tcp(console.tcp().await).exchange(status_request()).await.status(), 200);
    let viewers = "viewers = [\"env:TEST_VIEWER\"]\n";
    console.guard.edit(viewers, &format!("{viewers}{}", console_tls(&console.certificates)));
    console.guard.command_ok("reload").await;
    console.responds().await;
    assert!(console.refuses_clear_text().await);
}

// A handshake that does not end takes a place only until another connection needs it, and for a bounded time.
#[tokio::test]
async fn handshakes_that_stall_are_closed_and_make_room() {
    let console = start("127.0.0.1", true).await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(console.tcp().await);
    }
    console.responds().await;
    for stream in silent {
        assert_eq!(Client::tcp(stream).rest().await, b"");
    }
    console.responds().await;
}
