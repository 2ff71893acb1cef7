//! What a verification is for.
//!
//! Must not know what is checked.

use crate::release::plan::{Kind, Operation};

/// What a verification is for, which decides what its findings lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// An operator asks.
    Command,
    /// A failure undoes the deployment.
    Deployment,
    /// The same, of a release that may differ from the one before: it may be slower, too.
    ForcedDeployment,
    /// A failure gives the traffic back to a slot that is not well, so only what makes the way back useless is one.
    WayBack,
}

impl Occasion {
    pub(super) fn of(operation: &Operation) -> Occasion {
        match operation.kind {
            Kind::Deploy if operation.force => Occasion::ForcedDeployment,
            Kind::Deploy => Occasion::Deployment,
            Kind::StandardRollback | Kind::Restore | Kind::Rollback | Kind::SwitchBack | Kind::Drill => {
                Occasion::WayBack
            }
        }
    }
}
