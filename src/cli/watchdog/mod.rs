//! `mcp-guard watchdog`: one probe for a systemd timer, and a restart when it has failed often enough.

mod blame;
mod policy;
mod ready;
mod record;
mod unit;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use self::blame::ProbeFailure;
pub(super) use self::blame::hint_for;
use self::policy::{Policy, Record};
use self::ready::Dependencies;
use self::record::Held;
use super::endpoint::Endpoint;
use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say};
use crate::admin::{AdminCommand, AdminResponse};
use crate::client::{Client, Method, Request, Session};
use crate::parity::says_healthy;
use crate::wire::bounded;
use mcp_host::systemctl::Unit;

/// A deploy that takes longer has forgotten its file.
const HOLD_FILE_AGE_MAX: Duration = Duration::from_secs(3600);

const EXAMPLES: &str = "\
Examples:
  mcp-guard watchdog --url http://127.0.0.1:8001/swf-monitor/mcp/
  mcp-guard watchdog --url http://127.0.0.1:8001/mcp --restart mcp-tools@blue.service --state /var/lib/mcp-watchdog/state.json
  mcp-guard watchdog --report --state /var/lib/mcp-watchdog/state.json

The token comes from MCP_BEARER_TOKEN unless another source is named.
Exit codes: 0 all is well or degraded, 1 the probe failed or a required dependency is down, 2 the probe failed and so did the restart.";

/// Probe health, the handshake and tools/list once; restart the unit when that failed often enough.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WatchdogArgs {
    #[command(flatten)]
    endpoint: Endpoint,
    /// Where health is asked, at the same address.
    #[arg(long, value_name = "PATH", default_value = "/health")]
    health_path: String,
    /// Seconds that each response may take.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Unit to restart; without it nothing is ever restarted.
    #[arg(long, value_name = "UNIT")]
    restart: Option<Unit>,
    /// Failed probes in a row before a restart.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    failures: u32,
    /// Seconds after the unit's start in which it is not restarted.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(0..=3600))]
    start_window: u64,
    /// A file that exists while a deploy is under way (believed for an hour): no restart then.
    #[arg(long, value_name = "FILE")]
    hold_file: Option<PathBuf>,
    /// Where failures and restarts are remembered; `$STATE_DIRECTORY/watchdog.json` under systemd.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Print how many probes failed and how many restarts were made, and do nothing else.
    #[arg(long)]
    report: bool,
}

/// What the probe found.
struct Well {
    tools: usize,
    took: Duration,
    dependencies: Dependencies,
}

impl WatchdogArgs {
    /// Runs the watchdog once; `guard` is the one that it watches.
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        match self.once(guard) {
            Ok(line) => {
                say(line);
                Exit::Done
            }
            Err((exit, line)) => {
                complain(line);
                exit
            }
        }
    }

    fn once(&self, guard: &Guard) -> Result<String, (Exit, String)> {
        let cannot = |reason: String| (Exit::No, format!("watchdog: {reason}"));
        let state = state_file(self).map_err(cannot)?;
        let mut held =
            state.as_deref().map(Held::open).transpose().map_err(|error| cannot(error.to_string()))?;
        let policy = Policy { failures: self.failures, backoff: 10, restarts: 5, stable: 3_600 };
        if let Some(aside) = held.as_ref().and_then(|held| held.set_aside.as_ref()) {
            complain(format_args!(
                "watchdog: the state file could not be understood; it is kept as {}, and counting begins anew",
                aside.display()
            ));
        }
        let now = now_seconds();
        if self.report {
            return Ok(report(held.map(|held| held.record).unwrap_or_default(), now));
        }
        let timeout = Duration::from_secs(self.timeout);
        let probed = self
            .endpoint
            .client(&guard.file, timeout)
            .map_err(ProbeFailure::unprepared)
            .and_then(|client| probe(&client, &self.health_path));
        match (probed, &mut held) {
            (Ok(well), held) => {
                if let Some(held) = held {
                    held.record.probe_succeeded(now, &policy);
                    if well.dependencies != Dependencies::Up {
                        held.record.found_a_dependency_down();
                    }
                    held.save().map_err(|error| cannot(error.to_string()))?;
                }
                line(&well)
            }
            // Nothing is remembered of the watchdog's own mistake: it says nothing about the service.
            (Err(failure @ ProbeFailure::Own { .. }), _) | (Err(failure), None) => {
                Err((Exit::No, format!("MCP watchdog FAILED: {failure}")))
            }
            (Err(ProbeFailure::Service(reason)), Some(held)) => {
                Err(failed(self, guard, held, &policy, &reason))
            }
        }
    }
}

/// The line of a service that is well; without a required dependency it is a failure that no restart mends.
fn line(well: &Well) -> Result<String, (Exit, String)> {
    const WHY: &str = "mcp-guard status says why";
    let ok = format!("MCP watchdog OK: {} tools in {:.3}s", well.tools, well.took.as_secs_f64());
    match &well.dependencies {
        Dependencies::Up => Ok(ok),
        Dependencies::Degraded(names) => Ok(format!("{ok}; degraded, down: {names} ({WHY})")),
        Dependencies::Unready(names) => {
            let kept = "no restart: that does not bring it back";
            Err((Exit::No, format!("MCP watchdog FAILED: not ready, down: {names} ({WHY}); {kept}")))
        }
    }
}

