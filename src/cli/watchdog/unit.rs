//! The unit to restart, by way of systemctl: what state it is in, and restarting it within a bound.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const QUESTION_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A unit's name, safe to hand to systemctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit(String);

impl std::str::FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Unit, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"@:_.\\-".contains(&byte);
        if text.is_empty() || text.starts_with('-') || text.len() > 255 || !text.bytes().all(known) {
            return Err("a unit's name has letters, digits and @ : _ . \\ - only".to_owned());
        }
        Ok(Unit(text.to_owned()))
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a restart would do harm now, if it would: the unit is on its way up or down, has just started, or was stopped.
/// A unit of which nothing can be learnt is restarted: that is what the watchdog is for.
pub(super) fn quiet(unit: &Unit, started_within: Duration) -> Option<String> {
    let properties = "--property=ActiveState,ActiveEnterTimestampMonotonic";
    let shown = systemctl(&["show", properties, "--", &unit.0], QUESTION_PATIENCE).ok()?;
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

/// Restarts the unit and waits until systemd says that it has.
pub(super) fn restart(unit: &Unit, patience: Duration) -> Result<(), String> {
    // Forgets a start limit that was hit; an error here says nothing that the restart will not say.
    let _forgotten = systemctl(&["reset-failed", "--", &unit.0], QUESTION_PATIENCE);
    systemctl(&["restart", "--", &unit.0], patience).map(drop)
}

/// What systemctl printed, or why it failed.
fn systemctl(arguments: &[&str], patience: Duration) -> Result<String, String> {
    let mut child = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run systemctl: {error}"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() > patience => {
                let _ended = child.kill().and_then(|()| child.wait());
                return Err(format!("systemctl {} did not end within {patience:?}", arguments.join(" ")));
            }
            Ok(None) => std::thread::sleep(POLL),
            Err(error) => return Err(format!("cannot wait for systemctl: {error}")),
        }
    };
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = Vec::new();
        let _partial = pipe.map(|pipe| pipe.take(64 << 10).read_to_end(&mut text));
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let said = read(child.stdout.as_mut().map(|pipe| pipe as _));
    if status.success() {
        return Ok(said);
    }
    let complaint = read(child.stderr.as_mut().map(|pipe| pipe as _));
    Err(format!("systemctl {} failed ({status}): {complaint}", arguments.join(" ")))
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

    #[test]
    fn a_unit_name_is_no_option_and_no_shell() {
        for name in ["", "--force", "a b", "a;b", "a/b", "$(x)"] {
            assert!(name.parse::<Unit>().is_err(), "{name}");
        }
        assert!("mcp-tools@blue.service".parse::<Unit>().is_ok());
    }
}
