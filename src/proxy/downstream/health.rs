//! The replies to `/health` (the process lives) and `/ready` (a call would reach a backend).

use crate::policy::reply::Reply;
use crate::proxy::drain::Phase;
use crate::proxy::state::ProxyState;
use crate::proxy::state::readiness::Check;
use crate::proxy::state::snapshot::Snapshot;

/// The reply to `/health`: these exact bytes, in every state of the backends.
pub(crate) fn health() -> Reply {
    let body = b"{\"status\": \"ok\"}".as_slice().into();
    Reply { status: 200, retry_after: None, extra: None, body }
}

/// The reply to `/ready`.
pub(crate) async fn ready(state: &ProxyState, snapshot: &Snapshot) -> Reply {
    let check = |passed: bool| if passed { Check::Ok } else { Check::Failed };
    let backend = match snapshot.slot(state.traffic.load().split.stable()) {
        Some(slot) => state.readiness.check(slot).await,
        None => Check::Failed,
    };
    let checks = [
        ("listening", check(state.drain.phase() == Phase::Serving)),
        ("tokens", check(!snapshot.policy.clients().is_empty())),
        ("backend", backend),
    ];
    let ready = checks.iter().all(|(_, check)| *check == Check::Ok);
    let shown = |(name, check): (&str, Check)| (name.to_owned(), check.as_str().into());
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
