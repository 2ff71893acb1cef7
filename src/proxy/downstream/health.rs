//! Health and readiness: whether the process lives, and whether a call would find a backend.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::policy::reply::Reply;
use crate::proxy::drain::Phase;
use crate::proxy::state::snapshot::{ProxyState, Snapshot};

/// Readiness is asked without a token, so the backend is not asked each time.
const REMEMBERED: Duration = Duration::from_secs(1);

/// When the stable slot was last seen to be reachable, or not.
#[derive(Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Check)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Ok,
    Failed,
}

impl Check {
    fn as_str(self) -> &'static str {
        match self {
            Check::Ok => "ok",
            Check::Failed => "failed",
        }
    }
}

/// The answer to `/health`: these exact bytes, whatever the backends do.
pub(crate) fn health() -> Reply {
    let body = b"{\"status\": \"ok\"}".as_slice().into();
    Reply { status: 200, retry_after: None, extra: None, body }
}

/// The answer to `/ready`.
pub(crate) async fn readiness(state: &ProxyState, snapshot: &Snapshot) -> Reply {
    let backend = check_backend(state, snapshot).await;
    let serving = state.drain.phase() == Phase::Serving;
    let tokens = if snapshot.policy.clients().is_empty() { Check::Failed } else { Check::Ok };
    let checks = [
        ("listening", if serving { Check::Ok } else { Check::Failed }),
        ("tokens", tokens),
        ("backend", backend),
    ];
    let ready = checks.iter().all(|(_, check)| *check == Check::Ok);
    let body = serde_json::json!({
        "status": if ready { "ready" } else { "not_ready" },
        "checks": checks.iter().map(|(name, check)| ((*name).to_owned(), check.as_str().into()))
            .collect::<serde_json::Map<String, serde_json::Value>>(),
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

/// Whether the stable slot's backend accepts connections.
async fn check_backend(state: &ProxyState, snapshot: &Snapshot) -> Check {
    let stable = state.routes.load().split.stable();
    let Some(slot) = snapshot.slot(stable) else { return Check::Failed };
    let mut last = state.readiness.last.lock().await;
    if let Some((at, check)) = *last
        && at.elapsed() < REMEMBERED
    {
        return check;
    }
    let check = match slot.connect().await {
        Ok(connection) => {
            slot.pool.put(connection, Instant::now().into());
            Check::Ok
        }
        Err(_unreachable) => Check::Failed,
    };
    *last = Some((Instant::now(), check));
    check
}
