//! Requests of the verification: `/health`, opening a session, the list of tools.
//!
//! Must not know units or logs.

use std::time::Instant;

use super::check::{CheckResult, TIMEOUT};
use crate::client::{Client, Method, Request, Session, says_legacy};
use crate::release::figures::{Figures, tools_of};
use crate::release::host::{Installation, block_on};
use crate::upstream::Slot;

const HEALTHY: &[u8] = b"{\"status\": \"ok\"}";

/// `/health` of the guard.
pub(super) fn health(installation: &Installation<'_>) -> CheckResult {
    let found = || {
        let client = installation.open_client(&installation.config()?.listen.address, TIMEOUT)?;
        let response = block_on(client.raw(Request::bare(Method::GET, Some("/health"))))?
            .map_err(|error| error.to_string())?;
        let body = client.clean(response.body);
        if response.status == 200 && body == HEALTHY {
            let millis = response.elapsed.as_secs_f64() * 1_000.0;
            return Ok(format!("200 in {millis:.1} ms"));
        }
        let body = String::from_utf8_lossy(&body[..body.len().min(200)]).escape_debug().to_string();
        Err(format!("GET /health: HTTP {} with {body}", response.status))
    };
    CheckResult::of("health", found())
}

/// A session, opened on the way of the clients.
pub(super) fn initialize(installation: &Installation<'_>, stable: Slot) -> CheckResult {
    match installation.service_client(stable, TIMEOUT) {
        Ok((client, way)) => initialize_at(client, way.as_str()),
        Err(why) => CheckResult::bad("initialize", why),
    }
}

/// A session with this server. One that only speaks 2026-07-28 has no `initialize`.
pub(super) fn initialize_at(client: Client, way: &str) -> CheckResult {
    let opened = || {
        let started = Instant::now();
        let version = block_on(async {
            let session = match Session::legacy(&client).await {
                Err(error) if says_legacy(&error) => Session::modern(&client).await.map_err(|_| error),
                opened => opened,
            };
            let session = session.map_err(|error| error.to_string())?;
            let version = session.handshake.protocol_version.clone();
            session.close().await;
            Ok::<_, String>(version)
        })??;
        let millis = started.elapsed().as_secs_f64() * 1_000.0;
        Ok(format!("{version} in {millis:.1} ms, {way}"))
    };
    CheckResult::of("initialize", opened())
}

/// How many tools a slot lists, against its release or, where that does not say, what was recorded of it.
pub(super) fn tools(installation: &Installation<'_>, slot: Slot, recorded: &[&Figures]) -> CheckResult {
    let found = || {
        let client = installation.client(slot, TIMEOUT)?;
        let release = installation.store.current(slot).map_err(|error| error.to_string())?;
        let manifest = match &release {
            Some(name) => Some(installation.store.manifest(name).map_err(|error| error.to_string())?),
            None => None,
        };
        let said = manifest.and_then(|manifest| manifest.tools);
        let recorded =
            recorded.iter().rev().find(|figures| figures.release == release && figures.serving == slot);
        let expected = match (said, recorded) {
            (Some(tools), _) => Some((tools, "its release says")),
            (None, Some(figures)) => Some((figures.tools, "the record says")),
            (None, None) => None,
        };
        judge(tools_of(&client)?, expected)
    };
    let found: Result<String, String> = found();
    let at = |text: String| format!("slot {}: {text}", slot.as_str());
    CheckResult::of("tools", found.map(at).map_err(at))
}

fn judge(found: usize, expected: Option<(usize, &str)>) -> Result<String, String> {
    match expected {
        Some((expected, by)) if expected != found => {
            Err(format!("tools/list has {found} tools, {by} {expected}"))
        }
        Some((expected, by)) => Ok(format!("tools/list has {found} tools, {by} {expected}")),
        None if found == 0 => Err("tools/list is empty".to_owned()),
        None => Ok(format!(
            "tools/list has {found} tools; neither its release nor a record says how many it has to have"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tools_is_that_of_the_release_or_the_record() {
        let wrong = judge(11, Some((12, "its release says"))).unwrap_err();
        assert_eq!(wrong, "tools/list has 11 tools, its release says 12");
        assert!(judge(12, Some((12, "the record says"))).is_ok());
        assert!(judge(12, None).is_ok());
        assert!(judge(0, None).is_err());
        assert!(judge(0, Some((0, "its release says"))).is_ok());
    }
}
