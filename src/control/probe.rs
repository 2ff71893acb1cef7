//! Health of a slot: an MCP conversation every few seconds, counted into healthy or not; and what it shows of the backend.
//!
//! A probe opens in the era that the backend is known to speak and lists its tools; now and then it asks for the other era,
//! too. It uses a connection of its own, so that a full pool or a stuck one does not hide in it. Must not know roles.

use std::time::Duration;

use sha2::Digest;

use crate::client::{Client, Error, Limits, Session, Target, says_legacy};
use crate::config;
use crate::parity::facts::Tool;
use crate::parity::normalize::normalize;
use crate::rollout::Health;
use crate::rollout::state::Surface;
use crate::upstream::{Address, Backend};

/// While a slot's health is unsettled, it is looked at more often.
const UNSETTLED: Duration = Duration::from_secs(1);
/// Every so many probes, both eras are asked for.
const BOTH_ERAS_EVERY: u32 = 12;
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Counts probes into health: `rise` good ones in a row make a slot healthy, `fall` bad ones unhealthy.
#[derive(Debug)]
pub(super) struct Pulse {
    rise: u32,
    fall: u32,
    good: u32,
    bad: u32,
    health: Health,
}

impl Pulse {
    /// A pulse that begins with this health.
    pub(super) fn new(settings: &config::Health, health: Health) -> Pulse {
        Pulse { rise: settings.rise, fall: settings.fall, good: 0, bad: 0, health }
    }

    /// Counts one probe; a bad one says why.
    pub(super) fn count(&mut self, probed: Result<(), String>) -> Health {
        match probed {
            Ok(()) => {
                (self.good, self.bad) = (self.good.saturating_add(1), 0);
                if self.good >= self.rise {
                    self.health = Health::Healthy;
                }
            }
            Err(why) => {
                (self.good, self.bad) = (0, self.bad.saturating_add(1));
                // An unhealthy slot stays so, with the latest reason.
                if self.bad >= self.fall || matches!(self.health, Health::Unhealthy(_)) {
                    self.health = Health::Unhealthy(why);
                }
            }
        }
        self.health.clone()
    }

    /// Whether the next probe may change the verdict.
    fn is_settled(&self) -> bool {
        match self.health {
            Health::Healthy => self.bad == 0,
            Health::Unhealthy(_) => self.good == 0,
            Health::Unknown => false,
        }
    }

    /// How long to wait before the next probe.
    pub(super) fn pause(&self, interval: Duration) -> Duration {
        if self.is_settled() { interval } else { interval.min(UNSETTLED) }
    }
}

/// Asks one backend, again and again.
pub(super) struct Prober {
    client: Client,
    timeout: Duration,
    /// What the backend spoke when it was last asked for both eras.
    eras: Option<Eras>,
    probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Eras {
    modern: bool,
    legacy: bool,
}

impl Prober {
    pub(super) fn new(backend: &Backend, timeout: Duration) -> Prober {
        let limits = Limits { connect: timeout, total: timeout, body_bytes: ANSWER_BYTES_MAX };
        Prober { client: Client::new(Target::of_backend(backend), limits), timeout, eras: None, probes: 0 }
    }

