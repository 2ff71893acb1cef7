//! Bounds on sizes, counts and time: all finite.

use std::time::Duration;

use crate::http1::HeadLimits;

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size and number of header fields.
    pub head: HeadLimits,
    /// Bytes of a request body.
    pub body_bytes_max: u64,
    /// Bytes of all request bodies that are held at a time.
    pub bodies_bytes_max: usize,
    /// Connections from clients.
    pub connections_max: usize,
    /// Calls in flight per slot.
    pub in_flight_max: usize,
    /// Calls waiting for a place, per slot.
    pub waiting_max: usize,
    /// Calls held while no backend can be reached.
    pub held_max: usize,
    /// Open streams of all clients, apart from calls in flight.
    pub streams_max: usize,
    /// Open streams of one client.
    pub streams_per_client_max: usize,
}

/// How many times the largest body a refused one may be for its id to be looked for.
const EXCESS_MAX: u64 = 8;

/// Up to how many bytes a body is read, without being kept, that is larger than `body_bytes_max`: its refusal carries the
/// id of the call.
pub fn excess_max(body_bytes_max: u64) -> u64 {
    body_bytes_max.saturating_mul(EXCESS_MAX)
}

/// `[timeouts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A whole request head, from its first byte.
    pub header: Duration,
    /// A whole request body.
    pub body: Duration,
    /// Between two requests of a connection.
    pub keepalive_idle: Duration,
    /// Reaching a backend.
    pub connect: Duration,
    /// A whole call.
    pub total: Duration,
    /// Between two pieces of a stream.
    pub stream_idle: Duration,
    /// Silence of a stream after which the guard sends a comment; none where it never does.
    pub stream_ping: Option<Duration>,
    /// A stream that responds to a call; subscriptions have no end of their own.
    pub stream_total: Duration,
    /// A call for a place in its slot.
    pub waiting: Duration,
    /// A call for a backend that can be reached.
    pub hold: Duration,
    /// Calls in flight, once the shutdown has begun.
    pub drain: Duration,
}

#[cfg(test)]
impl Limits {
    /// What the tests of this module decide by: the head as by default, everything else small.
    pub(super) const SMALL: Limits = Limits {
        head: HeadLimits { bytes_max: 16384, fields_max: 100 },
        body_bytes_max: 1000,
        bodies_bytes_max: 1 << 20,
        connections_max: 1,
        in_flight_max: 1,
        waiting_max: 1,
        held_max: 1,
        streams_max: 1,
        streams_per_client_max: 1,
    };
}
