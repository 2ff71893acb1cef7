//! What `[[route]]` tables lead to, beside the slots: whether a server accepts connections there.
//!
//! No request is sent: a route may lead to anything.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::diagnosis::{Diagnosis, State};
use crate::config::Config;
use crate::config::RouteTarget;
use crate::upstream::{Address, Backend};

const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to every route's own address.
pub(super) fn look(config: &Config) -> Vec<Diagnosis> {
    let own = config.routes.iter().filter_map(|route| match &route.target {
        RouteTarget::Own(backend) => Some((&route.rule.name, &**backend)),
        // A slot is looked at as such.
        RouteTarget::Slot(_) | RouteTarget::Stable => None,
    });
    own.map(|(name, backend)| {
        let what = format!("route {name}");
        let address = backend.place();
        let connected = connect(backend);
        match connected {
            Ok(()) => Diagnosis::new(State::Ok, what, format!("{address} takes connections")),
            Err(error) => Diagnosis::new(State::Bad, what, format!("cannot connect to {address}: {error}"))
                .advise("start what serves the route, or correct its address; the guard must be allowed to open the socket"),
        }
    })
    .collect()
}

/// Connects as the guard would, to every address of a name until one takes the connection.
fn connect(backend: &Backend) -> io::Result<()> {
    let stream = match &backend.address {
        Address::Unix(path) => return UnixStream::connect(path).map(drop),
        Address::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE)?,
        Address::Name { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            let opened = (host.as_str(), *port).to_socket_addrs()?.find_map(|address| {
                TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| last = error).ok()
            });
            opened.ok_or(last)?
        }
    };
    let Some(tls) = &backend.tls else { return Ok(()) };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    tls.handshake(stream)
}
