//! What was sent, what a backend got, and every violation: what attackers and backends share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use crate::grammar::{Request, Want};

/// A client with a token.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) token: &'static str,
    /// Its policy in `tokens.toml`.
    pub(crate) policy: &'static str,
    /// Tools that it may call.
    pub(crate) tools: &'static [&'static str],
    pub(crate) is_bounded: bool,
}

/// In every token, so that a log line with any of them is found.
pub(crate) const TOKEN_MARK: &str = "attack-token-";

/// The client without bounds.
pub(crate) const FULL: &Client = &CLIENTS[0];

/// Every client.
pub(crate) const CLIENTS: &[Client] = &[
    Client {
        name: "full",
        token: "attack-token-of-full-0123456789abcdefABCDEF",
        policy: "",
        tools: &["ok_a", "act_a", "look_a"],
        is_bounded: false,
    },
    Client {
        name: "second",
        token: "attack-token-of-second-0123456789abcdefABCDE",
        policy: "",
        tools: &["ok_a", "act_b"],
        is_bounded: false,
    },
    Client {
        name: "bounded",
        token: "attack-token-of-bounded-0123456789abcdefABCD",
        policy: "tools = [\"ok_*\"]",
        tools: &["ok_a", "ok_b"],
        is_bounded: true,
    },
    Client {
        name: "reader",
        token: "attack-token-of-reader-0123456789abcdefABCDE",
        policy: "read_only = true",
        tools: &["look_a"],
        is_bounded: true,
    },
];

/// Requests that are remembered. What arrives later than that many others is unknown, which is a violation, too.
const REMEMBERED: usize = 300_000;
/// Violations that are kept in words.
const TOLD_MAX: usize = 20;

struct Entry {
    kind: &'static str,
    name: &'static str,
    client: &'static str,
    body: u64,
    may: bool,
    seen: u32,
}

#[derive(Default)]
struct Pages {
    entries: HashMap<u64, Entry>,
    order: VecDeque<u64>,
    violations: BTreeMap<String, u64>,
    told: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// The shared book.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Pages>);

/// A number for a body.
fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    fn with<T>(&self, act: impl FnOnce(&mut Pages) -> T) -> T {
        act(&mut self.0.lock().expect("no panic while held"))
    }

    /// Notes what is about to be sent. `may` says whether it may reach a backend.
    pub(crate) fn plan(&self, request: &Request, may: bool) {
        let entry = Entry {
            kind: request.kind,
            name: request.name,
            client: request.client.name,
            body: digest(&request.body),
            may,
            seen: 0,
        };
        self.with(|pages| {
            pages.entries.insert(request.number, entry);
            pages.order.push_back(request.number);
            if pages.order.len() > REMEMBERED {
                let oldest = pages.order.pop_front();
                oldest.and_then(|number| pages.entries.remove(&number));
            }
            *pages.counts.entry(request.kind).or_default() += 1;
        });
    }

    /// Judges what a backend got. `client` is the client that the backend's request names.
    /// Returns whether its head was changed at random.
    pub(crate) fn received(&self, number: u64, client: Option<&str>, body: &[u8]) -> bool {
        self.with(|pages| {
            *pages.counts.entry("at the backend").or_default() += 1;
            let Some(entry) = pages.entries.get_mut(&number) else {
                pages.violate("unknown request at the backend", &number.to_string());
                return false;
            };
            entry.seen += 1;
            let is_mutated = entry.kind == "mutated";
            let named = format!("{} ({})", entry.kind, entry.name);
            let problem = if !entry.may {
                format!("forwarded: {named}")
            } else if entry.seen > 1 {
                format!("forwarded twice: {named}")
            } else if entry.body != digest(body) {
                format!("body changed: {named}")
            } else if client != Some(entry.client) {
                format!("wrong client: {named}")
            } else {
                return is_mutated;
            };
            pages.violate(&problem, &format!("request {number}, client {client:?}"));
            is_mutated
        })
    }

    /// How often a backend got a request.
    pub(crate) fn seen(&self, number: u64) -> u32 {
        self.with(|pages| pages.entries.get(&number).map_or(0, |entry| entry.seen))
    }

    /// Counts something that was looked at.
    pub(crate) fn count(&self, what: &'static str, more: u64) {
        self.with(|pages| *pages.counts.entry(what).or_default() += more);
    }

    /// Notes a violation: its kind, and what to know of this one.
    pub(crate) fn violate(&self, kind: &str, detail: &str) {
        self.with(|pages| pages.violate(kind, detail));
    }

    /// The kinds of violations, each with its number.
    pub(crate) fn violations(&self) -> BTreeMap<String, u64> {
        self.with(|pages| pages.violations.clone())
    }

    /// The first violations in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.with(|pages| pages.told.clone())
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.with(|pages| pages.counts.clone())
    }
}

impl Pages {
    fn violate(&mut self, kind: &str, detail: &str) {
        *self.violations.entry(kind.to_owned()).or_default() += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{kind}: {detail}"));
        }
    }
}

/// Whether a backend may get a request, by itself.
pub(crate) fn may_be_forwarded(request: &Request) -> bool {
    match request.want {
        Want::Served => true,
        Want::Unclear => request.kind != "mutated, no token",
        Want::Refused(_) | Want::RpcError | Want::Fatal => false,
    }
}
