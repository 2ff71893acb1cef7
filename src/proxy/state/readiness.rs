//! Whether the stable slot's backend accepts connections, remembered for a second.
//!
//! Readiness needs no token, so each request for it must not cost a connection.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::proxy::backend::slot::SlotState;

/// How long a result is used.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The last result, and when it was found.
#[derive(Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    /// Whether this slot's backend accepts connections.
    pub(crate) async fn is_reachable(&self, slot: &SlotState) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, reachable)) = *last
            && at.elapsed() < REMEMBERED
        {
            return reachable;
        }
        let connected = slot.connect().await;
        let (now, reachable) = (Instant::now(), connected.is_ok());
        if let Ok(connection) = connected {
            slot.pool.put(connection, now);
        }
        *last = Some((now, reachable));
        reachable
    }
}
