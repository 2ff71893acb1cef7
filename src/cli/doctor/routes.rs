//! What `[[route]]` tables lead to, beside the slots: whether a server accepts connections there.
//!
//! No request is sent: a route may lead to anything.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::diagnosis::{Diagnosis, State};
use crate::config::Config;
use crate::config::RouteTarget;
use crate::upstream::Address;

const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to every route's own address.
pub(super) fn look(config: &Config) -> Vec<Diagnosis> {
    let own = config.routes.iter().filter_map(|route| match &route.target {
        RouteTarget::Own(backend) => Some((&route.rule.name, &backend.address)),
        // A slot is looked at as such.
        RouteTarget::Slot(_) | RouteTarget::Stable => None,
    });
    own.map(|(name, address)| {
        let what = format!("route {name}");
        let connected = match address {
            Address::Unix(path) => UnixStream::connect(path).map(drop),
            Address::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).map(drop),
        };
        match connected {
            Ok(()) => Diagnosis::new(State::Ok, what, format!("{address} takes connections")),
            Err(error) => Diagnosis::new(State::Bad, what, format!("cannot connect to {address}: {error}"))
                .advise("start what serves the route, or correct its address; the guard must be allowed to open the socket"),
        }
    })
    .collect()
}
