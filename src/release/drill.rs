//! The drill: a slot fails on purpose, the guard must notice and the service must go on, and the slot recovers.
//!
//! It is an operation like a deployment: when it is interrupted, the slot stays failed until `release resume` or
//! `release undo`. Must not know how commands print.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mcp_host::systemctl::Unit;

use super::figures::tools_of;
use super::host::{Host, Way};
use super::plan::{FailureKind, Operation};
use super::stand_in::{self, StandIn};
use super::verify;
use crate::client::Client;
use crate::upstream::Address;

/// How long the slot stays failed, as the rollback procedure has it.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// Between the recovery and the verification.
const SETTLE: Duration = Duration::from_secs(5);
/// For a unit to stop or start.
const UNIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// For one request to the service.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What was seen while the slot was failed.
#[derive(Debug, Default)]
struct Seen {
    /// When the guard found the slot not healthy.
    noticed: Option<Duration>,
    /// When the unit ran again by itself.
    back: Option<Duration>,
    requests: u32,
    failed: u32,
    first_failure: Option<String>,
    /// How long it was watched.
    watched: Duration,
}

/// What must be right before a slot fails on purpose.
pub(super) fn preflight(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let (slot, status) = (operation.slot, host.report()?.status);
    if let Some(run) = &status.run {
        return Err(format!(
            "rollout {} is under way, and the slot may get calls; nothing was touched",
            run.id
        ));
    }
    let stable = status.slots.iter().find(|found| found.slot == operation.serving);
    if slot != operation.serving && stable.is_none_or(|stable| stable.health != "healthy") {
        let serving = operation.serving.as_str();
        return Err(format!(
            "slot {serving} is not healthy, and slot {} may take its calls; nothing was touched",
            slot.as_str()
        ));
    }
    let found = status.slots.iter().find(|found| found.slot == slot);
    let health = found.map_or("not known to the guard", |found| found.health.as_str());
    if health != "healthy" {
        return Err(format!(
            "slot {} is {health}: only a healthy slot can fail (hint: `systemctl start {}`)",
            slot.as_str(),
            host.unit(slot)?
        ));
    }
    let unit = host.unit(slot)?;
    if unit.property("ActiveState")? != "active" {
        return Err(format!(
            "{unit} is not active, so slot {} is not its process (hint: release.unit)",
            slot.as_str()
        ));
    }
    if operation.failure == Some(FailureKind::WrongAnswers)
        && let Some(why) = stand_in::obstacle(host.backend(slot)?)
    {
        return Err(format!("{why}; nothing was touched"));
    }
    let (_client, way) = host.service_client(operation.serving, TIMEOUT)?;
    Ok(match way {
        Way::Guard => Vec::new(),
        Way::Slot => vec![format!(
            "no client token is known (auth.token_env), so slot {} is asked instead of the service",
            operation.serving.as_str()
        )],
    })
}

/// Lets the slot fail, and watches guard and service.
pub(super) fn fail(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let kind = operation.failure.unwrap_or(FailureKind::Stop);
    let unit = host.unit(operation.slot)?;
    let (client, _way) = host.service_client(operation.serving, TIMEOUT)?;
    let health = &host.config()?.health;
    // As long as the guard needs for its verdict, with one check under way and a moment for a busy machine.
    let verdict = (health.interval + health.timeout) * (health.fall + 1) + Duration::from_secs(2);
    let before = unit.property("MainPID")?;
    let started = Instant::now();
    let mut responds_wrong = None;
    let what = match kind {
        FailureKind::Stop => unit.stop(UNIT_TIMEOUT).map(|()| "is stopped")?,
        FailureKind::Kill => unit.signal("SIGKILL").map(|()| "had its main process killed")?,
        FailureKind::Hang => unit.signal("SIGSTOP").map(|()| "has its main process halted")?,
        FailureKind::WrongAnswers => {
            responds_wrong = Some(respond_wrong(host, operation, &unit)?);
            "has something at its address that responds with what is no MCP"
        }
    };
    let mut seen = Seen::default();
    while started.elapsed() < FAILED_FOR || (seen.lacks_a_verdict(kind) && started.elapsed() < verdict) {
        look(host, operation, &unit, &before, started, &mut seen)?;
        seen.ask(&client);
        sleep(POLL);
    }
    seen.watched = started.elapsed();
    drop(responds_wrong);
    let mut notes = vec![format!("{unit} {what}")];
    notes.extend(judge(kind, &seen, operation.slot == operation.serving)?);
    Ok(notes)
}

/// Puts something else in the place of the release: its name, or its port once it is stopped.
fn respond_wrong(host: &Host<'_>, operation: &Operation, unit: &Unit) -> Result<StandIn, String> {
    let address = &host.backend(operation.slot)?.address;
    if let Address::Tcp(_) = address {
        unit.stop(UNIT_TIMEOUT)?;
    }
    stand_in::begin(address).map_err(|error| format!("nothing can stand in at {address}: {error}"))
}

