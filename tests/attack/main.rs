//! The attack suite: requests made by a grammar, hostile and valid, over real sockets, and a judge that knows what must come
//! of each. The guard is attacked straight, behind Apache with the shipped configuration, and behind a TLS terminator. The
//! same judge before nginx must find what nginx is known to let through, so that it is seen to see.
//!
//! `ATTACK_SECONDS` is the time of all together (10), `ATTACK_SEED` the seed, which is printed, `ATTACK_BIN` the guard's
//! binary, `ATTACK_CONNECTION` one connection to be repeated alone, with what it sends shown.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it did"
)]

mod accounting;
mod answers;
mod backend;
mod bodies;
mod dice;
mod draft;
mod faults;
mod fronts;
mod grammar;
mod ledger;
mod liars;
mod places;
mod programs;
mod session;
mod unruly;
mod wire;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mcp_testkit::TIMEOUT;

use crate::grammar::Grammar;
use crate::ledger::Ledger;
use crate::programs::Guard;
use crate::session::Attack;
use crate::wire::Target;

/// nginx waits for what does not come; so does not this suite.
const NGINX_TIMEOUT: Duration = Duration::from_millis(150);
/// Connections that are open at a time.
const ATTACKERS: u64 = 12;
/// Descriptors that the guard may have open afterwards beyond those before: its pool to the backend.
const POOL: usize = 40;

const AT_THE_GUARD: Grammar = Grammar {
    targets: &["/mcp", "/mcp/", "/", "/swf-monitor/mcp", "/mcp?a=b", "http://localhost/mcp"],
    has_policy: true,
    is_behind_apache: false,
};

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: must be a number")))
}

/// Whether one connection is repeated alone.
fn is_single() -> bool {
    variable("ATTACK_CONNECTION").is_some()
}

/// A share of the time, in a hundred.
fn seconds(share: u64) -> Duration {
    Duration::from_secs(variable("ATTACK_SECONDS").unwrap_or(10)).mul_f64(share as f64 / 100.0)
}

fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_secs());
    variable("ATTACK_SEED").unwrap_or(clock)
}

/// Written past the harness, which keeps back what a test that succeeds prints.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Attacks for a share of the time, and with so many connections at least.
fn attack(name: &str, share: u64, at_least: u64, attack: &Attack) {
    let (seconds, seed) = (seconds(share), seed());
    if let Some(connection) = variable("ATTACK_CONNECTION") {
        return attack.run(seed, connection);
    }
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                loop {
                    let connection = next.fetch_add(1, Ordering::Relaxed);
                    if connection >= at_least && begin.elapsed() >= seconds {
                        return;
                    }
                    attack.run(seed, connection);
                }
            });
        }
    });
    let counts = attack.ledger.counts();
    tell(&format!("{name}: seed {seed}, {:.0?}: {counts:?}", begin.elapsed()));
}

#[track_caller]
fn check_nothing_found(name: &str, ledger: &Ledger) {
    let violations = ledger.violations();
    assert!(violations.is_empty(), "{name}: {violations:#?}\n{}", ledger.told().join("\n"));
    let counts = ledger.counts();
    let seen = counts.get("at the backend").copied().unwrap_or(0);
    assert!(is_single() || seen > 100, "{name}: hardly anything reached the backend: {counts:?}");
}

fn plain(address: SocketAddr) -> Target {
    Target { address, tls: None, timeout: TIMEOUT }
}

// "nothing behind a refused frame, no request twice, every body byte-exact, every answer in its place"
#[test]
fn no_request_of_a_grammar_gets_past_the_guard() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ledger = Arc::new(Ledger::default());
    let backend = backend::serve(folder.path(), ledger.clone(), true);
    let mut guard = Guard::start(folder.path(), &backend);
    let descriptors = guard.descriptors() + POOL;
    let target = plain(guard.address);
    let straight = Attack {
        target,
        grammar: AT_THE_GUARD,
        ledger: ledger.clone(),
        judges_answers: true,
        is_shown: is_single(),
    };
    attack("straight", 35, 500, &straight);
    guard.judge(&ledger, descriptors);
    check_nothing_found("straight", &ledger);
}

#[test]
fn no_request_of_a_grammar_gets_past_the_guard_through_tls() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ledger = Arc::new(Ledger::default());
    let backend = backend::serve(folder.path(), ledger.clone(), true);
    let mut guard = Guard::start(folder.path(), &backend);
    let descriptors = guard.descriptors() + POOL;
    let (haproxy, address, tls) = fronts::tls(folder.path(), guard.address);
    let target = Target { address, tls: Some(tls), timeout: TIMEOUT };
    let through = Attack {
        target,
        grammar: AT_THE_GUARD,
        ledger: ledger.clone(),
        judges_answers: true,
        is_shown: is_single(),
    };
    attack("through TLS", 18, 500, &through);
    drop(haproxy);
    guard.judge(&ledger, descriptors);
    check_nothing_found("through TLS", &ledger);
}

#[test]
fn no_request_of_a_grammar_gets_past_apache_and_the_guard() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fronts::open_to_all(folder.path());
    let ledger = Arc::new(Ledger::default());
    let backend = backend::serve(folder.path(), ledger.clone(), true);
    let mut guard = Guard::start(folder.path(), &backend);
    let descriptors = guard.descriptors() + POOL;
    let (apache, address) = fronts::apache(folder.path(), guard.address);
    let targets = &["/swf-monitor/mcp", "/swf-monitor/mcp/", "/swf-monitor/mcp?a=b"];
    let grammar = Grammar { targets, has_policy: true, is_behind_apache: true };
    let through = Attack {
        target: plain(address),
        grammar,
        ledger: ledger.clone(),
        judges_answers: true,
        is_shown: is_single(),
    };
    attack("through Apache", 20, 500, &through);
    drop(apache);
    guard.judge(&ledger, descriptors);
    check_nothing_found("through Apache", &ledger);
}

// The judge sees: nginx passes on several framing faults that RFC 9112 lets a server repair, and that the guard refuses.
#[test]
fn the_same_judge_finds_what_nginx_lets_through() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ledger = Arc::new(Ledger::default());
    let backend = backend::serve(folder.path(), ledger.clone(), false);
    let (_nginx, address) = fronts::nginx(folder.path(), &backend);
    let grammar = Grammar { targets: &["/mcp"], has_policy: false, is_behind_apache: false };
    let target = Target { timeout: NGINX_TIMEOUT, ..plain(address) };
    let before =
        Attack { target, grammar, ledger: ledger.clone(), judges_answers: false, is_shown: is_single() };
    attack("before nginx", 12, 2000, &before);
    let violations = ledger.violations();
    tell(&format!("before nginx: {violations:#?}"));
    for known in [
        "forwarded: framing (bare line feed)",
        "forwarded: framing (absolute form of another host)",
        "forwarded: no token (token in other case)",
    ] {
        assert!(violations.contains_key(known), "before nginx the judge does not find: {known}");
    }
}
