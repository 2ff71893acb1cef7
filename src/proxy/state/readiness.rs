//! Whether the stable slot's backend accepts connections, remembered for a second.
//!
//! Readiness needs no token, so each request for it must not cost a connection.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::proxy::backend::slot::SlotState;

/// How long a result is used.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Ok,
    Failed,
}

impl Check {
    /// Its word in the reply.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Check::Ok => "ok",
            Check::Failed => "failed",
        }
    }
}

/// The last result, and when it was found.
#[derive(Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Check)>>,
}

impl Readiness {
    /// Whether this slot's backend accepts connections.
    pub(crate) async fn check(&self, slot: &SlotState) -> Check {
        let mut last = self.last.lock().await;
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
}
