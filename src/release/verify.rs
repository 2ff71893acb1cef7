//! Verification: the service in the order of the rollback procedure, and a slot before it gets traffic.
//!
//! The checks are the same for the command and for the steps of an operation. Must not know what a failure leads to.

mod check;
mod occasion;
mod requests;
mod surroundings;
mod units;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use self::check::TIMEOUT;
pub(crate) use self::check::{CheckResult, CheckState};
use self::occasion::Occasion;
pub(super) use self::surroundings::scrape;
use super::figures::{self, Figures, Kept, Unmeasured};
use super::host::{Host, Installation};
use super::plan::Operation;
use crate::admin::GuardStatus;
use crate::client::load::Report;
use crate::upstream::Slot;

const LOAD: &str = "load";

/// What the checks are compared with.
struct Reference<'a> {
    occasion: Occasion,
    /// How often systemd had restarted each unit; a unit that is not named must not have been restarted at all.
    restarts: BTreeMap<String, u32>,
    /// The load before the change.
    before: Option<&'a Figures>,
    /// The figures of a release that has no number of tools in its manifest.
    recorded: Vec<&'a Figures>,
}

/// The result of a verification.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    pub(crate) checks: Vec<CheckResult>,
    pub(crate) before: Option<Figures>,
    pub(crate) now: Option<Figures>,
}

impl Verified {
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.state != CheckState::Bad)
    }
}

/// Verifies the service now, against the figures that were kept before the latest change.
pub(crate) fn verify(installation: &Installation<'_>) -> Result<Verified, String> {
    let kept =
        figures::read(installation.store.layout()).map_err(|error| mcp_host::diagnostics::chain(&error))?;
    let reference = Reference {
        occasion: Occasion::Command,
        restarts: BTreeMap::new(),
        before: kept.as_ref().map(|kept| &kept.before),
        recorded: kept.iter().flat_map(|kept| std::iter::once(&kept.before).chain(&kept.after)).collect(),
    };
    let status = installation.status()?;
    let stable = installation.report()?.status.position.stable;
    let (checks, load) = checks_of(installation, &status, stable, &reference);
    let now = load.and_then(|load| figures_with(installation, &status, stable, load));
    Ok(Verified { checks, before: kept.map(|kept| kept.before), now })
}

/// The checks in their order, and the load that the last one made.
fn checks_of(
    installation: &Installation<'_>,
    status: &GuardStatus,
    stable: Slot,
    reference: &Reference<'_>,
) -> (Vec<CheckResult>, Option<Report>) {
    // On the way back the other slot is the one that is not well.
    let other = (reference.occasion != Occasion::WayBack).then(|| stable.other());
    let mut checks = vec![
        units::check(installation, status.pid, stable, other, &reference.restarts),
        requests::health(installation),
        requests::initialize(installation, stable),
        requests::tools(installation, stable, &reference.recorded),
        surroundings::dependencies(installation, stable, reference.occasion),
        surroundings::log(installation, status.pid, stable),
    ];
    let (load, made) = load(installation, stable, reference);
    // After the load: a guard that has just started has no call to measure before.
    checks.push(surroundings::metrics(installation, status));
    checks.push(load);
    for check in &mut checks {
        let judged = match reference.occasion {
            Occasion::Command => true,
            // A client's call that timed out meanwhile is in the guard's log, too.
            Occasion::Deployment => check.name != surroundings::LOG,
            Occasion::ForcedDeployment => check.name != surroundings::LOG && check.name != LOAD,
            Occasion::WayBack => check.name != surroundings::LOG && check.name != LOAD,
        };
        if check.state == CheckState::Bad && !judged {
            *check = CheckResult::good(check.name, format!("(not judged) {}", check.found));
        }
    }
    (checks, made)
}

/// The load check, on the service.
fn load(
    installation: &Installation<'_>,
    stable: Slot,
    reference: &Reference<'_>,
) -> (CheckResult, Option<Report>) {
    let settings = installation.settings;
    let made = installation
        .service_client(stable, Duration::from_secs(10))
        .map_err(Unmeasured::from)
        .and_then(|(client, way)| Ok((figures::load_of(installation, client)?, way)));
    let (made, way) = match made {
        Ok(made) => made,
        Err(why) => return (CheckResult::bad(LOAD, why.to_string()), None),
    };
    let same = |before: &&Figures| before.way == way && before.load.call == made.call;
    let before = reference.before.filter(same).map(|before| &before.load);
    let worse = figures::worse(&made, before, settings.load_slowdown);
    let line = format!("{} {}: {}", made.call, way.as_str(), figures::line_of(&made));
    let before = match before {
        Some(before) => format!("; before: {}", figures::line_of(before)),
        None => "; there are no figures of before to compare with".to_owned(),
    };
    let check = match worse.as_slice() {
        [] => CheckResult::good(LOAD, line + &before),
        worse => CheckResult::bad(LOAD, format!("{}; {line}{before}", worse.join("; "))),
    };
    (check, Some(made))
}

