//! Opens connections to one backend: a Unix socket, an address, or a name whose addresses are tried in turn; then TLS.
//!
//! A name is resolved at the first connection, then off the path of requests, and at once when none of its addresses can be
//! reached. Must not know what is sent, nor keep a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::socket::Socket;
use crate::proxy::tls_stream::TlsStream;
use crate::tls::ClientTls;
use crate::upstream::Address;

/// How long the addresses of a name are believed.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// While none of them can be reached, how soon the name is resolved again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// For one lookup off the path of requests.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Opens connections to one backend.
#[derive(Debug)]
pub(crate) struct Dialer {
    address: Address,
    tls: Option<ClientTls>,
    known: Mutex<Known>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The one that was reached last comes first.
    addresses: Vec<SocketAddr>,
    resolved: Option<Instant>,
}

/// What a refresh has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refreshed {
    Same,
    /// The name has lost an address.
    Moved,
}

impl Dialer {
    pub(crate) fn new(address: Address, tls: Option<ClientTls>) -> Dialer {
        Dialer { address, tls, known: Mutex::default() }
    }

    /// Whether a connection takes more than the address: a name, or TLS.
    pub(crate) fn is_elaborate(&self) -> bool {
        self.tls.is_some() || matches!(self.address, Address::Name { .. })
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a connection within this time, TLS included.
    pub(crate) async fn connect(&self, within: Duration) -> io::Result<Socket> {
        let deadline = Instant::now() + within;
        let opened = match &self.address {
            Address::Unix(path) => {
                timeout_at(deadline, async { UnixStream::connect(path).await.map(Socket::Unix) }).await
            }
            Address::Tcp(address) => timeout_at(deadline, self.open(*address)).await,
            Address::Name { host, port } => return self.connect_by_name(host, *port, deadline).await,
        };
        opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Socket::Tcp(stream)) };
        let opened = tls.connector().connect(tls.name(), stream).await?;
        Ok(Socket::Tls(Box::new(TlsStream(opened))))
    }

    /// Tries the addresses in turn; each gets its part of the time that is left.
    async fn connect_by_name(&self, host: &str, port: u16, deadline: Instant) -> io::Result<Socket> {
        let addresses = self.addresses(host, port, deadline).await?;
        let mut failure: Option<io::Error> = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let parts = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let opened = timeout(left / parts, self.open(*address)).await;
            match opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
                Ok(socket) => {
                    self.known().prefer(*address);
                    return Ok(socket);
                }
                // A refused certificate says more than a refused connection.
                Err(error)
                    if failure.as_ref().is_some_and(|first| is_of_tls(first) && !is_of_tls(&error)) => {}
                Err(error) => failure = Some(error),
            }
        }
        self.known().distrust(Instant::now());
        Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }

    /// The addresses to try. Only where none is known, or all have failed, is the name resolved first.
    async fn addresses(&self, host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
        let (known, is_due) = {
            let known = self.known();
            (known.addresses.clone(), known.resolved.is_none())
        };
        if !known.is_empty() && !is_due {
            return Ok(known);
        }
        match timeout_at(deadline, lookup(host, port)).await {
            Ok(Ok(found)) if !found.is_empty() => {
                let mut known = self.known();
                known.update(found, Instant::now());
                Ok(known.addresses.clone())
            }
            // A name server that fails is no reason to give up addresses that may still be right.
            _ if !known.is_empty() => {
                self.known().resolved = Some(Instant::now());
                Ok(known)
            }
            Ok(Ok(_none)) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time"))
            }
        }
    }

    /// Resolves the name again if that is due. A failure changes nothing.
    pub(crate) async fn refresh(&self) -> Refreshed {
        let Address::Name { host, port } = &self.address else { return Refreshed::Same };
        let now = Instant::now();
        // What was never asked for is resolved when it is.
        if self
            .known()
            .resolved
            .is_none_or(|resolved| now.saturating_duration_since(resolved) < RESOLVE_INTERVAL)
        {
            return Refreshed::Same;
        }
        match timeout(LOOKUP_TIME_MAX, lookup(host, *port)).await {
            Ok(Ok(found)) if !found.is_empty() => self.known().update(found, Instant::now()),
            Ok(Ok(_) | Err(_)) | Err(_) => {
                self.known().resolved = Some(now);
                Refreshed::Same
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes what the name resolves to now. The preferred address stays first as long as the name has it.
    fn update(&mut self, mut found: Vec<SocketAddr>, now: Instant) -> Refreshed {
        found.truncate(ADDRESSES_MAX);
        let lost = self.addresses.iter().any(|address| !found.contains(address));
        if let Some(preferred) = self.addresses.first().copied().filter(|address| found.contains(address)) {
            found.retain(|address| *address != preferred);
            found.insert(0, preferred);
        }
        (self.addresses, self.resolved) = (found, Some(now));
        if lost { Refreshed::Moved } else { Refreshed::Same }
    }

    /// This address was reached: it is tried first from now on.
    fn prefer(&mut self, address: SocketAddr) {
        if let Some(at) = self.addresses.iter().position(|known| *known == address) {
            self.addresses[..=at].rotate_right(1);
        }
    }

    /// No address was reached: the next connection resolves the name again, but not each of many.
    fn distrust(&mut self, now: Instant) {
        if self.resolved.is_some_and(|resolved| now.saturating_duration_since(resolved) >= RETRY_INTERVAL) {
            self.resolved = None;
        }
    }
}

/// Whether TLS failed, and not the connection.
pub(crate) fn is_of_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in tokio::net::lookup_host((host, port)).await? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 80).into()
    }

    #[test]
    fn the_address_of_a_name_that_was_reached_last_is_tried_first() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(known.update(vec![address(1), address(2), address(3)], now), Refreshed::Same);
        known.prefer(address(3));
        assert_eq!(known.addresses, [address(3), address(1), address(2)]);
        // Its name server answers in another order each time.
        assert_eq!(known.update(vec![address(2), address(1), address(3)], now), Refreshed::Same);
        assert_eq!(known.addresses, [address(3), address(2), address(1)]);
        known.prefer(address(9));
        assert_eq!(known.addresses.len(), 3);
    }

    #[test]
    fn a_name_that_loses_an_address_has_moved() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.update(vec![address(1)], now);
        assert_eq!(known.update(vec![address(1), address(2)], now), Refreshed::Same);
        assert_eq!(known.update(vec![address(2)], now), Refreshed::Moved);
        assert_eq!(known.addresses, [address(2)]);
    }

    #[test]
    fn a_name_whose_addresses_all_fail_is_resolved_again_at_most_once_a_second() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.update(vec![address(1)], now);
        known.distrust(now + RETRY_INTERVAL / 2);
        assert!(known.resolved.is_some());
        known.distrust(now + RETRY_INTERVAL);
        assert!(known.resolved.is_none());
    }

    // Loopback has two addresses wherever IPv6 is on; the backend listens on one of them.
    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = Dialer::new(Address::Name { host: "guard.invalid".to_owned(), port }, None);
        let nowhere = SocketAddr::from(([127, 0, 0, 2], port));
        dialer.known().update(vec![nowhere, listener.local_addr().unwrap()], Instant::now());
        assert!(matches!(dialer.connect(Duration::from_secs(5)).await, Ok(Socket::Tcp(_))));
        assert_eq!(dialer.known().addresses[0], listener.local_addr().unwrap());
        drop(listener);
        let refused = dialer.connect(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
