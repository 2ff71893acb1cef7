//! Whether a unit may be restarted now.
//!
//! Must not know when a restart is wanted.

use std::time::Duration;

use mcp_host::systemctl::Unit;

/// Why a restart would do harm now, if it would: the unit is on its way up or down, has just started, or was stopped.
/// A unit of which nothing can be learnt is restarted: that is what the watchdog is for.
pub(super) fn quiet(unit: &Unit, started_within: Duration) -> Option<String> {
    let shown = unit.show("ActiveState,ActiveEnterTimestampMonotonic").ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    judge(&shown, uptime, started_within)
}

fn judge(shown: &str, uptime_seconds: Option<f64>, started_within: Duration) -> Option<String> {
    let property = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match property("ActiveState")? {
        "activating" => Some("the unit is starting".to_owned()),
        "deactivating" => Some("the unit is stopping".to_owned()),
        "reloading" => Some("the unit is reloading".to_owned()),
        "maintenance" => Some("the unit is in maintenance".to_owned()),
        "inactive" => Some("the unit was stopped on purpose".to_owned()),
        "active" => {
            let entered: f64 = property("ActiveEnterTimestampMonotonic")?.parse().ok()?;
            let age = uptime_seconds? - entered / 1e6;
            let fresh = (0.0..started_within.as_secs_f64()).contains(&age);
            fresh.then(|| format!("the unit started {age:.0} s ago"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shown: &str, uptime: f64, expect: Option<&str>) {
        let found = judge(shown, Some(uptime), Duration::from_secs(60));
        assert_eq!(found.as_deref(), expect, "{shown}");
    }

    #[test]
    fn knows_when_a_restart_would_do_harm() {
        let active = "ActiveState=active\nActiveEnterTimestampMonotonic=100000000\n";
        check(active, 130.0, Some("the unit started 30 s ago"));
        check(active, 160.5, None);
        check("ActiveState=failed\nActiveEnterTimestampMonotonic=0", 5.0, None);
        check("ActiveState=inactive\n", 5.0, Some("the unit was stopped on purpose"));
        check("ActiveState=activating\n", 5.0, Some("the unit is starting"));
        check("ActiveState=deactivating\n", 5.0, Some("the unit is stopping"));
        check("", 5.0, None);
    }
}
