//! How the service is at one moment: calls, times, connections, tools, restarts. Kept before and after a change, so that
//! "restored" can be measured.
//!
//! Must not know what a bad figure leads to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{self, FileError, failed, read_text};
use super::host::{Installation, Way, block_on};
use super::journal::now;
use super::layout::Layout;
use super::manifest::ReleaseName;
use super::plan::Operation;
use crate::client::load::{self, LoadCall, LoadError, Plan, Report, Writes};
use crate::client::{Client, Session};
use crate::upstream::Slot;

const CONCURRENCY: u16 = 4;
/// For one response of the load check.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the whole load check: it stands between a switch and its end.
const LOAD_TIME_MAX: Duration = Duration::from_secs(30);
/// A p95 that is larger by less says nothing: a busy machine does that to any server.
const SLACK_MS: f64 = 25.0;
const BYTES_MAX: u64 = 1 << 20;

/// The service at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) at: String,
    /// The slot that served, and its release.
    pub(crate) serving: Slot,
    pub(crate) release: Option<ReleaseName>,
    /// How many tools its backend lists.
    pub(crate) tools: usize,
    /// Open connections of clients.
    pub(crate) client_connections: usize,
    /// How often systemd has restarted each unit.
    pub(crate) restarts: BTreeMap<String, u32>,
    pub(crate) way: Way,
    pub(crate) load: Report,
}

/// The content of `figures.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The operation that changed the service; none where an operator recorded the figures.
    pub(crate) operation: Option<String>,
    pub(crate) before: Figures,
    pub(crate) after: Option<Figures>,
}

/// Why a load shows nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmeasured {
    /// The settings do not allow it: nothing that a change could mend.
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Other(String),
}

impl From<String> for Unmeasured {
    fn from(why: String) -> Unmeasured {
        Unmeasured::Other(why)
    }
}

impl Figures {
    /// Measures the service now.
    pub(crate) fn measure(installation: &Installation<'_>) -> Result<Figures, Unmeasured> {
        Figures::measure_within(installation, LOAD_TIME_MAX)
    }

    /// The same, with a load of at most this long.
    pub(super) fn measure_within(
        installation: &Installation<'_>,
        time_max: Duration,
    ) -> Result<Figures, Unmeasured> {
        let status = installation.status()?;
        let serving = installation.report()?.status.position.stable;
        let (client, way) = installation.service_client(serving, RESPONSE_TIMEOUT)?;
        let load = load_for(installation, client, time_max)?;
        let tools = tools_of(&installation.client(serving, RESPONSE_TIMEOUT)?)?;
        let release = installation.store.current(serving).map_err(|error| error.to_string())?;
        let client_connections = status.connections;
        let restarts = installation.restarts(status.pid);
        Ok(Figures { at: now(), serving, release, tools, client_connections, restarts, way, load })
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let release = self.release.as_ref().map_or("no release", ReleaseName::as_str);
        format!(
            "slot {} ({release}), {} tools, {} client connections; {} {}: {}",
            self.serving.as_str(),
            self.tools,
            self.client_connections,
            self.load.call,
            self.way.as_str(),
            line_of(&self.load)
        )
    }
}

/// The numbers of a load in one line.
pub(super) fn line_of(load: &Report) -> String {
    let millis = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"));
    let [p50, p95, p99] = [load.p50_ms, load.p95_ms, load.p99_ms].map(millis);
    let Report { requests, failed, connections, .. } = load;
    let limited = match load.limited {
        0 => String::new(),
        limited => format!(" ({limited} by the rate limit of the client whose token is in auth.token_env)"),
    };
    format!(
        "{requests} requests, {failed} failed{limited}, {connections} connections, p50 {p50}, p95 {p95}, p99 {p99}"
    )
}

/// How many tools a server lists.
pub(super) fn tools_of(client: &Client) -> Result<usize, String> {
    block_on(async {
        let session = Session::open(client).await.map_err(|error| error.to_string())?;
        let listed = session.list_tools().await.map_err(|error| error.to_string());
        session.close().await;
        Ok(listed?.0.len())
    })?
}

/// The load check of the settings, on one server.
pub(super) fn load_of(installation: &Installation<'_>, client: Client) -> Result<Report, Unmeasured> {
    load_for(installation, client, LOAD_TIME_MAX)
}

fn load_for(
    installation: &Installation<'_>,
    client: Client,
    time_max: Duration,
) -> Result<Report, Unmeasured> {
    let settings = installation.settings;
    let call = match &settings.load_tool {
        None => LoadCall::ListTools,
        Some(name) => LoadCall::Tool { name: name.clone(), arguments: json!({}), writes: Writes::Refuse },
    };
    let plan = Plan {
        call,
        requests: u32::try_from(settings.load_requests).unwrap_or(u32::MAX),
        concurrency: CONCURRENCY,
        time_max,
        ..Plan::default()
    };
    block_on(load::run(client, &plan))?.map_err(|error| match &error {
        LoadError::Session(refused) if matches!(refused.status(), Some(401 | 403)) => {
            Unmeasured::Settings(format!(
                "{error} (hint: the guard refuses the client token of auth.token_env: set it to one that is valid, or unset it)"
            ))
        }
        LoadError::Session(_) => Unmeasured::Other(error.to_string()),
        LoadError::NoSuchTool(_) | LoadError::MayWrite(_) => {
            Unmeasured::Settings(format!("release.load_tool: {error}"))
        }
    })
}

