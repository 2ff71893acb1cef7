//! Health of a slot: an MCP session every few seconds, counted into healthy or unhealthy, and what the backend offers.
//!
//! A probe opens a session in the era that the backend is known to speak and lists its tools; one of several probes tries
//! the other era, too. It uses connections of its own, so that a full or stuck pool does not affect it. A list that has not
//! changed by a byte keeps its fingerprint; a new one is parsed on another thread, within bounds of memory and work. Must
//! not know roles.

use std::time::Duration;

use sha2::Digest;

use crate::client::{CachedToolsList, Client, Error, Limits, Session, Target, says_legacy};
use crate::config;
use crate::parity::normalize::{Work, normalize_within};
use crate::rollout::Health;
use crate::rollout::state::ServerSurface;
use crate::upstream::{Address, Backend, Secrets};
use crate::wire::declaration::Tool;
use mcp_host::process;

/// Interval while a slot's health is unsettled.
const UNSETTLED: Duration = Duration::from_secs(1);
/// One of this many probes tries both eras.
const BOTH_ERAS_EVERY: u32 = 12;
const RESPONSE_BYTES_MAX: usize = 2 << 20;
/// Names of tools that are passed on for labels; the receivers bound names themselves.
const NAMES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 128;
/// Time for a backend to close a session; no part of its health.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts probes into health: `rise` good ones in a row make a slot healthy, `fall` bad ones unhealthy.
#[derive(Debug)]
pub(super) struct HealthCounter {
    rise: u32,
    fall: u32,
    good: u32,
    bad: u32,
    health: Health,
}

impl HealthCounter {
    /// A counter that begins with this health.
    pub(super) fn new(settings: &config::Health, health: Health) -> HealthCounter {
        HealthCounter { rise: settings.rise, fall: settings.fall, good: 0, bad: 0, health }
    }

    /// Counts one probe; an error is the reason of a failure.
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

/// Probes one backend repeatedly.
pub(super) struct Prober {
    client: Client,
    timeout: Duration,
    known: ProbeCache,
}

/// What earlier probes have found.
#[derive(Default)]
struct ProbeCache {
    /// The eras of the backend at the last probe of both.
    eras: Option<Eras>,
    /// Its list of tools, and the fingerprint of that list.
    listing: CachedToolsList,
    offer: ToolsFingerprint,
    probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Eras {
    modern: bool,
    legacy: bool,
}

/// Number and fingerprint of a list of tools.
#[derive(Debug, Clone, Default)]
struct ToolsFingerprint {
    tools: usize,
    fingerprint: String,
}

/// Fingerprint and names of a list of tools.
async fn read(tools: Vec<Tool>) -> Result<(ToolsFingerprint, Vec<String>), String> {
    let reading = tokio::task::spawn_blocking(move || {
        // Threads that serve calls go first.
        let _ = process::yield_to_others();
        let fit = tools.iter().map(|tool| &tool.name).filter(|name| name.len() <= NAME_BYTES_MAX);
        let names = fit.take(NAMES_MAX).cloned().collect();
        (ToolsFingerprint { tools: tools.len(), fingerprint: fingerprint(&tools) }, names)
    });
    reading.await.map_err(|_failed| "the list of tools cannot be read".to_owned())
}

/// The open sessions of a probe that has ended. Without closing them, a backend would keep one session for each probe.
#[derive(Default)]
pub(super) struct OpenSessions<'c> {
    sessions: Vec<Session<'c>>,
    names: Option<Vec<String>>,
}

impl OpenSessions<'_> {
    /// The names of the tools, where this probe has read a new list.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        self.names.clone()
    }

    /// Closes the sessions. The result of the probe need not wait for this.
    pub(super) async fn close(self) {
        for session in self.sessions {
            let _whatever = tokio::time::timeout(CLOSE_TIMEOUT, session.close()).await;
        }
    }
}

impl Prober {
    pub(super) fn new(backend: &Backend, timeout: Duration, secrets: &Secrets) -> Prober {
        let limits = Limits { connect: timeout, total: timeout, body_bytes: RESPONSE_BYTES_MAX };
        let client = Client::new(Target::of_backend(backend), limits).with_secrets(secrets);
        Prober { client, timeout, known: ProbeCache::default() }
    }

