//! The guard's part in its fleet, where one is configured: joined before the first call, left after the last one.

#[cfg(feature = "fleet")]
use std::time::Duration;

use super::limits::FleetLimits;
use crate::config::fleet::Fleet;
use crate::control::Control;
use crate::control::fleet::JoinFleet;
use crate::proxy::Handle;

/// How long the end of a process waits for the store. The others notice it without a word as well, only later.
#[cfg(feature = "fleet")]
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// How the control plane joins the fleet; none without one.
#[cfg(feature = "fleet")]
pub(super) fn join(config: Option<&Fleet>, limits: &FleetLimits) -> Result<Option<JoinFleet>, String> {
    config.map(|config| limits.member(config)?.join()).transpose()
}

/// This guard ends: the others need not wait for it. One that was replaced stays a member.
#[cfg(feature = "fleet")]
pub(super) fn leave(control: &Control, handle: &Handle) {
    if handle.is_handed_over() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    // A guard without a fleet, or whose store is away, has said all there is to say.
    let _ = runtime.block_on(async { tokio::time::timeout(LEAVE_MAX, control.leave_fleet()).await });
}

/// A program that cannot join one refuses `[fleet]` in its configuration.
#[cfg(not(feature = "fleet"))]
pub(super) fn join(_config: Option<&Fleet>, _limits: &FleetLimits) -> Result<Option<JoinFleet>, String> {
    Ok(None)
}

#[cfg(not(feature = "fleet"))]
pub(super) fn leave(_control: &Control, _handle: &Handle) {}
