//! Addresses for what is away.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// An address on which nothing listens, and that nothing else is given for as long as the socket is kept.
pub fn closed_address() -> (TcpSocket, SocketAddr) {
    let kept = TcpSocket::new_v4().expect("a socket");
    kept.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = kept.local_addr().expect("a bound socket");
    (kept, address)
}
