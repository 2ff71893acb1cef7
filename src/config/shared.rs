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