fn look(
    host: &Host<'_>,
    operation: &Operation,
    unit: &Unit,
    main_before: &str,
    started: Instant,
    seen: &mut Seen,
) -> Result<(), String> {
    if seen.noticed.is_none() && host.slot_report(operation.slot)?.health != "healthy" {
        seen.noticed = Some(started.elapsed());
    }
    if seen.back.is_none() {
        let main = unit.property("MainPID")?;
        let again = main != "0" && main != main_before && unit.property("ActiveState")? == "active";
        seen.back = again.then(|| started.elapsed());
    }
    Ok(())
}

impl Seen {
    fn lacks_a_verdict(&self, kind: FailureKind) -> bool {
        match kind {
            FailureKind::Stop | FailureKind::Hang | FailureKind::WrongAnswers => self.noticed.is_none(),
            FailureKind::Kill => self.back.is_none(),
        }
    }

    fn ask(&mut self, client: &Client) {
        self.requests += 1;
        if let Err(why) = tools_of(client) {
            self.failed += 1;
            self.first_failure.get_or_insert(why);
        }
    }
}

/// Whether guard and unit did what they are for. The slot that serves may fail calls: that is what is found out.
fn judge(kind: FailureKind, seen: &Seen, serves: bool) -> Result<Vec<String>, String> {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let watched = seconds(seen.watched);
    let (mut notes, mut bad) = (Vec::new(), Vec::new());
    match (seen.noticed, kind) {
        (Some(after), _) => notes.push(format!("the guard noticed after {}", seconds(after))),
        (None, FailureKind::Stop | FailureKind::Hang | FailureKind::WrongAnswers) => {
            bad.push(format!(
                "the guard still found the slot healthy after {watched} (hint: [health] in guard.toml)"
            ));
        }
        (None, FailureKind::Kill) => notes.push("the unit was back before the guard noticed".to_owned()),
    }
    match (seen.back, kind) {
        (Some(after), _) => notes.push(format!("the unit ran again by itself after {}", seconds(after))),
        (None, FailureKind::Kill) => {
            bad.push(format!(
                "the unit did not come back by itself within {watched} (hint: Restart= in the unit)"
            ));
        }
        (None, FailureKind::Stop | FailureKind::Hang | FailureKind::WrongAnswers) => {}
    }
    let asked = format!("{} of {} requests to the service failed meanwhile", seen.failed, seen.requests);
    match &seen.first_failure {
        Some(first) if !serves => bad.push(format!("{asked}, the first: {first}")),
        Some(first) => notes.push(format!("{asked}, the first: {first}")),
        None => notes.push(asked),
    }
    if bad.is_empty() { Ok(notes) } else { Err([bad, notes].concat().join("; ")) }
}

/// Ends what the drill did to the slot, whatever is left of it.
pub(super) fn recover(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let unit = host.unit(operation.slot)?;
    if operation.failure == Some(FailureKind::WrongAnswers) {
        let address = &host.backend(operation.slot)?.address;
        stand_in::end(address).map_err(|error| format!("{address} is not given back: {error}"))?;
        // What has restarted meanwhile listens under a name that it no longer has.
        unit.restart(UNIT_TIMEOUT)?;
        return Ok(vec![format!("{unit} has its address again and is restarted")]);
    }
    // A halted process goes on, and one that was killed meanwhile is not there: both are fine.
    let _gone = unit.signal("SIGCONT");
    // Of an active unit this only sets the number of restarts to 0: those of a drill are no fault.
    unit.start(UNIT_TIMEOUT)?;
    Ok(vec![format!("{unit} is active")])
}

/// The slot and the service, a moment after the recovery.
pub(super) fn verify(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    sleep(SETTLE);
    verify::slot(host, operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(noticed: Option<u64>, back: Option<u64>, failed: u32) -> Seen {
        Seen {
            noticed: noticed.map(Duration::from_secs),
            back: back.map(Duration::from_secs),
            requests: 40,
            failed,
            first_failure: (failed > 0).then(|| "HTTP 502".to_owned()),
            watched: Duration::from_secs(10),
        }
    }

    #[track_caller]
    fn fails(kind: FailureKind, seen: &Seen, expect: &str) {
        let why = judge(kind, seen, false).unwrap_err();
        assert!(why.contains(expect), "{why}");
    }

    #[test]
    fn a_drill_passes_when_the_guard_notices_and_the_service_goes_on() {
        use FailureKind::{Hang, Kill, Stop, WrongAnswers};
        for kind in [Stop, Hang, WrongAnswers] {
            let notes = judge(kind, &seen(Some(6), None, 0), false).unwrap();
            assert_eq!(
                notes,
                ["the guard noticed after 6.0 s", "0 of 40 requests to the service failed meanwhile"]
            );
            fails(kind, &seen(None, None, 0), "still found the slot healthy after 10.0 s");
        }
        assert!(judge(Kill, &seen(None, Some(1), 0), false).is_ok());
        fails(Kill, &seen(Some(6), None, 0), "did not come back by itself");
    }

    #[test]
    fn lost_requests_fail_a_drill_of_the_slot_that_does_not_serve() {
        fails(FailureKind::Stop, &seen(Some(6), None, 2), "2 of 40 requests to the service failed");
        let notes = judge(FailureKind::Stop, &seen(Some(6), None, 2), true).unwrap();
        assert!(
            notes.contains(
                &"2 of 40 requests to the service failed meanwhile, the first: HTTP 502".to_owned()
            )
        );
    }
}
