//! TLS and names towards backends: calls, probes and routes, what a backend must prove, and what is said where it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_testkit::{Builder, Certificates, Guard, call, eventually, in_time, mcp_backend, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::guard;
use crate::tls::{TlsClient, listen_tls};

/// Ends TLS in front of a backend on a Unix socket.
pub(crate) struct Terminator {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Terminator {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Shows the certificate `shown`, and asks for one that the authority `clients` has signed.
pub(crate) async fn terminator(
    certificates: &Certificates,
    shown: &str,
    clients: Option<&str>,
    backend: &str,
) -> Terminator {
    let file = |name: String| certificates.file(&name);
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file(format!("{name}.pem"))).unwrap()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::from_pem_file(file(format!("{shown}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(file(format!("{shown}.key"))).unwrap();
    let config = builder.with_single_cert(vec![chain], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, socket) = (connections.clone(), backend.trim_start_matches("unix:").to_owned());
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counted, socket) = (acceptor.clone(), counted.clone(), socket.clone());
            open.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let Ok(mut behind) = UnixStream::connect(socket).await else { return };
                let _ = copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    Terminator { port, connections, task }
}

fn certificates() -> Certificates {
    let certificates = Certificates::new();
    certificates.authority("other");
    certificates.issue("server", "DNS:localhost", "ca");
    certificates.issue("guard", "DNS:guard.example", "other");
    certificates.issue_expired("old", "DNS:localhost", "ca");
    certificates
}

/// A guard whose slot leads to this address, with lines of its `tls`.
fn guard_of(certificates: &Certificates, address: &str, tls: &str) -> Builder {
    let tls = tls.replace('@', &format!("{}/", certificates.folder().display()));
    let config = format!(
        "[slots.blue.tls]\n{tls}\n[timeouts]\nhold = \"300ms\"\n[health]\ninterval = \"200ms\"\ntimeout = \"200ms\""
    );
    guard().token("t").upstream(address).slot("pool_idle = \"60s\"").config(&config)
}

const CA: &str = "ca = \"@ca.pem\"";

async fn healthy(guard: &Guard) {
    eventually("the probes pass", || async {
        guard.metric(r#"mcp_guard_slot_healthy{slot="blue"}"#).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn calls_and_probes_reach_a_backend_over_tls_and_connections_are_pooled() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let front = terminator(&certificates, "server", None, backend.address()).await;
    let address = format!("https://localhost:{}", front.port);
    let guard = guard_of(&certificates, &address, CA).start().await;
    healthy(&guard).await;
    for id in 1..=20 {
        assert_eq!(guard.post(&call(id, "ping")).await.json()["id"], id);
    }
    let opened = guard.metric(r#"mcp_guard_upstream_connections_total{result="opened",slot="blue"}"#).await;
    // One, but for a call that comes before the connection of the one before it is back.
    assert!(opened < 10.0, "session tickets do not end a pooled connection: {opened}");
    assert!(front.connections() > 1, "probes have connections of their own");
}

#[tokio::test]
async fn a_backend_that_cannot_prove_its_name_gets_no_byte_of_a_call() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let right = terminator(&certificates, "server", None, backend.address()).await;
    let old = terminator(&certificates, "old", None, backend.address()).await;
    for (address, tls, told) in [
        (format!("https://127.0.0.1:{}", right.port), CA, "not valid for name"),
        (format!("https://localhost:{}", right.port), "ca = \"@other.pem\"", "UnknownIssuer"),
        (
            format!("https://localhost:{}", right.port),
            "ca = \"@ca.pem\"\nserver_name = \"a.example\"",
            "not valid for name",
        ),
        (format!("https://localhost:{}", old.port), CA, "expired"),
    ] {
        let guard = guard_of(&certificates, &address, tls).start().await;
        let refused = guard.post(&call(1, "tools/call")).await;
        assert!(refused.json().get("error").is_some(), "{address} {tls}: {}", refused.text());
        guard.logged("cannot connect to https://").await;
        guard.logged(told).await;
        let failed =
            guard.metric(r#"mcp_guard_upstream_connections_total{result="failed",slot="blue"}"#).await;
        assert!(failed >= 1.0, "{address}");
        assert_eq!(guard.metric(r#"mcp_guard_slot_healthy{slot="blue"}"#).await, 0.0);
    }
    assert_eq!((right.connections(), old.connections()), (0, 0));
    // The name is the operator's: what the address says does not count then.
    let named = format!("https://127.0.0.1:{}", right.port);
    let guard =
        guard_of(&certificates, &named, "ca = \"@ca.pem\"\nserver_name = \"localhost\"").start().await;
    assert_eq!(guard.post(&call(1, "ping")).await.status(), 200);
}

#[tokio::test]
async fn nothing_is_sent_in_clear_to_a_backend_without_tls() {
    let certificates = certificates();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let guard = guard_of(&certificates, &address, CA).start().await;
    let asked = tokio::spawn(async move { guard.post(&call(1, "tools/call")).await.json() });
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(first, [0x16, 3, 1], "a ClientHello");
    }
    assert!(asked.await.unwrap().get("error").is_some());
}

#[tokio::test]
async fn the_guard_shows_its_own_certificate_where_a_backend_asks_for_one() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let front = terminator(&certificates, "server", Some("other"), backend.address()).await;
    let address = format!("https://localhost:{}", front.port);
    let shows = "ca = \"@ca.pem\"\ncertificate = \"@guard.pem\"\nkey = \"@guard.key\"";
    let guard = guard_of(&certificates, &address, shows).start().await;
    healthy(&guard).await;
    assert_eq!(guard.post(&call(1, "ping")).await.status(), 200);
    let without = guard_of(&certificates, &address, CA).start().await;
    assert!(without.post(&call(1, "tools/call")).await.json().get("error").is_some());
}

#[tokio::test]
async fn a_route_reaches_its_own_backend_over_tls() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let front = terminator(&certificates, "server", None, backend.address()).await;
    let authority = certificates.file("ca.pem").display().to_string();
    let route = |name: &str, host: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nprefix = \"/{name}\"\nmethods = [\"POST\"]\nauth = \"none\"\n\
             address = \"https://{host}:{}\"\ntls = {{ ca = {authority:?} }}\n",
            front.port
        )
    };
    let config = route("right", "localhost") + &route("wrong", "127.0.0.1");
    let guard = guard().token("t").upstream(backend.address()).config(&config).start().await;
    let ask = |path: &'static str| {
        let request = post("t", "", &call(7, "ping")).replace("/mcp", path);
        let guard = &guard;
        async move { guard.connect().await.exchange(request).await }
    };
    for _ in 0..3 {
        let response = ask("/right").await;
        assert_eq!(
            (response.status(), response.json()["id"].as_u64()),
            (200, Some(7)),
            "{}",
            response.text()
        );
    }
    assert_eq!(ask("/wrong").await.status(), 503);
    guard.logged("route wrong: cannot connect to the backend: invalid peer certificate").await;
}

#[tokio::test]
async fn a_name_in_clear_is_resolved_and_a_name_that_does_not_exist_is_told() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = backend.address().trim_start_matches("unix:").to_owned();
    let relay = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut behind = UnixStream::connect(socket).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    let by_name = guard().token("t").upstream(&*format!("localhost:{port}")).start().await;
    assert_eq!(by_name.post(&call(1, "ping")).await.status(), 200);
    relay.abort();
    let nowhere = guard_of(&certificates, "https://nowhere.invalid:1", CA).start().await;
    assert!(nowhere.post(&call(1, "tools/call")).await.json().get("error").is_some());
    nowhere.logged("cannot connect to https://nowhere.invalid:1").await;
}

/// A backend of raw bytes on a Unix socket: responds to a request with `head`, then sends back what it receives.
fn echo(path: &std::path::Path, head: String) -> JoinHandle<()> {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(head.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.into_split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    })
}

const BYTES: usize = 1 << 20;

#[tokio::test]
async fn a_websocket_and_a_large_event_pass_whole_over_tls_on_both_sides() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let event = format!("data: {}\n\n", "#".repeat(BYTES));
    let events = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
        event.len()
    );
    let (socket, stream) = (folder.path().join("w.sock"), folder.path().join("s.sock"));
    let _backends = [echo(&socket, switch.to_owned()), echo(&stream, events)];
    let sockets = terminator(&certificates, "server", None, &socket.display().to_string()).await;
    let streams = terminator(&certificates, "server", None, &stream.display().to_string()).await;
    let authority = certificates.file("ca.pem").display().to_string();
    let route = |name: &str, port: u16, more: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nprefix = \"/{name}\"\nauth = \"none\"\n{more}\n\
             address = \"https://localhost:{port}\"\ntls = {{ ca = {authority:?} }}\n"
        )
    };
    let config = listen_tls(&certificates, "")
        + &route("socket", sockets.port, "websocket = true")
        + &route("stream", streams.port, "");
    let guard = guard().token("t").on_tcp().config(&config).start().await;

    let upgrade = "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let (mut read, mut write) =
        tokio::io::split(TlsClient::new(&certificates).connect(&guard).await.unwrap());
    write.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(in_time("the 101", read.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let sent: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
        write
    });
    let mut received = vec![0; BYTES];
    in_time("the bytes back", read.read_exact(&mut received)).await.unwrap();
    assert!(received == expected, "the bytes are the same");
    drop(writing.await.unwrap());

    // The backend is silent behind its event: nothing but the guard itself can bring its last bytes out.
    let slow = TlsClient { window: Some(4096), ..TlsClient::new(&certificates) };
    let mut stream = slow.connect(&guard).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut received = 0;
    let reading = async {
        let mut piece = vec![0; 1500];
        while received < BYTES {
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{received}");
            received += piece[..read].iter().filter(|byte| **byte == b'#').count();
        }
    };
    in_time("the event", reading).await;
}
