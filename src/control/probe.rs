//! Health of a slot: an MCP conversation every few seconds, counted into healthy or not; and what it shows of the backend.
//!
//! A probe opens in the era that the backend is known to speak and lists its tools; now and then it asks for the other era,
//! too. It uses connections of its own, so that a full pool or a stuck one does not hide in it. A list that has not changed by
//! a byte stands for what it stood for; a new one is read on another thread, within bounds of memory and work. Must not know
//! roles.

use std::time::Duration;

use sha2::Digest;

use crate::client::{Client, Error, Limits, Listing, Session, Target, says_legacy};
use crate::config;
use crate::parity::facts::Tool;
use crate::parity::normalize::{Work, normalize_within};
use crate::rollout::Health;
use crate::rollout::state::ServerSurface;
use crate::upstream::{Address, Backend, Secrets};
use mcp_host::process;

/// While a slot's health is unsettled, it is looked at more often.
const UNSETTLED: Duration = Duration::from_secs(1);
/// Every so many probes, both eras are asked for.
const BOTH_ERAS_EVERY: u32 = 12;
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Names of tools that are told to those who label by them; they bound names themselves.
const NAMES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 128;
/// How long a backend may take to forget a session: that is no part of its health.
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
    /// A pulse that begins with this health.
    pub(super) fn new(settings: &config::Health, health: Health) -> HealthCounter {
        HealthCounter { rise: settings.rise, fall: settings.fall, good: 0, bad: 0, health }
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
    known: ProbeCache,
}

/// What earlier probes have learnt.
#[derive(Default)]
struct ProbeCache {
    /// What the backend spoke when it was last asked for both eras.
    eras: Option<Eras>,
    /// Its list, and what that stands for.
    listing: Listing,
    offer: ToolsFingerprint,
    probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Eras {
    modern: bool,
    legacy: bool,
}

/// What a list of tools stands for.
#[derive(Debug, Clone, Default)]
struct ToolsFingerprint {
    tools: usize,
    fingerprint: String,
}

/// A list becomes its offer, and the names in it.
async fn read(tools: Vec<Tool>) -> Result<(ToolsFingerprint, Vec<String>), String> {
    let reading = tokio::task::spawn_blocking(move || {
        // Whoever answers calls goes first.
        let _ = process::yield_to_others();
        let fit = tools.iter().map(|tool| &tool.name).filter(|name| name.len() <= NAME_BYTES_MAX);
        let names = fit.take(NAMES_MAX).cloned().collect();
        (ToolsFingerprint { tools: tools.len(), fingerprint: fingerprint(&tools) }, names)
    });
    reading.await.map_err(|_failed| "the list of tools cannot be read".to_owned())
}

/// The sessions of a probe that has ended. A backend that keeps sessions would otherwise keep one a probe.
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

    /// Gives them back. What the probe found need not wait for that.
    pub(super) async fn close(self) {
        for session in self.sessions {
            let _whatever = tokio::time::timeout(CLOSE_TIMEOUT, session.close()).await;
        }
    }
}

impl Prober {
    pub(super) fn new(backend: &Backend, timeout: Duration, secrets: &Secrets) -> Prober {
        let limits = Limits { connect: timeout, total: timeout, body_bytes: ANSWER_BYTES_MAX };
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
        // If it fails, perhaps another backend lives there now.
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
                // Until the list has been read it is not known, also if the time is up before that.
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

/// Asks for both eras: which it speaks, and a session in each, of which the first is of the newer one.
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
    // Only a backend that says so does not speak an era. One that is slow or breaks says nothing about it.
    let vague = |error: &&Error| !says_legacy(error) || matches!(error, Error::Rpc { code: -32603, .. });
    if let Some(vague) = refusals.iter().find(vague) {
        return Err(vague.to_string());
    }
    match refusals.pop() {
        // What the older protocol says is the plainer reason.
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
