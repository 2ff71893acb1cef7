//! The replies to `/health` (the process lives) and `/ready` (a call would reach a backend).

use crate::policy::reply::Reply;
use crate::proxy::drain::Phase;
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;

/// The reply to `/health`: these exact bytes, in every state of the backends.
pub(crate) fn health() -> Reply {
    let body = b"{\"status\": \"ok\"}".as_slice().into();
    Reply { status: 200, retry_after: None, extra: None, body }
}

/// The reply to `/ready`.
pub(crate) async fn ready(state: &ProxyState, snapshot: &Snapshot) -> Reply {
    let reachable = match snapshot.slot(state.traffic.stable()) {
        Some(slot) => state.readiness.is_reachable(slot).await,
        None => false,
    };
    let checks = [
        ("listening", state.drain.phase() == Phase::Serving),
        ("tokens", !snapshot.policy.clients().is_empty()),
        ("backend", reachable),
    ];
    let ready = checks.iter().all(|(_, passed)| *passed);
    let shown =
        |(name, passed): (&str, bool)| (name.to_owned(), if passed { "ok".into() } else { "failed".into() });
    let body = serde_json::json!({
        "status": if ready { "ready" } else { "not_ready" },
        "checks": checks.into_iter().map(shown).collect::<serde_json::Map<String, serde_json::Value>>(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": state.started.elapsed().as_secs(),
    });
    Reply {
        status: if ready { 200 } else { 503 },
        retry_after: (!ready).then_some(1),
        extra: None,
        body: body.to_string().into_bytes().into(),
    }
}
