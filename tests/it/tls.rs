//! TLS between clients and the guard: what is offered, which certificate is shown, reload, and how connections end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_testkit::{Certificates, Client, Guard, backend, call, eventually, in_time, ok, post, result};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};

use crate::guard;

static LATEST: [&SupportedProtocolVersion; 1] = [&version::TLS13];

/// What a test's client is willing to do.
pub(crate) struct TlsClient<'c> {
    pub(crate) certificates: &'c Certificates,
    /// Its own certificate.
    pub(crate) shows: Option<&'c str>,
    pub(crate) versions: &'c [&'static SupportedProtocolVersion],
    pub(crate) alpn: &'c [&'c str],
    pub(crate) name: &'c str,
    /// Bytes that its socket takes before it reads.
    pub(crate) window: Option<u32>,
}

impl<'c> TlsClient<'c> {
    pub(crate) fn new(certificates: &'c Certificates) -> TlsClient<'c> {
        TlsClient {
            certificates,
            shows: None,
            versions: &LATEST,
            alpn: &["http/1.1"],
            name: "localhost",
            window: None,
        }
    }

    /// A handshake with this guard, as openssl or a browser would do it.
    pub(crate) async fn connect(&self, guard: &Guard) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.window {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream =
            socket.connect(guard.listen_address().parse().unwrap()).await.expect("a listening guard");
        self.connect_over(stream).await
    }

    /// The same over a connection that is open already.
    pub(crate) async fn connect_over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let file = |name: &str| self.certificates.file(name);
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(file(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(self.name.to_owned()).unwrap();
        in_time("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    /// A connection of the test kit over TLS.
    pub(crate) async fn open(&self, guard: &Guard) -> Client {
        Client::over(self.connect(guard).await.expect("a handshake"))
    }
}

/// `[listen.tls]` with the pair `server`, and further lines.
pub(crate) fn listen_tls(certificates: &Certificates, more: &str) -> String {
    let file = |name: &str| certificates.file(name).display().to_string();
    format!("[listen.tls]\ncertificate = {:?}\nkey = {:?}\n{more}", file("server.pem"), file("server.key"))
}

fn server_certificates() -> Certificates {
    let certificates = Certificates::new();
    certificates.issue("server", "DNS:localhost", "ca");
    certificates
}

/// The certificate that the guard shows to a client that asks for `name`.
async fn shown(certificates: &Certificates, guard: &Guard, name: &str) -> Vec<u8> {
    let stream = TlsClient { name, ..TlsClient::new(certificates) }.connect(guard).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(certificates: &Certificates, name: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(certificates.file(name)).unwrap().to_vec()
}

#[tokio::test]
async fn calls_pass_over_tls_in_both_versions_and_the_backend_is_told() {
    let certificates = server_certificates();
    let backend = backend().await.serve(|request| {
        assert_eq!(request.field("X-Forwarded-Proto"), Some("https"), "{}", request.head);
        ok(&result(1))
    });
    let config = listen_tls(&certificates, "");
    let guard = guard().token("t").upstream(&backend).on_tcp().config(&config).start().await;
    for (versions, expected) in [
        (&[&version::TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&version::TLS13][..], ProtocolVersion::TLSv1_3),
    ] {
        let client = TlsClient { versions, ..TlsClient::new(&certificates) };
        let stream = client.connect(&guard).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(expected));
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let mut client = Client::over(stream);
        for _ in 0..2 {
            assert_eq!(client.exchange(post("t", "", &call(1, "ping"))).await.status(), 200);
        }
        assert_eq!(client.exchange(post("wrong", "", &call(1, "ping"))).await.status(), 403);
    }
    // A client that speaks HTTP/2 only is refused at the handshake; one that says nothing is not.
    let h2 = TlsClient { alpn: &["h2"], ..TlsClient::new(&certificates) };
    assert!(h2.connect(&guard).await.unwrap_err().to_string().contains("NoApplicationProtocol"));
    let silent = TlsClient { alpn: &[], ..TlsClient::new(&certificates) };
    let _open = silent.connect(&guard).await.unwrap();
    let count = async |outcome: &str| {
        guard.metric(&format!("mcp_guard_tls_handshakes_total{{outcome=\"{outcome}\"}}")).await
    };
    // The client's side of a handshake ends first.
    eventually("all handshakes are counted", || async {
        count("done").await >= 3.0 && count("incompatible").await >= 1.0
    })
    .await;
    assert_eq!((count("done").await, count("incompatible").await), (3.0, 1.0));
    assert!(guard.metric("mcp_guard_tls_certificate_not_after_seconds").await > 1.7e9);
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let certificates = server_certificates();
    certificates.issue("tools", "DNS:Tools.example,DNS:*.wild.example", "ca");
    let file = |name: &str| certificates.file(name).display().to_string();
    let more = format!("more = [{{ certificate = {:?}, key = {:?} }}]", file("tools.pem"), file("tools.key"));
    let guard = guard().token("t").on_tcp().config(&listen_tls(&certificates, &more)).start().await;
    for name in ["tools.example", "TOOLS.example", "a.wild.example"] {
        assert_eq!(shown(&certificates, &guard, name).await, der(&certificates, "tools.pem"), "{name}");
    }
    assert_eq!(shown(&certificates, &guard, "localhost").await, der(&certificates, "server.pem"));
    for name in ["a.b.wild.example", "wild.example", "other.example", "127.0.0.1"] {
        let client = TlsClient { name, ..TlsClient::new(&certificates) };
        let refused = client.connect(&guard).await.unwrap_err().to_string();
        assert!(refused.contains("not valid for name"), "the first pair serves {name}: {refused}");
    }
}

// Issue: "a bad pair is refused and the running one stays"; new handshakes use the new pair.
#[tokio::test]
async fn a_reload_replaces_the_certificate_for_new_connections_and_refuses_a_bad_pair() {
    let certificates = server_certificates();
    certificates.issue("next", "DNS:localhost", "ca");
    certificates.issue_expired("old", "DNS:localhost", "ca");
    let backend = backend().await.serve(|_| ok(&result(1)));
    let config = listen_tls(&certificates, "");
    let guard = guard().token("t").admin().upstream(&backend).on_tcp().config(&config).start().await;
    let mut before = TlsClient::new(&certificates).open(&guard).await;
    let first = der(&certificates, "server.pem");
    let (server, key) = (certificates.text("server.pem"), certificates.text("server.key"));
    let ways = [
        ("server.pem", certificates.text("next.pem"), "is the key of another certificate"),
        ("server.pem", certificates.text("old.pem"), "expired on 2020-01-02"),
        ("server.pem", "nothing".to_owned(), "holds no certificate"),
        ("server.key", String::new(), "holds no private key"),
        (
            "server.key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
            "is no RSA",
        ),
    ];
    for (file, text, problem) in &ways {
        std::fs::write(certificates.file(file), text).unwrap();
        let told = guard.command("reload").await;
        assert_eq!(told.code, 1, "{told:?}");
        assert!(told.stdout.contains(problem), "{problem}: {told:?}");
        assert!(guard.command("check").await.stdout.contains(problem), "check says the same");
        assert_eq!(shown(&certificates, &guard, "localhost").await, first, "the running pair stays");
        std::fs::write(certificates.file("server.pem"), &server).unwrap();
        std::fs::write(certificates.file("server.key"), &key).unwrap();
    }
    std::fs::remove_file(certificates.file("server.key")).unwrap();
    let told = guard.command("reload").await;
    assert!(told.stdout.contains("listen.tls.key") && told.stdout.contains("cannot read"), "{told:?}");

    std::fs::write(certificates.file("server.pem"), certificates.text("next.pem")).unwrap();
    std::fs::write(certificates.file("server.key"), certificates.text("next.key")).unwrap();
    guard.command_ok("reload").await;
    assert_eq!(shown(&certificates, &guard, "localhost").await, der(&certificates, "next.pem"));
    assert_eq!(before.exchange(post("t", "", &call(1, "ping"))).await.status(), 200, "it lives on");
}

#[tokio::test]
async fn a_slow_handshake_ends_with_the_deadline_of_a_head() {
    let certificates = server_certificates();
    let config = format!("{}\n[timeouts]\nheader = \"3s\"", listen_tls(&certificates, ""));
    let guard = guard().token("t").on_tcp().config(&config).start().await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(guard.listen_address()).await.unwrap();
    let mut dribbling = TcpStream::connect(guard.listen_address()).await.unwrap();
    // A record of a ClientHello that never ends.
    dribbling.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 252]).await.unwrap();
    for stream in [&mut silent, &mut dribbling] {
        let mut rest = Vec::new();
        in_time("the end of the connection", stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"", "nothing is said in clear");
    }
    assert!(started.elapsed() >= Duration::from_secs(3));
    // A client that says nothing after its handshake is closed, too, and told so.
    let mut idle = TlsClient::new(&certificates).connect(&guard).await.unwrap();
    let mut rest = Vec::new();
    in_time("the end of the connection", idle.read_to_end(&mut rest)).await.expect("close_notify");
    eventually("they are counted", || async {
        guard.metric(r#"mcp_guard_tls_handshakes_total{outcome="timeout"}"#).await == 2.0
    })
    .await;
    eventually("none is open", || async { guard.metric("mcp_guard_connections").await == 0.0 }).await;
}

#[tokio::test]
async fn what_is_no_handshake_gets_an_alert_and_the_end() {
    let certificates = server_certificates();
    let guard = guard().token("t").on_tcp().config(&listen_tls(&certificates, "")).start().await;
    let plain = post("t", "", &call(1, "ping"));
    for sent in [plain.as_bytes(), b"\x16\x03\x01\x00\x05hello", b"\x00", &[0xff; 4096]] {
        let mut stream = TcpStream::connect(guard.listen_address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        in_time("the end of the connection", stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty() || rest.starts_with(&[0x15, 3]), "an alert or nothing: {rest:?}");
    }
    eventually("all four are counted", || async {
        let count = async |outcome: &str| {
            guard.metric(&format!("mcp_guard_tls_handshakes_total{{outcome=\"{outcome}\"}}")).await
        };
        count("malformed").await + count("closed").await == 4.0
    })
    .await;
    assert!(guard.log().iter().all(|line| !line.contains("panicked")), "{:?}", guard.log());
}

#[tokio::test]
async fn a_connection_ends_with_close_notify_where_its_responses_are_whole() {
    let certificates = server_certificates();
    let served = backend().await;
    let config = listen_tls(&certificates, "");
    let guard = guard().token("t").upstream(&served).on_tcp().config(&config).start().await;
    let request = post("t", "Connection: close\r\n", &call(1, "ping"));
    let mut stream = TlsClient::new(&certificates).connect(&guard).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut peer = served.accept().await;
    peer.request().await;
    peer.send(ok(&result(1))).await;
    let mut rest = Vec::new();
    in_time("the response", stream.read_to_end(&mut rest)).await.expect("close_notify");
    assert!(rest.starts_with(b"HTTP/1.1 200 "));

    // A response that the backend cuts: its end must not look like one.
    let mut stream = TlsClient::new(&certificates).connect(&guard).await.unwrap();
    stream.write_all(post("t", "", &call(2, "tools/call")).as_bytes()).await.unwrap();
    peer.request().await;
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{{\"text\":\"{}", "x".repeat(200_000));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n";
    peer.send(format!("{head}{body}")).await;
    let mut rest = vec![0; 100_000];
    in_time("the beginning", stream.read_exact(&mut rest)).await.unwrap();
    drop(peer);
    let cut = in_time("the end", stream.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_large_response_reaches_a_slow_reader_whole() {
    let certificates = server_certificates();
    let text = "y".repeat(3 << 20);
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"text\":\"{text}\"}}}}");
    let expected = body.clone();
    let backend = backend().await.serve(move |_| ok(&body));
    let config = listen_tls(&certificates, "");
    let guard = guard().token("t").upstream(&backend).on_tcp().config(&config).start().await;
    for versions in [&[&version::TLS12][..], &[&version::TLS13][..]] {
        let client = TlsClient { versions, ..TlsClient::new(&certificates) };
        let mut stream = client.connect(&guard).await.unwrap();
        stream.write_all(post("t", "", &call(1, "tools/call")).as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let reading = async {
            while !received.ends_with(expected.as_bytes()) {
                let mut piece = [0; 1000];
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0, "{} bytes", received.len());
                received.extend_from_slice(&piece[..read]);
            }
        };
        in_time("the response", reading).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_without_a_handshake() {
    let certificates = server_certificates();
    let backend = backend().await;
    let config = format!("{}\n[limits]\nconnections = 1", listen_tls(&certificates, ""));
    let guard = guard().token("t").upstream(&backend).on_tcp().config(&config).start().await;
    let mut served = TlsClient::new(&certificates).open(&guard).await;
    served.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    assert!(TlsClient::new(&certificates).connect(&guard).await.is_err());
    peer.send(ok(&result(1))).await;
    assert_eq!(served.response().await.status(), 200);
    // Once the guard has noticed that it idles, it makes room.
    eventually("it makes room", || async { TlsClient::new(&certificates).connect(&guard).await.is_ok() })
        .await;
    assert_eq!(served.rest().await, b"");
    assert_eq!(guard.metric("mcp_guard_connections_evicted_total").await, 1.0);
}

#[tokio::test]
async fn a_stop_lets_a_handshake_and_a_call_finish() {
    let certificates = server_certificates();
    let backend = backend().await;
    let config = listen_tls(&certificates, "");
    let mut guard = guard().token("t").upstream(&backend).on_tcp().config(&config).start().await;
    let mut client = TlsClient::new(&certificates).connect(&guard).await.unwrap();
    client.write_all(post("t", "", &call(1, "tools/call")).as_bytes()).await.unwrap();
    let mut peer = backend.accept().await;
    peer.request().await;
    guard.signal(Signal::TERM);
    guard.logged("stopping").await;
    peer.send(ok(&result(1))).await;
    let mut rest = Vec::new();
    in_time("the response", client.read_to_end(&mut rest)).await.expect("close_notify");
    let text = String::from_utf8(rest).unwrap();
    assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with(&result(1)), "{text}");
    assert!(guard.ended().await.success());
}
