//! What the installed unit keeps the guard from: receivers of notifications, dependencies, issuers, backends, the collector of
//! spans and the fleet's store that it must not connect to.
//!
//! Must not know how any of them is connected to.

mod network;

use std::net::IpAddr;
use std::path::Path;

use self::network::{Destination, UnitNetwork};
use crate::config::dependencies::{Check, Endpoint};
use crate::config::fleet::StoreUrl;
use crate::config::notify::Channel;
use crate::config::oauth::KeySource;
use crate::config::{Config, RouteTarget};
use crate::upstream::{Address, Slot};
use mcp_host::diagnostics::Diagnostic;

const UNIT: &str = "mcp-guard.service";
/// Where systemd looks for units, the first one counts.
const FOLDERS: &[&str] =
    &["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// A warning for each of them that the unit, if there is one, keeps the guard from. `folder` is looked at in place
/// of the usual ones.
pub(super) fn out_of_reach(config: &Config, folder: Option<&Path>) -> Vec<Diagnostic> {
    let usual = || FOLDERS.iter().map(Path::new).collect();
    let folders: Vec<&Path> = folder.map_or_else(usual, |folder| vec![folder]);
    let Some(network) = UnitNetwork::installed(UNIT, &folders) else { return Vec::new() };
    let warning = |(key, destination): (String, Destination<'_>)| {
        let obstacle = network.obstacle(destination)?;
        let (shown, allow) = match destination {
            Destination::Address(address) => (address.to_string(), address.to_string()),
            Destination::Name(name) => (name.to_owned(), "any".to_owned()),
            Destination::UnixSocket => ("its socket".to_owned(), String::new()),
        };
        let setting = obstacle.settings();
        let value = match obstacle {
            network::Obstacle::Addresses => allow,
            network::Obstacle::Families => "AF_UNIX AF_INET AF_INET6".to_owned(),
        };
        Some(Diagnostic {
            key,
            reason: format!("{UNIT} keeps the guard from {shown} ({setting})"),
            hint: Some(format!("systemctl edit mcp-guard: [Service], {setting}{value}; then restart it")),
            ..Diagnostic::default()
        })
    };
    destinations(config).into_iter().filter_map(warning).collect()
}

/// Where the guard wants to connect to, and the key that says so.
fn destinations(config: &Config) -> Vec<(String, Destination<'_>)> {
    let receivers = config.rollout.receivers.iter().filter_map(|receiver| match &receiver.channel {
        Channel::Generic { url } | Channel::Slack { url } | Channel::PagerDuty { url, .. } => {
            Some(("notify".to_owned(), of_host(host(&url.0)?)))
        }
        Channel::Exec(_) => None,
    });
    let dependencies = config.dependencies.iter().chain(&config.rollout.checks).filter_map(|dependency| {
        let destination = match &dependency.check {
            Check::Tcp(endpoint) | Check::Redis { endpoint, .. } => match endpoint {
                Endpoint::Tcp { host, .. } => of_host(host),
                Endpoint::Unix(_) => Destination::UnixSocket,
            },
            Check::Http { url, .. } => of_host(host(url)?),
            // The tool is asked as calls are; where a program connects to is not known.
            Check::Tool { .. } | Check::Command(_) => return None,
        };
        Some((format!("dependency {}", dependency.name), destination))
    });
    let backends = Slot::ALL.into_iter().filter_map(|slot| {
        Some((format!("slots.{}.address", slot.as_str()), of_address(&config.backend(slot)?.address)))
    });
    let routes = config.routes.iter().filter_map(|route| match &route.target {
        RouteTarget::Own(backend) => {
            Some((format!("route {}", route.rule.name), of_address(&backend.address)))
        }
        RouteTarget::Slot(_) | RouteTarget::Stable => None,
    });
    let others = issuers(config).chain(collector(config)).chain(stores(config));
    receivers.chain(dependencies).chain(others).chain(backends).chain(routes).collect()
}

/// Where spans go.
#[cfg(feature = "traces")]
fn collector(config: &Config) -> impl Iterator<Item = (String, Destination<'_>)> {
    let traces = config.traces.iter();
    traces.map(|traces| ("traces.endpoint".to_owned(), of_host(traces.collector.endpoint.host())))
}

#[cfg(not(feature = "traces"))]
fn collector(_config: &Config) -> impl Iterator<Item = (String, Destination<'_>)> {
    std::iter::empty()
}

/// The servers of the fleet's store that are named; Sentinels and clusters may name others.
fn stores(config: &Config) -> impl Iterator<Item = (String, Destination<'_>)> {
    let urls = config.fleet.iter().flat_map(|fleet| &fleet.store.urls);
    urls.map(|url| ("fleet.store".to_owned(), of_store(url)))
}

fn of_store(url: &StoreUrl) -> Destination<'_> {
    url.host.as_deref().map_or(Destination::UnixSocket, of_host)
}

/// Where the keys of issuers are fetched. Metadata may name an address on the issuer's own host only.
fn issuers(config: &Config) -> impl Iterator<Item = (String, Destination<'_>)> {
    let issuers = config.oauth.iter().flat_map(|oauth| &oauth.issuers);
    issuers.filter_map(|issuer| {
        let url = match &issuer.keys {
            KeySource::Discovered => &issuer.url,
            KeySource::Url(url) => url,
            KeySource::File { .. } => return None,
        };
        Some((format!("auth.oauth.issuers {}", issuer.url), of_host(host(url)?)))
    })
}

fn of_address(address: &Address) -> Destination<'_> {
    match address {
        Address::Unix(_) => Destination::UnixSocket,
        Address::Tcp(address) => Destination::Address(address.ip()),
        Address::Name { host, .. } => of_host(host),
    }
}

fn of_host(host: &str) -> Destination<'_> {
    host.parse::<IpAddr>().map_or(Destination::Name(host), Destination::Address)
}

/// The host of an address. The rest may be a secret.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_without_what_may_be_secret() {
        for (url, expect) in [
            ("https://hooks.slack.com/services/T0/B0/secret", "hooks.slack.com"),
            ("http://user:secret@example.org:8080/x", "example.org"),
            ("http://127.0.0.2:9/x", "127.0.0.2"),
            ("http://[::1]:9/x", "::1"),
            ("http://LOCALHOST?x", "LOCALHOST"),
            ("http://[2001:db8::1]/", "2001:db8::1"),
        ] {
            assert_eq!(host(url), Some(expect));
        }
    }
}
