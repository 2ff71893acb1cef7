//! The backends of both slots: reachable, which eras they speak, how many tools they list.

use std::time::Duration;

use super::diagnosis::{Diagnosis, State};
use super::host::Running;
use crate::client::{Client, Limits, Session, Target};
use crate::config::Config;
use crate::upstream::{Backend, Secrets, Slot};

const PATIENCE: Duration = Duration::from_secs(5);

/// Which eras a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Eras {
    legacy: bool,
    modern: bool,
}

/// Probes both slots.
pub(super) fn look(config: &Config, running: &Running) -> Result<Vec<Diagnosis>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let mut findings = Vec::new();
    let mut eras = Vec::new();
    for slot in Slot::ALL {
        let what = format!("slot {}", slot.as_str());
        let Some(backend) = config.backend(slot) else {
            findings.push(Diagnosis::new(State::Skip, what, "empty"));
            continue;
        };
        let (mut finding, spoken) = runtime.block_on(ask(backend, what, &config.secrets));
        if finding.state == State::Bad {
            finding.state = severity(slot, config, running, &finding.found);
        }
        findings.push(finding);
        eras.extend(spoken.map(|spoken| (slot, spoken)));
    }
    let speaks =
        |stable: bool| eras.iter().find(|(slot, _)| (*slot == config.stable) == stable).map(|(_, eras)| eras);
    if let (Some(stable), Some(candidate)) = (speaks(true), speaks(false))
        && candidate.modern
        && !stable.modern
    {
        let found =
            "the candidate speaks 2026-07-28 and stable does not: its clients could not be rolled back";
        findings.push(Diagnosis::new(State::Warn, "eras", found).advise(
            "leave protocol.max_version = \"auto\": newer clients are asked to use initialize until the rollout is complete",
        ));
    }
    Ok(findings)
}

/// How bad it is that a backend does not respond as it should.
fn severity(slot: Slot, config: &Config, running: &Running, found: &str) -> State {
    let stable = match running {
        Running::Serves(status) => status.stable.as_str(),
        Running::None | Running::Unasked(_) => config.stable.as_str(),
    };
    // This user may not open the socket; that says nothing about the guard.
    if matches!(running, Running::Unasked(_)) && found.contains("Permission denied") {
        return State::Skip;
    }
    // Between two deploys the other slot's backend is stopped, which takes no calls away.
    if stable == slot.as_str() { State::Bad } else { State::Warn }
}

async fn ask(backend: &Backend, what: String, secrets: &Secrets) -> (Diagnosis, Option<Eras>) {
    let limits =
        Limits { connect: PATIENCE.min(Duration::from_secs(2)), total: PATIENCE, ..Limits::default() };
    let client = Client::new(Target::of_backend(backend), limits).with_secrets(secrets);
    let (legacy, modern) = (Session::legacy(&client).await, Session::modern(&client).await);
    let eras = Eras { legacy: legacy.is_ok(), modern: modern.is_ok() };
    // The modern era keeps no sessions, so the legacy one is what has to be closed.
    let session = match (legacy, modern) {
        (Ok(session), _) | (Err(_), Ok(session)) => session,
        (Err(error), Err(_)) => {
            let todo = if error.is_silence() {
                "start the backend, or correct the slot's address; the guard must be allowed to open the socket"
            } else {
                "compare path, host and accept of the slot with what the backend wants"
            };
            return (Diagnosis::new(State::Bad, what, error.to_string()).advise(todo), None);
        }
    };
    let finding = match session.list_tools().await {
        Err(error) => Diagnosis::new(State::Bad, what, error.to_string()),
        Ok((tools, took)) => {
            let name = session.handshake.server_name.as_deref().unwrap_or("a server without a name");
            let (count, millis) = (tools.len(), took.as_millis());
            let found = format!("{name}: {count} tools in {millis} ms, speaks {}", spoken(eras));
            Diagnosis::new(State::Ok, what, found)
        }
    };
    session.close().await;
    (finding, Some(eras))
}

fn spoken(eras: Eras) -> &'static str {
    match (eras.legacy, eras.modern) {
        (true, true) => "initialize and 2026-07-28",
        (true, false) => "initialize only",
        (false, true) => "2026-07-28 only",
        (false, false) => "nothing",
    }
}
