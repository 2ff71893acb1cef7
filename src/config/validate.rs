//! What concerns several keys at once: contradictions are problems, unlikely wishes are warnings.
//!
//! Must not know how keys are read. Every check names the key an operator would change.

use std::net::SocketAddr;
use std::time::Duration;

use super::model::{Config, SplitKey};
use super::value;
use crate::config::diagnostics::{DiagnosticSink, InvalidValue};
use crate::upstream::{Address, Slot};

/// Apache's default timeout, and what the bots' HTTP client waits.
const CLIENTS_WAIT: Duration = Duration::from_secs(60);

/// Judges a whole configuration.
pub(super) fn check(config: &Config, sink: &DiagnosticSink) {
    slots(config, sink);
    listeners(config, sink);
    times(config, sink);
    tools(config, sink);
}

fn tools(config: &Config, sink: &DiagnosticSink) {
    let readers = config.clients.iter().filter(|client| client.tools.read_only).count();
    if readers > 0 && config.read_only.is_empty() {
        let reason =
            format!("no tool is known to change nothing, so {readers} read-only clients may call none");
        let hint = "name tools in read_only, or the files of mcp-tools in catalogues";
        sink.warn("tools", InvalidValue::new(reason).hint(hint));
    }
    for rule in config.tool_rules.iter() {
        let key = format!("limits.tools.{}", rule.pattern.as_str());
        if rule.total.is_none() && !rule.quota.is_bounded() {
            sink.warn(&key, InvalidValue::new("says nothing").hint("rate, concurrency or total"));
        }
        if let Some(total) = rule.total.filter(|total| *total >= CLIENTS_WAIT) {
            let reason = format!(
                "{} is not below the {} that Apache and the bots wait: they give up before the guard answers",
                value::show(total),
                value::show(CLIENTS_WAIT)
            );
            sink.warn(&format!("{key}.total"), InvalidValue::new(reason));
        }
    }
}

fn slots(config: &Config, sink: &DiagnosticSink) {
    let [blue, green] = Slot::ALL.map(|slot| config.backend(slot));
    if blue.is_none() && green.is_none() {
        // A table that is there but unusable has its own finding.
        let hint = "a table [slots.blue] with address = \"unix:/run/mcp-tools/blue.sock\"";
        if !sink.has_below("slots") {
            sink.error("slots", None, InvalidValue::new("no backend is configured").hint(hint));
        }
        return;
    }
    if config.backend(config.stable).is_none() && !sink.has(&format!("slots.{}", config.stable.as_str())) {
        let stable = config.stable.as_str();
        let hint = format!("add [slots.{stable}], or set stable = \"{}\"", config.stable.other().as_str());
        sink.error(
            "routing.stable",
            Some(format!("\"{stable}\"")),
            InvalidValue::new("that slot is not configured").hint(hint),
        );
    }
    if let (Some(blue), Some(green)) = (blue, green)
        && blue.address == green.address
        && blue.path == green.path
    {
        let invalid = InvalidValue::new("is the same backend as [slots.blue]")
            .hint("a second slot is for another backend");
        sink.error("slots.green.address", None, invalid);
    }
    if let (Some(blue), Some(green), SplitKey::Request) = (blue, green, config.split_key)
        && (blue.sessions || green.sessions)
    {
        let reason = "splits the calls of one session between two backends, of which only one knows it";
        sink.warn(
            "routing.key",
            InvalidValue::new(reason).hint("\"client\" keeps a client's sessions in one slot"),
        );
    }
    for slot in Slot::ALL {
        let Some(backend) = config.backend(slot) else { continue };
        let key = format!("slots.{}.address", slot.as_str());
        let own = match &backend.address {
            Address::Tcp(tcp) => listening(config).any(|(_, listener)| value::collide(*tcp, listener)),
            Address::Unix(path) => {
                backend.address == config.listen.address || Some(path) == config.listen.admin.as_ref()
            }
            Address::Name { .. } => false,
        };
        if own {
            sink.error(
                &key,
                None,
                InvalidValue::new("is an address the guard listens on itself: calls would go in a circle"),
            );
        }
        if matches!(&backend.address, Address::Tcp(tcp) if tcp.port() == 0) {
            sink.error(&key, None, InvalidValue::new("port 0 cannot be connected to"));
        }
    }
}

