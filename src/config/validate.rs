//! What concerns several keys at once: contradictions are problems, unlikely wishes are warnings.
//!
//! Must not know how keys are read. Every check names the key an operator would change.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, SplitKey, value};
use crate::config::diagnostics::{Invalid, Report};
use crate::upstream::{Address, Slot};

/// Apache's default timeout, and what the bots' HTTP client waits.
const CLIENTS_WAIT: Duration = Duration::from_secs(60);

/// Judges a whole configuration.
pub(super) fn check(config: &Config, report: &Report) {
    slots(config, report);
    listeners(config, report);
    times(config, report);
    tools(config, report);
}

fn tools(config: &Config, report: &Report) {
    let readers = config.clients.iter().filter(|client| client.tools.read_only).count();
    if readers > 0 && config.read_only.is_empty() {
        let reason =
            format!("no tool is known to change nothing, so {readers} read-only clients may call none");
        let hint = "name tools in read_only, or the files of mcp-tools in catalogues";
        report.warn("tools", Invalid::new(reason).hint(hint));
    }
    for rule in config.tool_rules.iter() {
        let key = format!("limits.tools.{}", rule.pattern.as_str());
        if rule.total.is_none() && !rule.quota.is_bounded() {
            report.warn(&key, Invalid::new("says nothing").hint("rate, concurrency or total"));
        }
        if let Some(total) = rule.total.filter(|total| *total >= CLIENTS_WAIT) {
            let reason = format!(
                "{} is not below the {} that Apache and the bots wait: they give up before the guard answers",
                value::show(total),
                value::show(CLIENTS_WAIT)
            );
            report.warn(&format!("{key}.total"), Invalid::new(reason));
        }
    }
}

fn slots(config: &Config, report: &Report) {
    if config.blue.is_none() && config.green.is_none() {
        // A table that is there but unusable has its own finding.
        let hint = "a table [slots.blue] with address = \"unix:/run/mcp-tools/blue.sock\"";
        if !report.has_below("slots") {
            report.problem("slots", None, Invalid::new("no backend is configured").hint(hint));
        }
        return;
    }
    if config.backend(config.stable).is_none() && !report.has(&format!("slots.{}", config.stable.as_str())) {
        let stable = config.stable.as_str();
        let hint = format!("add [slots.{stable}], or set stable = \"{}\"", config.stable.other().as_str());
        report.problem(
            "routing.stable",
            Some(format!("\"{stable}\"")),
            Invalid::new("that slot is not configured").hint(hint),
        );
    }
    if let (Some(blue), Some(green)) = (&config.blue, &config.green)
        && blue.address == green.address
        && blue.path == green.path
    {
        let invalid =
            Invalid::new("is the same backend as [slots.blue]").hint("a second slot is for another backend");
        report.problem("slots.green.address", None, invalid);
    }
    if let (Some(blue), Some(green), SplitKey::Request) = (&config.blue, &config.green, config.split_key)
        && (blue.sessions || green.sessions)
    {
        let reason = "splits the calls of one session between two backends, of which only one knows it";
        report.warn(
            "routing.key",
            Invalid::new(reason).hint("\"client\" keeps a client's sessions in one slot"),
        );
    }
    for slot in Slot::ALL {
        let Some(backend) = config.backend(slot) else { continue };
        let key = format!("slots.{}.address", slot.as_str());
        let own = backend.address == config.listen.address
            || matches!(&backend.address, Address::Tcp(tcp) if Some(*tcp) == config.listen.metrics)
            || matches!(&backend.address, Address::Unix(path) if Some(path) == config.listen.admin.as_ref());
        if own {
            report.problem(
                &key,
                None,
                Invalid::new("is an address the guard listens on itself: calls would go in a circle"),
            );
        }
        if matches!(&backend.address, Address::Tcp(tcp) if tcp.port() == 0) {
            report.problem(&key, None, Invalid::new("port 0 cannot be connected to"));
        }
    }
}

fn listeners(config: &Config, report: &Report) {
    let listen = &config.listen;
    if let (Address::Tcp(calls), Some(metrics)) = (&listen.address, listen.metrics)
        && *calls == metrics
        && metrics.port() != 0
    {
        report.problem("listen.metrics", None, Invalid::new("is the same address as listen.address"));
    }
    if let (Address::Unix(calls), Some(admin)) = (&listen.address, &listen.admin)
        && calls == admin
    {
        report.problem("listen.admin", None, Invalid::new("is the same socket as listen.address"));
    }
    let exposed = |address: &SocketAddr| !address.ip().is_loopback();
    if matches!(&listen.address, Address::Tcp(tcp) if exposed(tcp)) {
        let hint = "listen on 127.0.0.1 behind Apache, which does TLS";
        let reason = "other machines can connect, and tokens cross the network in clear";
        report.warn("listen.address", Invalid::new(reason).hint(hint));
    }
    if listen.metrics.as_ref().is_some_and(exposed) {
        let reason = "other machines can read the metrics, which need no token";
        report.warn("listen.metrics", Invalid::new(reason));
    }
}

fn times(config: &Config, report: &Report) {
    let timeouts = &config.timeouts;
    if timeouts.total >= CLIENTS_WAIT {
        let reason = format!(
            "{} is not below the {} that Apache and the bots wait: they give up before the guard answers",
            value::show(timeouts.total),
            value::show(CLIENTS_WAIT)
        );
        report.warn("timeouts.total", Invalid::new(reason));
    }
    let parts = [("connect", timeouts.connect), ("waiting", timeouts.waiting), ("hold", timeouts.hold)];
    for (name, part) in parts {
        if part > timeouts.total {
            let (part, total) = (value::show(part), value::show(timeouts.total));
            let reason = format!("{part} is longer than timeouts.total, {total}, which ends a call first");
            report.warn(&format!("timeouts.{name}"), Invalid::new(reason));
        }
    }
    let (one, all) = (config.limits.body_bytes_max, config.limits.bodies_bytes_max);
    if one > all as u64 {
        let invalid = Invalid::new(format!("must not be less than limits.body_bytes, {one}"));
        report.problem("limits.bodies_bytes", Some(all.to_string()), invalid);
    }
    if config.health.timeout > config.health.interval {
        let interval = value::show(config.health.interval);
        let invalid = Invalid::new(format!("must not be longer than health.interval, {interval}"));
        report.problem("health.timeout", Some(value::show(config.health.timeout)), invalid);
    }
}
