//! What requests share: the published snapshot of the configuration, the traffic split, the samples.

pub(crate) mod call_limits;
pub(crate) mod snapshot;
pub(crate) mod token_usage;
pub(crate) mod traffic_split;
