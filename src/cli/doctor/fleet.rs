//! The fleet of `[fleet]`: its store, asked once from here, and its members, as the running guard sees them.

use std::time::Duration;

use mcp_fleet::{FleetName, Probed};

use super::diagnosis::{Diagnosis, State};
use super::host::Running;
use crate::admin::{AdminCommand, AdminResponse};
use crate::cli::fleet::differences::{differences, is_silent};
use crate::cli::fleet::picture::{candidate, differs, seconds};
use crate::cli::guard::Guard;
use crate::config::Config;
use crate::config::fleet::Fleet;
use crate::control::fleet_report::{CandidateState, FleetReport};
use crate::fleet::store;
use crate::parity::render::safe;

/// The times of the records of a fleet are compared by people and by the leader's log.
const CLOCK_OFF_MAX_MS: u64 = 1_000;
/// More than an exchange may take while the guard serves: here it is the reason that matters.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at store and members, where there is a fleet.
pub(super) fn look(config: &Config, guard: &Guard, running: &Running) -> Result<Vec<Diagnosis>, String> {
    let Some(fleet) = &config.fleet else { return Ok(Vec::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let name = FleetName::new(&fleet.name).map_err(|error| format!("fleet.name: {error}"))?;
    let probed = store::open(name, &fleet.store, RESPONSE_TIMEOUT);
    let probed = probed.and_then(|store| runtime.block_on(store.probe()));
    // A name that is still being resolved must not hold the command.
    runtime.shutdown_background();
    let clean = |text: String| config.secrets.clean_text(&text);
    let mut found = of_store(fleet, probed.map_err(|error| clean(error.to_string())));
    match running {
        Running::Serves(_) => found.extend(of_guard(guard)),
        Running::None | Running::Unasked(_) => {
            let reason = "the running guard cannot be asked who is in it";
            found.push(Diagnosis::new(State::Skip, "fleet", reason));
        }
    }
    Ok(found)
}

fn of_store(fleet: &Fleet, probed: Result<Probed, String>) -> Vec<Diagnosis> {
    let shown: Vec<&str> = fleet.store.urls.iter().map(|url| url.shown.as_str()).collect();
    let at = shown.join(", ");
    let probed = match probed {
        Ok(probed) => probed,
        Err(reason) => {
            let todo = "without it limits hold for each guard alone and no rollout moves: docs/fleet.md has the rights it needs";
            return vec![
                Diagnosis::new(State::Bad, "fleet store", format!("{at}: {}", safe(&reason))).advise(todo),
            ];
        }
    };
    let Probed { server, is_supported, clock_ahead_ms, round_trip } = probed;
    let server = safe(&server);
    let answered = format!("{at}: {server} responds in {:.1} ms", round_trip.as_secs_f64() * 1_000.0);
    let version = if is_supported {
        Diagnosis::new(State::Ok, "fleet store", answered)
    } else {
        Diagnosis::new(State::Bad, "fleet store", answered).advise("a fleet needs Redis or Valkey 7 or later")
    };
    let off = format!("{clock_ahead_ms:+} ms from this machine's");
    let clock = if clock_ahead_ms.unsigned_abs() > CLOCK_OFF_MAX_MS {
        Diagnosis::new(State::Warn, "store's clock", off)
            .advise("nothing depends on it, but logs are hard to compare: synchronize the clocks")
    } else {
        Diagnosis::new(State::Ok, "store's clock", off)
    };
    vec![version, clock]
}

fn of_guard(guard: &Guard) -> Vec<Diagnosis> {
    match guard.ask_quietly(&AdminCommand::Fleet).0 {
        Ok(AdminResponse::Fleet(Some(report))) => of_members(&report),
        Ok(AdminResponse::Fleet(None)) => {
            let todo = "it joins at its next start: systemctl restart mcp-guard, or mcp-guard upgrade";
            let found = "the running guard is in no fleet, or has left it";
            vec![Diagnosis::new(State::Warn, "fleet", found).advise(todo)]
        }
        Ok(_) => vec![Diagnosis::new(State::Skip, "fleet", "the guard answered another question")],
        Err(unasked) => vec![Diagnosis::new(State::Skip, "fleet", unasked.reason)],
    }
}

/// What the running guard knows of the others.
fn of_members(report: &FleetReport) -> Vec<Diagnosis> {
    let (live, known) = (report.live, report.known);
    let leader = report.leader.as_deref().map_or_else(|| "no guard".to_owned(), safe);
    let found = format!("{live} of {known} members live, {leader} leads");
    let state = if report.leader.is_none() || report.store_away { State::Warn } else { State::Ok };
    let what = format!("fleet {}", safe(&report.name));
    let mut all = vec![Diagnosis::new(state, &what, found)];
    let warn = |found: String, todo: &str| Diagnosis::new(State::Warn, &what, found).advise(todo);
    if report.store_away {
        let why = report.store_problem.as_deref().map_or_else(String::new, |why| format!(": {}", safe(why)));
        all.push(warn(
            format!("the running guard cannot reach the store{why}"),
            "compare the line of the store",
        ));
    }
    if report.candidate != CandidateState::Open {
        let todo = "mcp-guard slots list says how the candidate is";
        all.push(warn(format!("candidate: {}", candidate(report.candidate)), todo));
    }
    for difference in differences(report) {
        let todo =
            "a rollout does not start while members disagree: give all the same program and configuration";
        all.push(warn(differs(&difference), todo));
    }
    for member in &report.members {
        let name = safe(&member.member);
        if is_silent(member) {
            let todo = "systemctl status mcp-guard there, and mcp-guard doctor";
            all.push(warn(format!("{name} is silent for {}", seconds(member.silent_ms)), todo));
        }
        if let Some(off) = member.clock_off_ms.filter(|off| off.unsigned_abs() > CLOCK_OFF_MAX_MS) {
            all.push(warn(
                format!("the clock of {name} is {off:+} ms off the store's"),
                "synchronize the clocks",
            ));
        }
        if let Some(why) = &member.ejected {
            let todo = "mcp-guard slots list there";
            all.push(warn(format!("{name} has ejected its candidate: {}", safe(why)), todo));
        }
    }
    let hold = |hold: &String| warn(format!("holds: {}", safe(hold)), "mcp-guard fleet status");
    all.extend(report.holds.iter().map(hold));
    all
}

#[cfg(test)]
mod tests;
