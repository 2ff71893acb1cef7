//! The replies to `/health` (the process lives) and `/ready` (a call would reach a backend).

use crate::policy::reply::Reply;
use crate::proxy::drain::Phase;
use crate::proxy::state::ProxyState;
use crate::proxy::state::dependencies::Effect;
use crate::proxy::state::snapshot::Snapshot;
use crate::telemetry::metrics::DependencyState;

/// The reply to `/health`: these exact bytes, in every state of the backends.
pub(crate) fn health() -> Reply {
    let body = b"{\"status\": \"ok\"}".as_slice().into();
    Reply { status: 200, retry_after: None, extra: None, body }
}

/// The reply to `/ready`: names and words, which need no token. Why something failed is for `status` and the log.
pub(crate) async fn ready(state: &ProxyState, snapshot: &Snapshot) -> Reply {
    let split = state.traffic.load();
    let reachable = match snapshot.slot(split.split.stable()) {
        Some(slot) => state.readiness.is_reachable(slot).await,
        None => false,
    };
    let own = [
        ("listening", state.drain.phase() == Phase::Serving),
        ("tokens", !snapshot.policy.clients().is_empty()),
        ("backend", reachable),
    ];
    let own_effect = if own.iter().all(|(_, passed)| *passed) { Effect::Ok } else { Effect::Unready };
    let dependencies = state.dependencies.checks(&split.split);
    let effect = dependencies.iter().map(|check| check.effect).fold(own_effect, Effect::max);
    let own = own.into_iter().map(|(name, passed)| (name.to_owned(), if passed { "ok" } else { "failed" }));
    let checks = own.chain(dependencies.into_iter().map(|check| (check.name, word(check.state))));
    let body = serde_json::json!({
        "status": match effect {
            Effect::Ok => "ok",
            Effect::Degraded => "degraded",
            Effect::Unready => "unready",
        },
        "checks": checks.map(|(name, word)| (name, word.into())).collect::<serde_json::Map<_, _>>(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": state.started.elapsed().as_secs(),
    });
    let ready = effect != Effect::Unready;
    Reply {
        status: if ready { 200 } else { 503 },
        retry_after: (!ready).then_some(1),
        extra: None,
        body: body.to_string().into_bytes().into(),
    }
}

fn word(state: DependencyState) -> &'static str {
    match state {
        DependencyState::Up => "ok",
        DependencyState::Down => "failed",
        DependencyState::Unknown => "unknown",
    }
}
