//! Whether the units are as they should be: active without restarts, or at rest.
//!
//! Must not know what the units run.

use std::collections::BTreeMap;

use mcp_host::systemctl::Unit;

use super::check::CheckResult;
use crate::release::host::Installation;
use crate::upstream::Slot;

const NAME: &str = "units";

/// What is asked of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It serves.
    Active,
    /// It may be stopped; it may not have failed or be restarted over and over.
    Settled,
}

/// The guard's unit, that of the slot that serves, and, if it is asked for, that of the other one.
pub(super) fn check(
    installation: &Installation<'_>,
    guard_pid: u32,
    stable: Slot,
    other: Option<Slot>,
    restarts: &BTreeMap<String, u32>,
) -> CheckResult {
    let mut found = Vec::new();
    match Unit::of_process(guard_pid) {
        Some(unit) => found.push(judge(&unit, Wanted::Active, restarts)),
        None => found.push(Ok(format!("the guard (pid {guard_pid}) runs in no unit of systemd"))),
    }
    for slot in std::iter::once(stable).chain(other) {
        // A slot without a backend has no unit.
        if installation.backend(slot).is_err() {
            continue;
        }
        let wanted = if slot == stable { Wanted::Active } else { Wanted::Settled };
        found.push(installation.unit(slot).and_then(|unit| judge(&unit, wanted, restarts)));
    }
    all(found)
}

/// The unit of a slot that was started for an operation.
pub(super) fn of_slot(installation: &Installation<'_>, slot: Slot) -> CheckResult {
    all(vec![installation.unit(slot).and_then(|unit| judge(&unit, Wanted::Active, &BTreeMap::new()))])
}

fn all(found: Vec<Result<String, String>>) -> CheckResult {
    let bad: Vec<String> = found.iter().filter_map(|found| found.as_ref().err().cloned()).collect();
    if bad.is_empty() {
        return CheckResult::good(NAME, found.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    CheckResult::bad(NAME, bad.join("; "))
}

fn judge(unit: &Unit, wanted: Wanted, restarts: &BTreeMap<String, u32>) -> Result<String, String> {
    let shown = unit.show("ActiveState,SubState,NRestarts")?;
    let allowed = restarts.get(&unit.to_string()).copied().unwrap_or(0);
    judge_shown(&unit.to_string(), &shown, wanted, allowed)
}

fn judge_shown(unit: &str, shown: &str, wanted: Wanted, allowed: u32) -> Result<String, String> {
    let property = |name: &str| {
        shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let (active, sub) = (property("ActiveState"), property("SubState"));
    let restarted = property("NRestarts").parse::<u32>().unwrap_or(0);
    let at_rest = wanted == Wanted::Settled && active == "inactive";
    if active != "active" && !at_rest {
        return Err(format!("{unit} is {active} ({sub}) (hint: `systemctl status {unit}`)"));
    }
    if restarted > allowed {
        let before = if allowed > 0 { format!(", {allowed} before") } else { String::new() };
        return Err(format!(
            "systemd has restarted {unit} {restarted} times{before} (hint: `journalctl -u {unit}`; `systemctl reset-failed {unit}` sets the count to 0)"
        ));
    }
    Ok(if at_rest { format!("{unit} is stopped") } else { format!("{unit} is active, {restarted} restarts") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(active: &str, restarts: u32, wanted: Wanted, allowed: u32, expect: Result<&str, &str>) {
        let shown = format!("ActiveState={active}\nSubState=sub\nNRestarts={restarts}");
        let found = judge_shown("a.service", &shown, wanted, allowed);
        match expect {
            Ok(expect) => assert_eq!(found.as_deref(), Ok(expect)),
            Err(expect) => assert!(found.as_ref().is_err_and(|why| why.contains(expect)), "{found:?}"),
        }
    }

    #[test]
    fn a_unit_that_serves_is_active_and_was_not_restarted() {
        check("active", 0, Wanted::Active, 0, Ok("a.service is active, 0 restarts"));
        check("active", 1, Wanted::Active, 0, Err("has restarted a.service 1 times (hint"));
        check("active", 2, Wanted::Active, 2, Ok("a.service is active, 2 restarts"));
        check("active", 3, Wanted::Active, 2, Err("3 times, 2 before"));
        for state in ["inactive", "failed", "activating", "deactivating", ""] {
            check(state, 0, Wanted::Active, 0, Err("a.service is "));
        }
    }

    #[test]
    fn the_other_slot_may_be_stopped_but_not_failed_or_restarting() {
        check("inactive", 0, Wanted::Settled, 0, Ok("a.service is stopped"));
        check("active", 0, Wanted::Settled, 0, Ok("a.service is active, 0 restarts"));
        check("failed", 0, Wanted::Settled, 0, Err("is failed (sub)"));
        check("activating", 9, Wanted::Settled, 0, Err("is activating (sub)"));
    }
}
