//! Opens connections to one backend: a Unix socket, an address, or a name whose addresses are tried in turn; then TLS.
//!
//! Must not know what is sent, nor keep a connection.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::resolve::{Resolver, System};
use super::socket::Socket;
use crate::proxy::tls_stream::TlsStream;
use crate::tls::ClientTls;
use crate::upstream::{Address, attempt_time, telling};

/// Opens connections to one backend.
#[derive(Debug)]
pub(crate) struct Dialer {
    address: Address,
    /// Shared with the dialers of this address under other configurations: a call that is held needs what the newest one says.
    tls: Option<Arc<ArcSwap<ClientTls>>>,
    /// Of a name.
    resolver: Option<Arc<Resolver>>,
}

/// A connection, and which address of a name it leads to.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) socket: Socket,
    pub(crate) of_name: Option<SocketAddr>,
}

impl Dialer {
    pub(crate) fn new(address: Address, tls: Option<ClientTls>) -> Dialer {
        let resolver = match &address {
            Address::Name { host, port } => Some(Arc::new(Resolver::new(host, *port, Arc::new(System)))),
            Address::Tcp(_) | Address::Unix(_) => None,
        };
        Dialer { address, tls: tls.map(|tls| Arc::new(ArcSwap::from_pointee(tls))), resolver }
    }

    /// The same address with the TLS of a newer configuration, which dialers of older ones use from now on, too. None goes from TLS to
    /// clear text, nor back.
    pub(crate) fn renewed(&self, tls: Option<ClientTls>) -> Dialer {
        let (address, resolver) = (self.address.clone(), self.resolver.clone());
        match (&self.tls, tls) {
            (Some(shared), Some(tls)) => {
                shared.store(Arc::new(tls));
                Dialer { address, tls: Some(shared.clone()), resolver }
            }
            (_, tls) => Dialer { resolver, ..Dialer::new(address, tls) },
        }
    }

    /// Whether a connection takes more than the address: a name, or TLS.
    pub(crate) fn is_elaborate(&self) -> bool {
        self.tls.is_some() || self.resolver.is_some()
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Different for backends that are reached differently.
    pub(crate) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.address.hash(&mut hasher);
        self.tls.as_ref().map(|tls| tls.load().identity()).hash(&mut hasher);
        hasher.finish()
    }

    /// Opens a connection within this time, TLS included.
    pub(crate) async fn connect(&self, within: Duration) -> io::Result<Dialed> {
        let deadline = Instant::now() + within;
        let opened = match (&self.address, &self.resolver) {
            (_, Some(resolver)) => return self.connect_by_name(resolver, deadline).await,
            (Address::Unix(path), _) => {
                timeout_at(deadline, async { UnixStream::connect(path).await.map(Socket::Unix) }).await
            }
            (Address::Tcp(address), _) => timeout_at(deadline, self.open(*address)).await,
            // A name has a resolver.
            (Address::Name { .. }, None) => Ok(Err(io::ErrorKind::NotFound.into())),
        };
        let socket = opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Dialed { socket, of_name: None })
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls.as_ref().map(|tls| tls.load_full()) else { return Ok(Socket::Tcp(stream)) };
        let opened = tls.connector().connect(tls.name(), stream).await?;
        Ok(Socket::Tls(Box::new(TlsStream(opened))))
    }

    /// Tries the addresses in turn; each gets its part of the time that is left, TLS included. Where they are too many for that, those that
    /// failed come last the next time.
    async fn connect_by_name(&self, resolver: &Resolver, deadline: Instant) -> io::Result<Dialed> {
        let addresses = resolver.addresses(deadline).await?;
        let mut failure: Option<io::Error> = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let opened = timeout(attempt_time(left, addresses.len() - tried), self.open(*address)).await;
            match opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
                Ok(socket) => {
                    resolver.prefer(*address);
                    return Ok(Dialed { socket, of_name: Some(*address) });
                }
                Err(error) => {
                    resolver.defer(*address);
                    failure = Some(telling(failure, error));
                }
            }
        }
        resolver.distrust();
        Err(failure.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
    }

    /// Whether a connection to this address of the name is one that would be opened now.
    pub(crate) fn leads_to(&self, of_name: Option<SocketAddr>) -> bool {
        match (&self.resolver, of_name) {
            (Some(resolver), Some(address)) => resolver.has(address),
            (None, _) | (_, None) => true,
        }
    }

    /// Resolves the name again if that is due. A failure changes nothing.
    pub(crate) async fn refresh(&self) {
        if let Some(resolver) = &self.resolver {
            resolver.refresh().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_testkit::closed_address;
    use tokio::net::TcpListener;

    use super::super::resolve::{Answering, LookUp};
    use super::*;

    /// A name server that knows these addresses.
    #[derive(Debug)]
    struct Fixed(Vec<SocketAddr>);

    impl LookUp for Fixed {
        fn look_up(&self, _host: Arc<str>, _port: u16) -> Answering {
            let found = self.0.clone();
            Box::pin(async move { Ok(found) })
        }
    }

    fn dialer_of(addresses: &[SocketAddr]) -> Dialer {
        let address = Address::Name { host: "guard.invalid".to_owned(), port: 1 };
        let resolver = Resolver::new("guard.invalid", 1, Arc::new(Fixed(addresses.to_vec())));
        Dialer { resolver: Some(Arc::new(resolver)), ..Dialer::new(address, None) }
    }

    // All of 127.0.0.0/8 is loopback; the backend listens on one address of it.
    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 2], here.port()));
        let dialer = dialer_of(&[nowhere, here]);
        let opened = dialer.connect(Duration::from_secs(5)).await.unwrap();
        assert!(matches!(opened.socket, Socket::Tcp(_)));
        assert_eq!(opened.of_name, Some(here));
        assert!(dialer.leads_to(opened.of_name) && !dialer.leads_to(Some(([127, 0, 0, 3], 1).into())));
        let (_kept, closed) = closed_address();
        let refused = dialer_of(&[nowhere, closed]).connect(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn backends_that_are_reached_differently_have_different_keys() {
        let key = |address: &str, tls: Option<&str>| {
            let tls = tls.map(|name| ClientTls::new(name, Some(&authority()), None).unwrap());
            Dialer::new(Address::Tcp(address.parse().unwrap()), tls).key()
        };
        let keys = [
            key("127.0.0.1:1", None),
            key("127.0.0.1:2", None),
            key("127.0.0.1:1", Some("a.example")),
            key("127.0.0.1:1", Some("b.example")),
        ];
        let distinct: std::collections::HashSet<_> = keys.into_iter().collect();
        assert_eq!((distinct.len(), key("127.0.0.1:2", None)), (4, keys[1]));
    }

    fn authority() -> String {
        mcp_testkit::Certificates::new().text("ca.pem")
    }
}
