//! What surrounds the service: what it depends on, errors in the logs of its units, its metrics.
//!
//! Must not know requests of its own.

use std::time::Duration;

use mcp_host::systemctl::Unit;

use super::check::{CheckResult, TIMEOUT};
use super::occasion::Occasion;
use crate::admin::GuardStatus;
use crate::client::{Method, Request};
use crate::config::dependencies::{self, Dependency};
use crate::dependency::{self, Checked};
use crate::release::host::{Installation, block_on};
use crate::systemd_journal::{self, SystemdQuery};
use crate::upstream::{Address, Backend, PerSlot, Slot};

/// The name of the check of the logs.
pub(super) const LOG: &str = "log";
const DEPENDENCIES: &str = "dependencies";
const METRICS: &str = "metrics";
const LINES: u32 = 100;
const DURATION: &str = "mcp_server_operation_duration_seconds_count";
const CONNECTIONS: &str = "mcp_guard_connections";

/// Everything that the service depends on: database, cache and whatever else is declared; a tool at the slot that serves.
pub(super) fn dependencies(installation: &Installation<'_>, stable: Slot, occasion: Occasion) -> CheckResult {
    let counts = |checked: &Checked| match occasion {
        Occasion::Command => true,
        // What a release cannot have broken undoes its deployment only where nothing works without it.
        Occasion::Deployment | Occasion::ForcedDeployment => checked.required || checked.slot.is_some(),
        Occasion::WayBack => false,
    };
    checked(installation, stable, |_| true, counts)
}

/// The tools among them, at a slot that does not serve yet.
pub(super) fn dependencies_of_slot(installation: &Installation<'_>, slot: Slot) -> CheckResult {
    let is_tool = |dependency: &Dependency| matches!(dependency.check, dependencies::Check::Tool { .. });
    checked(installation, slot, is_tool, |_| true)
}

fn checked(
    installation: &Installation<'_>,
    slot: Slot,
    concerns: impl Fn(&Dependency) -> bool,
    counts: impl Fn(&Checked) -> bool,
) -> CheckResult {
    let config = match installation.config() {
        Ok(config) => config,
        Err(why) => return CheckResult::bad(DEPENDENCIES, why),
    };
    let mut backends: PerSlot<Option<Backend>> = PerSlot::default();
    backends[slot].clone_from(&config.backends[slot]);
    let named: Vec<Dependency> =
        config.dependencies.iter().filter(|named| concerns(named)).cloned().collect();
    if named.is_empty() {
        return CheckResult::not_checked(DEPENDENCIES, "no [[dependency]] is configured for it");
    }
    let (programs, named) = dependency::without_programs_of_root(&named);
    let checked = block_on(dependency::check_all(&named, &backends, &config.secrets));
    let found = programs.into_iter().map(|program| found_by_the_guard(installation, program));
    match checked {
        Ok(checked) => judge_dependencies(&checked.into_iter().chain(found).collect::<Vec<_>>(), counts),
        Err(why) => CheckResult::bad(DEPENDENCIES, why),
    }
}

/// What the guard found last of a program that is not run here.
fn found_by_the_guard(installation: &Installation<'_>, program: Dependency) -> Checked {
    let Dependency { name, required, .. } = program;
    let status = installation.status();
    let found = status.map(|status| status.dependencies.into_iter().find(|found| found.name == name));
    let (result, took) = match found {
        Ok(Some(found)) => {
            let never = || "the guard has not checked it yet".to_owned();
            let result = match found.reason {
                Some(reason) => Err(reason),
                None => found.checked.map(drop).ok_or_else(never),
            };
            (result, Duration::from_millis(found.took_ms.unwrap_or_default()))
        }
        Ok(None) => {
            (Err("the running guard does not know it (hint: mcp-guard reload)".to_owned()), Duration::ZERO)
        }
        Err(why) => (Err(why), Duration::ZERO),
    };
    Checked { name, slot: None, required, result, took }
}

fn judge_dependencies(checked: &[Checked], counts: impl Fn(&Checked) -> bool) -> CheckResult {
    let line = |checked: &Checked| {
        let slot = checked.slot.map_or_else(String::new, |slot| format!(" (slot {})", slot.as_str()));
        let millis = checked.took.as_secs_f64() * 1_000.0;
        match &checked.result {
            Ok(()) => format!("{}{slot} in {millis:.1} ms", checked.name),
            Err(why) => format!("{}{slot} FAILED: {why}", checked.name),
        }
    };
    let found = checked.iter().map(line).collect::<Vec<_>>().join("; ");
    if checked.iter().any(|checked| checked.result.is_err() && counts(checked)) {
        CheckResult::bad(DEPENDENCIES, found)
    } else {
        CheckResult::good(DEPENDENCIES, found)
    }
}

