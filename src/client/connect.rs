//! Opens a connection to a server, TLS included, as the data plane does: every address of a name is tried in turn, so that a probe reaches
//! a backend where calls do. Must not know HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::tls::ClientTls;
use crate::upstream::{ADDRESSES_MAX, attempt_time, telling};

/// What requests are sent over.
pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for T {}

/// Opens a connection within this time.
pub(super) async fn open(
    host: &str,
    port: u16,
    tls: Option<&ClientTls>,
    within: Duration,
) -> io::Result<Box<dyn ReadWrite>> {
    let deadline = Instant::now() + within;
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await?.take(ADDRESSES_MAX).collect();
    in_turn(&addresses, tls, deadline).await
}

async fn in_turn(
    addresses: &[SocketAddr],
    tls: Option<&ClientTls>,
    deadline: Instant,
) -> io::Result<Box<dyn ReadWrite>> {
    let mut failure = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let opened = timeout(attempt_time(left, addresses.len() - tried), one(*address, tls)).await;
        match opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(telling(failure, error)),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

async fn one(address: SocketAddr, tls: Option<&ClientTls>) -> io::Result<Box<dyn ReadWrite>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    Ok(Box::new(tls.connector().connect(tls.name(), stream).await?))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mcp_testkit::Certificates;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls::{Expired, Pair, ServerTls};

    /// Serves handshakes on an address of its own.
    async fn server(certificates: &Certificates, name: &str) -> SocketAddr {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let pair = Pair::new(
            &certificates.text(&format!("{name}.pem")),
            &certificates.text(&format!("{name}.key")),
            now,
            Expired::Refused,
        );
        let acceptor: TlsAcceptor = ServerTls::new(&pair.unwrap(), &[], None).unwrap().acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _refused_or_not = acceptor.accept(stream).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn a_probe_tries_the_next_address_where_tls_fails_and_where_a_handshake_hangs() {
        let certificates = Certificates::new();
        certificates.issue("right", "DNS:a.example", "ca");
        certificates.issue("wrong", "DNS:b.example", "ca");
        let (wrong, right) = (server(&certificates, "wrong").await, server(&certificates, "right").await);
        // Accepts in the kernel, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().map(|address| (address, silent)).unwrap();
        let tls = ClientTls::new("a.example", Some(&certificates.text("ca.pem")), None).unwrap();
        let deadline = || Instant::now() + Duration::from_secs(10);
        let opened = in_turn(&[wrong, right], Some(&tls), deadline()).await;
        assert!(opened.is_ok(), "{:?}", opened.err());
        let soon = Instant::now() + Duration::from_secs(6);
        let opened = in_turn(&[silent.0, right], Some(&tls), soon).await;
        assert!(opened.is_ok(), "{:?}", opened.err());
        let refused = in_turn(&[wrong, ([127, 0, 0, 1], 1).into()], Some(&tls), deadline()).await;
        let refused = refused.err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|why| why.contains("not valid for name")), "{refused:?}");
        assert_eq!(in_turn(&[], None, deadline()).await.err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