/// In what a load is worse than the one before; any failure is, where there is none to compare with.
pub(super) fn worse(now: &Report, before: Option<&Report>, slowdown: u64) -> Vec<String> {
    let mut worse = Vec::new();
    if now.requests < now.planned {
        worse.push(format!("only {} of {} requests were made in time", now.requests, now.planned));
    }
    if now.requests > 0 && now.failed >= now.requests {
        worse.push("no request succeeded".to_owned());
    }
    let share =
        |load: &Report| f64::from(load.failed.saturating_sub(load.limited)) / f64::from(load.requests.max(1));
    if share(now) > before.map_or(0.0, share) {
        let reasons =
            now.failures.iter().take(3).map(|failure| format!("{} x {}", failure.count, failure.reason));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        let then = before.map_or(0, |before| before.failed);
        worse.push(format!("{} of {} requests failed, {then} before: {reasons}", now.failed, now.requests));
    }
    let Some(before) = before.filter(|before| before.call == now.call) else { return worse };
    if now.connections > before.connections + u64::from(CONCURRENCY) {
        worse.push(format!("{} connections were needed, {} before", now.connections, before.connections));
    }
    if let (Some(p95), Some(then)) = (now.p95_ms, before.p95_ms)
        && p95 > then * slowdown as f64 + SLACK_MS
    {
        worse.push(format!("p95 is {p95:.1} ms, {then:.1} ms before (release.load_slowdown = {slowdown})"));
    }
    worse
}

/// The step that keeps the figures before a deployment. A service that cannot be measured may be what the deployment mends.
pub(super) fn before(installation: &Installation<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let layout = installation.store.layout();
    if let Ok(Some(kept)) = read(layout)
        && kept.operation.as_deref() == Some(&operation.id)
    {
        // From before an interruption.
        return Ok(vec![kept.before.line()]);
    }
    match Figures::measure(installation) {
        Ok(before) => {
            let note = before.line();
            let kept = Kept { operation: Some(operation.id.clone()), before, after: None };
            keep(layout, &kept).map_err(|error| mcp_host::diagnostics::chain(&error))?;
            Ok(vec![note])
        }
        Err(Unmeasured::Settings(why)) => Err(why),
        Err(Unmeasured::Other(why)) => {
            Ok(vec![format!("the service could not be measured, so nothing is compared later: {why}")])
        }
    }
}

pub(crate) fn keep(layout: &Layout, kept: &Kept) -> Result<(), FileError> {
    let text = serde_json::to_vec_pretty(kept).unwrap_or_default();
    files::replace(&layout.figures(), &text, 0o640)
}

/// What was kept, if anything was.
pub(crate) fn read(layout: &Layout) -> Result<Option<Kept>, FileError> {
    let path = layout.figures();
    match read_text(&path, BYTES_MAX) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| failed("understand", &path)(std::io::Error::other(error.to_string()))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(failed: u32, connections: u64, p95_ms: f64) -> Report {
        let text = json!({
            "call": "tools/list", "concurrency": 4, "keeps_connections": true, "planned": 100, "requests": 100,
            "failed": failed, "connections": connections, "seconds": 1.0, "requests_per_second": 100.0, "p50_ms": 1.0,
            "p95_ms": p95_ms, "p99_ms": 9.0, "max_ms": 9.0,
            "failures": if failed > 0 { json!([{"reason": "HTTP 502", "count": failed}]) } else { json!([]) },
        });
        serde_json::from_value(text).unwrap()
    }

    #[track_caller]
    fn check(now: &Report, before: Option<&Report>, expect: &[&str]) {
        let found = worse(now, before, 3);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.contains(expect), "{found} does not say {expect}");
        }
    }

    #[test]
    fn a_load_is_worse_by_failures_connections_and_p95() {
        let before = load(0, 4, 10.0);
        check(&load(0, 4, 10.0), Some(&before), &[]);
        check(&load(0, 8, 54.9), Some(&before), &[]);
        check(&load(0, 9, 55.1), Some(&before), &["9 connections", "p95 is 55.1 ms, 10.0 ms before"]);
        check(&load(1, 4, 10.0), Some(&before), &["1 of 100 requests failed, 0 before: 1 x HTTP 502"]);
        check(&load(1, 4, 10.0), None, &["1 of 100"]);
        check(&load(0, 400, 9_000.0), None, &[]);
    }

    #[test]
    fn a_service_that_failed_before_is_not_worse_by_failing_less() {
        check(&load(3, 4, 10.0), Some(&load(5, 4, 10.0)), &[]);
        check(&load(6, 4, 10.0), Some(&load(5, 4, 10.0)), &["6 of 100 requests failed, 5 before"]);
    }

    #[test]
    fn the_clients_own_rate_limit_says_nothing_about_the_service() {
        let mut limited = load(60, 4, 10.0);
        limited.limited = 60;
        check(&limited, Some(&load(0, 4, 10.0)), &[]);
        assert!(line_of(&limited).contains("60 failed (60 by the rate limit"), "{}", line_of(&limited));
    }

    #[test]
    fn a_load_that_was_cut_short_is_worse_and_another_call_is_not_compared() {
        let mut cut = load(0, 4, 900.0);
        cut.requests = 20;
        check(&cut, None, &["only 20 of 100"]);
        let mut other = load(0, 90, 900.0);
        other.call = "tools/call x".to_owned();
        check(&other, Some(&load(0, 4, 10.0)), &[]);
    }
}
