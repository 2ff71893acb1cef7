//! The limits that hold over the guard's fleet, in a program that can join one; none in one that cannot.

use crate::config::Config;
#[cfg(feature = "fleet")]
use crate::config::fleet;

#[cfg(feature = "fleet")]
use std::sync::Arc;
#[cfg(feature = "fleet")]
use std::time::Instant;

/// What is counted with other guards, for as long as the process runs: members come and go. Copies share it.
#[derive(Clone)]
pub(super) struct FleetLimits {
    #[cfg(feature = "fleet")]
    limits: mcp_fleet::Limits,
    /// From here count the rates of calls, and the moments of members.
    #[cfg(feature = "fleet")]
    base: Instant,
}

#[cfg(feature = "fleet")]
impl FleetLimits {
    /// Of a process that starts now.
    pub(super) fn new() -> FleetLimits {
        FleetLimits { limits: mcp_fleet::Limits::new(0, mcp_fleet::Moment::default()), base: Instant::now() }
    }

    /// The member that leases what is counted with others.
    pub(super) fn member(&self, config: &fleet::Fleet) -> Result<crate::fleet::Membership, String> {
        crate::fleet::Membership::new(config, self.limits.clone(), self.base)
    }

    /// Counts the rates of a configuration with other guards, if it says that there are any.
    pub(super) fn configure(&self, config: &mut Config) {
        let leased = || Arc::new(crate::fleet::LeasedRates::new(self.limits.clone(), self.base)) as _;
        config.shared_rates = config.fleet.is_some().then(leased);
    }
}

#[cfg(not(feature = "fleet"))]
impl FleetLimits {
    pub(super) fn new() -> FleetLimits {
        FleetLimits {}
    }

    pub(super) fn configure(&self, _config: &mut Config) {}
}
