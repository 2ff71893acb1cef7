//! The parts of a running guard that commands, reloads and upgrades act on.

use super::identity::Identity;
use super::limits::FleetLimits;
use super::old_process::OldProcess;
use super::traces::Traces;
use crate::control::Control;
use crate::proxy::Handle;
use crate::shadow::Shadow;

/// Handles on the data plane, the control plane, the shadow, the keys of issuers, the limits of a fleet, traces and the
/// process before. Cheap to clone.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) handle: Handle,
    pub(super) control: Control,
    pub(super) shadow: Shadow,
    pub(super) identity: Identity,
    pub(super) limits: FleetLimits,
    pub(super) traces: Traces,
    pub(super) old: OldProcess,
    #[cfg(feature = "console")]
    pub(super) console: crate::console::Console,
}