fn figures_with(
    installation: &Installation<'_>,
    status: &GuardStatus,
    stable: Slot,
    load: Report,
) -> Option<Figures> {
    let (_client, way) = installation.service_client(stable, TIMEOUT).ok()?;
    Some(Figures {
        at: super::journal::now(),
        serving: stable,
        release: installation.store.current(stable).ok()?,
        tools: figures::tools_of(&installation.client(stable, TIMEOUT).ok()?).ok()?,
        client_connections: status.connections,
        restarts: installation.restarts(status.pid),
        way,
        load,
    })
}

/// The step that asks a slot directly, before it gets traffic. Its unit has just been started.
pub(super) fn slot(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let slot = operation.slot;
    let mut checks = vec![
        units::of_slot(host, slot),
        requests::initialize_at(host.client(slot, TIMEOUT)?, &format!("slot {}", slot.as_str())),
        requests::tools(host, slot, &[]),
        surroundings::dependencies_of_slot(host, slot),
    ];
    let made = figures::load_of(host, host.client(slot, Duration::from_secs(10))?);
    checks.push(match made {
        Ok(made) if made.failed == 0 && made.requests == made.planned => {
            CheckResult::good(LOAD, format!("{}: {}", made.call, figures::line_of(&made)))
        }
        Ok(made) => {
            CheckResult::bad(LOAD, figures::worse(&made, None, host.settings.load_slowdown).join("; "))
        }
        Err(why) => CheckResult::bad(LOAD, why.to_string()),
    });
    outcome_of(&checks)
}

/// The step that asks the service as its clients do, after the switch.
pub(super) fn service(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let kept = figures::read(host.store.layout()).ok().flatten();
    let (status, stable) = (host.status()?, host.report()?.status.position.stable);
    let is_own = kept.as_ref().is_some_and(|kept| kept.operation.as_deref() == Some(&operation.id));
    let occasion = Occasion::of(operation);
    // What systemd restarted before the operation is not its doing; the slot's own unit was started by it.
    let mut restarts = host.restarts(status.pid);
    restarts.extend(kept.iter().filter(|_| is_own).flat_map(|kept| kept.before.restarts.clone()));
    restarts.remove(&host.unit(operation.slot)?.to_string());
    // A deployment whose service could not be measured has nothing to be compared with.
    let before = kept.as_ref().filter(|_| is_own || occasion == Occasion::WayBack).map(|kept| &kept.before);
    let reference = Reference { occasion, restarts, before, recorded: Vec::new() };
    let (checks, load) = checks_of(host, &status, stable, &reference);
    let mut notes = outcome_of(&checks)?;
    let after = load.and_then(|load| figures_with(host, &status, stable, load));
    if let Some(kept) = &kept {
        notes.push(format!("before the latest deployment ({}): {}", kept.before.at, kept.before.line()));
    }
    notes.extend(after.as_ref().map(|after| format!("now: {}", after.line())));
    if let Some(kept) = kept.filter(|_| is_own) {
        // Without it the next verification knows less; that undoes no deployment.
        let _unkept = figures::keep(host.store.layout(), &Kept { after, ..kept });
    }
    Ok(notes)
}

fn outcome_of(checks: &[CheckResult]) -> Result<Vec<String>, String> {
    let line = |check: &CheckResult| format!("{}: {}", check.name, check.found);
    let bad: Vec<String> = checks.iter().filter(|check| check.state == CheckState::Bad).map(line).collect();
    if bad.is_empty() { Ok(checks.iter().map(line).collect()) } else { Err(bad.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_check_fails_a_step_and_what_was_not_checked_does_not() {
        let good = CheckResult::good("a", "fine");
        let not_checked = CheckResult::not_checked("b", "not configured");
        let bad = CheckResult::bad(LOAD, "slow");
        let notes = outcome_of(&[good.clone(), not_checked.clone()]);
        assert_eq!(notes.as_deref(), Ok(["a: fine".to_owned(), "b: not configured".to_owned()].as_slice()));
        assert_eq!(outcome_of(&[good, bad, not_checked]), Err("load: slow".to_owned()));
    }
}
