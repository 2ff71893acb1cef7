//! Bounds on sizes, counts and time: all finite.

use std::time::Duration;

use crate::http1::HeadLimits;

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub head: HeadLimits,
    pub body_bytes_max: u64,
    pub connections_max: usize,
    /// Calls in flight per slot.
    pub in_flight_max: usize,
    /// Calls waiting for a place, per slot.
    pub waiting_max: usize,
    /// Calls held while no backend can be reached.
    pub held_max: usize,
}

/// `[timeouts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub header: Duration,
    pub body: Duration,
    pub keepalive_idle: Duration,
    pub connect: Duration,
    pub total: Duration,
    pub stream_idle: Duration,
    pub waiting: Duration,
    pub hold: Duration,
    pub drain: Duration,
}