/// Remembers the failure and restarts, if that is allowed.
fn failed(
    watchdog: &WatchdogArgs,
    guard: &Guard,
    held: &mut Held,
    policy: &Policy,
    reason: &str,
) -> (Exit, String) {
    let now = now_seconds();
    let Some(unit) = &watchdog.restart else {
        let _counted = held.record.probe_failed(now, policy, || None);
        let saved = held.save().err().map(|error| format!("; {error}")).unwrap_or_default();
        return (Exit::No, format!("MCP watchdog FAILED: {reason}{saved}"));
    };
    let window = Duration::from_secs(watchdog.start_window);
    let quiet =
        || hold(watchdog).or_else(|| guard_is_changing(guard, window)).or_else(|| unit::quiet(unit, window));
    let decision = held.record.probe_failed(now, policy, quiet);
    if decision.is_ok() {
        held.record.restarting(now);
    }
    // Without its memory the watchdog would restart without end, so it does not restart at all.
    if let Err(error) = held.save() {
        if decision.is_ok() {
            held.record.not_restarted();
            // It may have been written although something failed after that.
            let _again = held.save();
        }
        return (Exit::No, format!("MCP watchdog FAILED: {reason}; no restart: {error}"));
    }
    match decision {
        Err(why) => (Exit::No, format!("MCP watchdog FAILED: {reason}; {why}")),
        Ok(()) => match unit.restart(Duration::from_secs(120)) {
            Ok(()) => {
                let made = format!("restarted {unit} ({} of {})", held.record.restarts, policy.restarts);
                (Exit::No, format!("MCP watchdog FAILED: {reason}; {made}"))
            }
            Err(error) => {
                held.record.not_restarted();
                let _kept = held.save();
                (Exit::CouldNotRun, format!("MCP watchdog FAILED: {reason}; restart failed: {error}"))
            }
        },
    }
}

/// Health, the handshake, the tools: what a client needs before its first call.
fn probe(client: &Client, health_path: &str) -> Result<Well, ProbeFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ProbeFailure::unprepared(format!("cannot start: {error}")))?;
    let started = Instant::now();
    runtime.block_on(async {
        let health = client.raw(Request::bare(Method::GET, Some(health_path))).await;
        let health = health.map_err(|error| ProbeFailure::of(&error))?;
        let body = bounded::parse(&health.body).ok();
        if health.status != 200 || !says_healthy(body.as_ref()) {
            return Err(ProbeFailure::of_health(health_path, health.status, body.is_some()));
        }
        let session = Session::legacy(client).await.map_err(|error| ProbeFailure::of(&error))?;
        let listed = session.list_tools().await.map_err(|error| ProbeFailure::of(&error));
        let took = started.elapsed();
        session.close().await;
        let dependencies = ready::ask(client).await;
        match listed?.0.len() {
            0 => Err(ProbeFailure::no_tools()),
            tools => Ok(Well { tools, took, dependencies }),
        }
    })
}

/// The guard says of itself that it is being replaced, has just started or has just changed slots: what failed is not the
/// unit's fault yet. A guard that cannot be reached holds nothing, but one that refuses this user is a mistake to report.
fn guard_is_changing(guard: &Guard, within: Duration) -> Option<String> {
    let status = match guard.ask_quietly(&AdminCommand::Status).0 {
        Ok(AdminResponse::Status(status)) => status,
        Ok(_) => return None,
        Err(unasked) => {
            if unasked.exit != Exit::No {
                let reason = unasked.reason;
                complain(format_args!("watchdog: {reason}; its deploys and switches hold no restart"));
            }
            return None;
        }
    };
    if status.draining {
        return Some("the guard is handing over or shutting down".to_owned());
    }
    if status.uptime_seconds < within.as_secs() {
        return Some(format!("the guard started {} s ago", status.uptime_seconds));
    }
    let Ok(AdminResponse::History(history)) = guard.ask_quietly(&AdminCommand::History).0 else {
        return None;
    };
    let last = history.last()?;
    // A clock that was set back makes it newer than now: then it is not believed.
    let age = now_seconds().checked_sub(last.at.millis() / 1_000)?;
    (age < within.as_secs()).then(|| format!("{age} s ago the guard did this: {last}"))
}

/// Why no restart may be made, if an operator or a deploy script says so.
fn hold(watchdog: &WatchdogArgs) -> Option<String> {
    let path = watchdog.hold_file.as_deref()?;
    let age = std::fs::metadata(path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
    (age < HOLD_FILE_AGE_MAX).then(|| format!("a deploy is under way ({} exists)", path.display()))
}

fn state_file(watchdog: &WatchdogArgs) -> Result<Option<PathBuf>, String> {
    let of_systemd = || {
        let folders = std::env::var("STATE_DIRECTORY").ok()?;
        Some(Path::new(folders.split(':').next()?).join("watchdog.json"))
    };
    let state = watchdog.state.clone().or_else(of_systemd);
    if state.is_none() && (watchdog.restart.is_some() || watchdog.report) {
        return Err("--state FILE is needed to remember failures and restarts".to_owned());
    }
    Ok(state)
}

fn report(record: Record, now: u64) -> String {
    let days = record.counting_since.map_or(0.0, |since| now.saturating_sub(since) as f64 / 86_400.0);
    let last = match record.last_restart {
        Some(last) => format!(", the last one {:.1} days ago", now.saturating_sub(last) as f64 / 86_400.0),
        None => String::new(),
    };
    let degraded = match record.degraded_total {
        0 => String::new(),
        degraded => format!(", {degraded} found a dependency down"),
    };
    format!(
        "{} restarts in {days:.1} days{last}; {} of {} probes failed{degraded}",
        record.restarts_total, record.failures_total, record.probes_total
    )
}

pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