    /// One probe, within its time.
    pub(super) async fn probe(&mut self) -> Result<Surface, String> {
        let timeout = self.timeout;
        match tokio::time::timeout(timeout, self.ask()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    async fn ask(&mut self) -> Result<Surface, String> {
        let due = self.eras.is_none() || self.probes.is_multiple_of(BOTH_ERAS_EVERY);
        self.probes = self.probes.wrapping_add(1);
        let known = self.eras.filter(|_| !due);
        let (eras, tools) = match known {
            Some(eras) => (eras, self.list(eras).await),
            None => self.learn().await,
        };
        let tools = match tools {
            Ok(tools) => tools,
            Err(why) => {
                // Perhaps another backend lives there now.
                self.eras = None;
                return Err(why);
            }
        };
        self.eras = Some(eras);
        let Eras { modern, legacy } = eras;
        Ok(Surface { modern, legacy, tools: tools.len(), fingerprint: fingerprint(&tools) })
    }

    async fn list(&self, eras: Eras) -> Result<Vec<Tool>, String> {
        let opened = if eras.modern {
            Session::modern(&self.client).await
        } else {
            Session::legacy(&self.client).await
        };
        let session = opened.map_err(|error| error.to_string())?;
        session.list_tools().await.map(|(tools, _)| tools).map_err(|error| error.to_string())
    }

    /// Asks for both eras; the tools are of the newer one that it speaks.
    async fn learn(&self) -> (Eras, Result<Vec<Tool>, String>) {
        let modern = Session::modern(&self.client).await;
        let legacy = Session::legacy(&self.client).await;
        let eras = Eras { modern: modern.is_ok(), legacy: legacy.is_ok() };
        // Only a backend that says so does not speak an era. One that is slow or breaks says nothing about it.
        for error in [modern.as_ref().err(), legacy.as_ref().err()].into_iter().flatten() {
            if !says_legacy(error) || matches!(error, Error::Rpc { code: -32603, .. }) {
                return (eras, Err(error.to_string()));
            }
        }
        let tools = match (modern, legacy) {
            (Ok(session), _) | (Err(_), Ok(session)) => {
                session.list_tools().await.map(|(tools, _)| tools).map_err(|error| error.to_string())
            }
            // What the older protocol says is the plainer reason.
            (Err(_), Err(error)) => Err(error.to_string()),
        };
        (eras, tools)
    }
}

/// Names and arguments of all tools, in no particular order: what a client depends on. Descriptions may drift.
fn fingerprint(tools: &[Tool]) -> String {
    let mut lines: Vec<String> = tools
        .iter()
        .map(|tool| {
            let schema =
                tool.input_schema.as_ref().map(|schema| normalize(schema).unwrap_or_else(|_| schema.clone()));
            format!("{}\0{}", tool.name, schema.unwrap_or_default())
        })
        .collect();
    lines.sort();
    let mut hash = sha2::Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update([0, 0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The process behind a Unix socket: the one that listens. `None` for TCP, and for a socket that systemd opened.
pub(super) async fn listener(backend: &Backend) -> Option<u32> {
    let Address::Unix(path) = &backend.address else { return None };
    let connecting = tokio::time::timeout(Duration::from_secs(1), tokio::net::UnixStream::connect(path));
    let stream = connecting.await.ok()?.ok()?;
    crate::sys::socket::peer_pid(&stream).ok().filter(|pid| *pid > 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pulse() -> Pulse {
        let second = Duration::from_secs(1);
        Pulse::new(
            &config::Health { interval: second * 5, timeout: second, rise: 2, fall: 3 },
            Health::Unknown,
        )
    }

    fn bad(why: &str) -> Result<(), String> {
        Err(why.to_owned())
    }

    // SPEC 11: "rise 2 / fall 3".
    #[test]
    fn two_good_probes_in_a_row_make_a_slot_healthy_and_three_bad_ones_unhealthy() {
        let mut pulse = pulse();
        assert_eq!(pulse.count(Ok(())), Health::Unknown);
        assert_eq!(pulse.count(bad("refused")), Health::Unknown);
        assert_eq!(pulse.count(Ok(())), Health::Unknown, "not in a row");
        assert_eq!(pulse.count(Ok(())), Health::Healthy);
        assert_eq!(pulse.count(bad("a")), Health::Healthy);
        assert_eq!(pulse.count(bad("b")), Health::Healthy);
        assert_eq!(pulse.count(Ok(())), Health::Healthy);
        for _ in 0..2 {
            assert_eq!(pulse.count(bad("c")), Health::Healthy);
        }
        assert_eq!(pulse.count(bad("d")), Health::Unhealthy("d".to_owned()));
        assert_eq!(pulse.count(bad("e")), Health::Unhealthy("e".to_owned()), "the latest reason");
        assert_eq!(pulse.count(Ok(())), Health::Unhealthy("e".to_owned()));
        assert_eq!(pulse.count(Ok(())), Health::Healthy);
    }

    #[test]
    fn an_unsettled_slot_is_looked_at_more_often() {
        let (five, mut pulse) = (Duration::from_secs(5), pulse());
        assert_eq!(pulse.pause(five), UNSETTLED);
        pulse.count(Ok(()));
        pulse.count(Ok(()));
        assert_eq!(pulse.pause(five), five);
        pulse.count(bad("refused"));
        assert_eq!(pulse.pause(five), UNSETTLED);
        assert_eq!(pulse.pause(Duration::from_millis(50)), Duration::from_millis(50));
    }

    #[test]
    fn the_fingerprint_is_of_names_and_arguments_and_of_nothing_else() {
        let tool = |name: &str, schema| {
            Tool::from_json(&json!({"name": name, "description": name, "inputSchema": schema})).unwrap()
        };
        let schema = || json!({"type": "object", "properties": {"days": {"type": "integer"}}});
        let print = |tools: &[Tool]| fingerprint(tools);
        let base = print(&[tool("a", schema()), tool("b", schema())]);
        assert_eq!(base, print(&[tool("b", schema()), tool("a", schema())]), "order does not matter");
        let described = json!({"type": "object", "title": "X", "properties": {"days": {"type": "integer", "description": "d"}}});
        assert_eq!(base, print(&[tool("a", described), tool("b", schema())]), "descriptions may drift");
        let retyped = json!({"type": "object", "properties": {"days": {"type": "string"}}});
        assert_ne!(base, print(&[tool("a", retyped), tool("b", schema())]));
        assert_ne!(base, print(&[tool("a", schema())]));
        assert_ne!(base, print(&[tool("a", schema()), tool("c", schema())]));
    }
}
