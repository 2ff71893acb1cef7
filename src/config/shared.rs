//! What all guards of a fleet must have alike for one rollout to be one: a digest of each part, to be compared and named.
//!
//! Addresses, ports and credentials are each guard's own, and in no digest.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Config;
use crate::policy::quota::Quota;
use crate::upstream::Slot;

/// Characters of a digest: enough to tell a handful of configurations apart.
const DIGEST_CHARS: usize = 8;

impl Config {
    /// The digests of all parts, as in `plan=1a2b3c4d slots=5e6f7a8b clients=… limits=…`.
    pub(crate) fn shared_digest(&self) -> String {
        // Plain data with text keys: it cannot fail.
        let plan = serde_json::to_string(&self.rollout.plan).unwrap_or_default();
        let configured = Slot::ALL.into_iter().filter(|slot| self.backend(*slot).is_some());
        let slots = configured.map(Slot::as_str).collect::<Vec<_>>().join(" ");
        let slots = format!("{slots} standby {} key {:?}", self.standby, self.split_key);
        let parts = [
            ("plan", plan),
            ("slots", slots),
            ("clients", self.clients_text()),
            ("limits", self.limits_text()),
        ];
        parts.map(|(part, text)| format!("{part}={}", digest(&text))).join(" ")
    }

    /// Who there is, and what each is split by.
    fn clients_text(&self) -> String {
        let mut lines: Vec<String> = self
            .clients
            .iter()
            .map(|client| format!("{} {:?} {}", client.name, client.cohort, client.is_grant))
            .collect();
        lines.sort();
        lines.join("\n")
    }

    /// The rates that hold over the fleet.
    fn limits_text(&self) -> String {
        let of_clients = self.clients.iter().map(|client| (format!("client {}", client.name), &client.quota));
        let of_tools =
            self.tool_rules.iter().map(|rule| (format!("tool {}", rule.pattern.as_str()), &rule.quota));
        let mut lines: Vec<String> =
            of_clients.chain(of_tools).map(|(name, quota)| line(&name, quota)).collect();
        lines.sort();
        lines.join("\n")
    }
}

fn line(name: &str, quota: &Quota) -> String {
    let mut line = name.to_owned();
    for window in quota.rate.iter().flat_map(|rate| rate.windows()) {
        // Writing into a text cannot fail.
        let _ = write!(line, " {}/{}", window.interval().as_nanos(), window.burst());
    }
    line
}

fn digest(text: &str) -> String {
    let mut digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    digest.truncate(DIGEST_CHARS);
    digest
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{self, Environment};

    fn digest(text: &str) -> String {
        let nothing = Environment { variable: &|_| None, now: 1_800_000_000, shown_pairs: None };
        let slots = "[slots.blue]\naddress = \"127.0.0.1:8002\"\n";
        let text = format!("{text}\n{slots}");
        let loaded = config::build(Path::new("/nonexistent/guard.toml"), &text, &nothing);
        loaded.map_err(|findings| findings.to_string()).unwrap().config.shared_digest()
    }

    /// The parts in which two configurations differ.
    fn differing(one: &str, other: &str) -> Vec<String> {
        let (one, other) = (digest(one), digest(other));
        let parts = one.split(' ').zip(other.split(' ')).filter(|(a, b)| a != b);
        parts.map(|(a, _)| a.split('=').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn guards_may_differ_in_addresses_and_not_in_what_a_rollout_stands_on() {
        let nothing: [String; 0] = [];
        assert_eq!(differing("", "[listen]\naddress = \"127.0.0.1:9001\"\n"), nothing);
        assert_eq!(differing("", "[timeouts]\ntotal = \"7s\"\n"), nothing);
        assert_eq!(differing("", "[routing]\nkey = \"request\"\n"), ["slots"]);
        assert_eq!(differing("", "[slots.green]\naddress = \"127.0.0.1:8003\"\n"), ["slots"]);
        let rate = |rate: &str| format!("[limits.tools]\n\"*\" = {{ rate = \"{rate}\" }}\n");
        assert_eq!(differing(&rate("5/s"), &rate("6/s")), ["limits"]);
    }
}
