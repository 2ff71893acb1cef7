//! What requests share: the published snapshot of the configuration, the traffic split, the samples.

pub(crate) mod snapshot;
pub(crate) mod traffic_split;