fn listeners(config: &Config, sink: &DiagnosticSink) {
    let listen = &config.listen;
    let all: Vec<(&str, SocketAddr)> = listening(config).collect();
    for (place, (key, address)) in all.iter().enumerate() {
        for (other, taken) in all[..place].iter().filter(|(_, taken)| value::collide(*address, *taken)) {
            let reason = match address == taken {
                true => format!("is the same address as {other}"),
                false => format!(
                    "cannot be bound beside {other}, {taken}: one of the two has all addresses of the port"
                ),
            };
            sink.error(key, None, InvalidValue::new(reason));
        }
    }
    if let (Address::Unix(calls), Some(admin)) = (&listen.address, &listen.admin)
        && calls == admin
    {
        sink.error("listen.admin", None, InvalidValue::new("is the same socket as listen.address"));
    }
    let exposed = |address: &SocketAddr| !address.ip().is_loopback();
    if listen.tls.is_some() && matches!(listen.address, Address::Unix(_)) {
        let hint = "a Unix socket never leaves this machine: remove [listen.tls], or listen on ip:port";
        sink.error("listen.tls", None, InvalidValue::new("needs a TCP address in listen.address").hint(hint));
    }
    if listen.tls.is_none() && matches!(&listen.address, Address::Tcp(tcp) if exposed(tcp)) {
        let hint = "[listen.tls], or listen on 127.0.0.1 behind Apache, which does TLS";
        let reason = "other machines can connect, and tokens cross the network in clear";
        sink.warn("listen.address", InvalidValue::new(reason).hint(hint));
    }
    if listen.metrics.as_ref().is_some_and(exposed) {
        let reason = "other machines can read the metrics, which need no token";
        sink.warn("listen.metrics", InvalidValue::new(reason));
    }
}

/// The TCP addresses that the guard listens on, with their keys.
fn listening(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let calls = if let Address::Tcp(calls) = &config.listen.address { Some(*calls) } else { None };
    let all = [
        ("listen.address", calls),
        ("listen.metrics", config.listen.metrics),
        ("console.address", config.console.address),
    ];
    all.into_iter().filter_map(|(key, address)| Some((key, address?)))
}

fn times(config: &Config, sink: &DiagnosticSink) {
    let timeouts = &config.timeouts;
    if timeouts.total >= CLIENTS_WAIT {
        let reason = format!(
            "{} is not below the {} that Apache and the bots wait: they give up before the guard answers",
            value::show(timeouts.total),
            value::show(CLIENTS_WAIT)
        );
        sink.warn("timeouts.total", InvalidValue::new(reason));
    }
    let parts = [("connect", timeouts.connect), ("waiting", timeouts.waiting), ("hold", timeouts.hold)];
    for (name, part) in parts {
        if part > timeouts.total {
            let (part, total) = (value::show(part), value::show(timeouts.total));
            let reason = format!("{part} is longer than timeouts.total, {total}, which ends a call first");
            sink.warn(&format!("timeouts.{name}"), InvalidValue::new(reason));
        }
    }
    let (one, all) = (config.limits.body_bytes_max, config.limits.bodies_bytes_max);
    if one > all as u64 {
        let invalid = InvalidValue::new(format!("must not be less than limits.body_bytes, {one}"));
        sink.error("limits.bodies_bytes", Some(all.to_string()), invalid);
    }
    if config.health.timeout > config.health.interval {
        let interval = value::show(config.health.interval);
        let invalid = InvalidValue::new(format!("must not be longer than health.interval, {interval}"));
        sink.error("health.timeout", Some(value::show(config.health.timeout)), invalid);
    }
}