/// The last lines of the guard's log and of the slot's that serves.
pub(super) fn log(installation: &Installation<'_>, guard_pid: u32, stable: Slot) -> CheckResult {
    let units = Unit::of_process(guard_pid).into_iter().chain(installation.unit(stable).ok());
    let (mut errors, mut lines) = (Vec::new(), 0);
    for unit in units {
        let unit = unit.to_string();
        let query =
            SystemdQuery { units: vec![unit.clone()], since: None, entries_max: Some(LINES), keep: 0 };
        let read = match systemd_journal::read(&query) {
            Ok(read) => read,
            Err(error) => return CheckResult::bad(LOG, format!("{unit}: {error}")),
        };
        let Some(log) = read.units.get(&unit) else { continue };
        lines += log.lines;
        if let Some(last) = &log.last_error {
            errors.push(format!(
                "{unit}: {} errors in the last {} lines, the latest: {}",
                log.errors, log.lines, last.text
            ));
        }
    }
    match (errors.as_slice(), lines) {
        ([], 0) => {
            CheckResult::not_checked(LOG, "the journal shows no line of the units (hint: run as root)")
        }
        ([], lines) => CheckResult::good(LOG, format!("no error in the last {lines} lines")),
        (errors, _) => CheckResult::bad(LOG, errors.join("; ")),
    }
}

/// The metrics of durations and connections.
pub(super) fn metrics(installation: &Installation<'_>, status: &GuardStatus) -> CheckResult {
    let Some(address) = &status.metrics else {
        return CheckResult::not_checked(METRICS, "listen.metrics is not set");
    };
    CheckResult::of(METRICS, scrape(installation, address, TIMEOUT).and_then(|text| judge(&text)))
}

/// The text of the metrics endpoint.
pub(in crate::release) fn scrape(
    installation: &Installation<'_>,
    address: &str,
    timeout: Duration,
) -> Result<String, String> {
    let address = address.parse().map_err(|_| format!("{address:?} is no address"))?;
    let client = installation.open_client(&Address::Tcp(address), timeout)?;
    let response = block_on(client.raw(Request::bare(Method::GET, Some("/metrics"))))?
        .map_err(|error| error.to_string())?;
    if response.status != 200 {
        return Err(format!("GET /metrics: HTTP {}", response.status));
    }
    Ok(String::from_utf8_lossy(&client.clean(response.body)).into_owned())
}

fn judge(text: &str) -> Result<String, String> {
    let values = |name: &str| -> Vec<f64> {
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next()?.parse().ok();
        text.lines().filter(of_name).filter_map(value).collect()
    };
    let (calls, connections) = (values(DURATION), values(CONNECTIONS));
    if connections.is_empty() {
        return Err(format!("GET /metrics: {CONNECTIONS} is absent"));
    }
    if calls.is_empty() {
        return Err(format!(
            "GET /metrics: {DURATION} is absent: no call has passed since the guard started"
        ));
    }
    let (calls, connections): (f64, f64) = (calls.iter().sum(), connections.iter().sum());
    Ok(format!("durations of {calls} calls, {connections} open client connections"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_does_not_count_is_shown_and_does_not_fail() {
        let checked = |name: &str, required, result: Result<(), &str>| Checked {
            name: name.to_owned(),
            slot: None,
            required,
            result: result.map_err(str::to_owned),
            took: Duration::from_millis(2),
        };
        let all = [checked("database", true, Ok(())), checked("cache", false, Err("no response"))];
        let shown = judge_dependencies(&all, |checked| checked.required);
        assert_eq!(shown, CheckResult::good(DEPENDENCIES, "database in 2.0 ms; cache FAILED: no response"));
        assert_eq!(judge_dependencies(&all, |_| true), CheckResult::bad(DEPENDENCIES, shown.found));
    }

    #[test]
    fn durations_and_connections_must_be_measured() {
        let calls = "mcp_server_operation_duration_seconds_count{mcp_method_name=\"tools/list\"} 3\nmcp_server_operation_duration_seconds_count{mcp_method_name=\"ping\"} 4\n";
        let connections = "mcp_guard_connections 2\n";
        let both =
            judge(&format!("# HELP x y\n{calls}{connections}mcp_guard_connections_accepted_total 9\n"));
        assert_eq!(both.as_deref(), Ok("durations of 7 calls, 2 open client connections"));
        assert!(judge(connections).unwrap_err().contains("operation_duration_seconds_count is absent"));
        let accepted = "mcp_guard_connections_accepted_total 9\n";
        assert!(
            judge(&format!("{calls}{accepted}")).unwrap_err().contains("mcp_guard_connections is absent")
        );
    }
}