    /// One probe, within its time.
    pub(super) async fn probe(&mut self) -> (Result<ServerSurface, String>, OpenSessions<'_>) {
        let (timeout, mut done) = (self.timeout, OpenSessions::default());
        let found = match tokio::time::timeout(timeout, self.known.ask(&self.client, &mut done)).await {
            Ok(found) => found,
            Err(_elapsed) => Err(format!("no answer within {} ms", timeout.as_millis())),
        };
        (found, done)
    }
}

impl ProbeCache {
    async fn ask<'c>(
        &mut self,
        client: &'c Client,
        done: &mut OpenSessions<'c>,
    ) -> Result<ServerSurface, String> {
        let due = self.eras.is_none() || self.probes.is_multiple_of(BOTH_ERAS_EVERY);
        self.probes = self.probes.wrapping_add(1);
        // After a failure, another backend may listen there, so the eras are forgotten.
        let eras = match self.eras.take().filter(|_| !due) {
            Some(eras) => {
                let opened =
                    if eras.modern { Session::modern(client).await } else { Session::legacy(client).await };
                done.sessions.push(opened.map_err(|error| error.to_string())?);
                eras
            }
            None => detect_eras(client, done).await?,
        };
        if let Some(session) = done.sessions.first() {
            let listed = session.list_tools_again(&mut self.listing).await;
            if let Some(tools) = listed.map_err(|error| error.to_string())? {
                // The list is unknown until it has been parsed, even if the timeout ends the probe before that.
                let listing = std::mem::take(&mut self.listing);
                let (offer, names) = read(tools).await?;
                (self.listing, self.offer, done.names) = (listing, offer, Some(names));
            }
        }
        self.eras = Some(eras);
        let (Eras { modern, legacy }, ToolsFingerprint { tools, fingerprint }) = (eras, self.offer.clone());
        Ok(ServerSurface { modern, legacy, tools, fingerprint })
    }
}

/// Tries both eras. Opens a session in each that the backend speaks, the newer era first.
async fn detect_eras<'c>(client: &'c Client, done: &mut OpenSessions<'c>) -> Result<Eras, String> {
    let (modern, legacy) = (Session::modern(client).await, Session::legacy(client).await);
    let eras = Eras { modern: modern.is_ok(), legacy: legacy.is_ok() };
    let mut refusals = Vec::new();
    for opened in [modern, legacy] {
        match opened {
            Ok(session) => done.sessions.push(session),
            Err(refusal) => refusals.push(refusal),
        }
    }
    // A backend lacks an era only if it says so. A slow or broken one says nothing about its eras.
    let vague = |error: &&Error| !says_legacy(error) || matches!(error, Error::Rpc { code: -32603, .. });
    if let Some(vague) = refusals.iter().find(vague) {
        return Err(vague.to_string());
    }
    match refusals.pop() {
        // The error of the older protocol is the plainer reason.
        Some(refusal) if done.sessions.is_empty() => Err(refusal.to_string()),
        Some(_) | None => Ok(eras),
    }
}

/// Names and arguments of all tools, in no particular order: what a client depends on. Descriptions may drift. A schema that
/// has no normal form stands for itself.
fn fingerprint(tools: &[Tool]) -> String {
    let mut sorted: Vec<&Tool> = tools.iter().collect();
    sorted.sort_by_key(|tool| &tool.name);
    let mut work = Work::default();
    let mut lines: Vec<[u8; 32]> = sorted
        .into_iter()
        .map(|tool| {
            let mut line = sha2::Sha256::new_with_prefix(tool.name.as_bytes());
            if let Some(schema) = &tool.input_schema {
                let normal = schema.value().ok().and_then(|schema| normalize_within(&schema, &mut work).ok());
                line.update([0]);
                match normal {
                    Some(normal) => line.update(normal.to_string()),
                    None => line.update(schema.text()),
                }
            }
            line.finalize().into()
        })
        .collect();
    lines.sort_unstable();
    let hash = sha2::Sha256::digest(lines.concat());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The process behind a Unix socket: the one that listens. `None` for TCP, and for a socket that systemd opened.
pub(super) async fn listener(backend: &Backend) -> Option<u32> {
    let Address::Unix(path) = &backend.address else { return None };
    let connecting = tokio::time::timeout(Duration::from_secs(1), tokio::net::UnixStream::connect(path));
    let stream = connecting.await.ok()?.ok()?;
    mcp_host::socket::peer_pid(&stream).ok().filter(|pid| *pid > 1)
}

#[cfg(test)]
mod tests;
