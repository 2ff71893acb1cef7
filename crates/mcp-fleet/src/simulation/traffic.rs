//! What members and store send each other, in bytes on the wire.

use rustix::time::{ClockId, clock_gettime};

use super::node::fleet;
use crate::redis::request_bytes;
use crate::request::{Reply, Request};

/// What the members and the store have sent each other.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) operations: u64,
    pub(crate) bytes: u64,
    /// Time that the leaders took for their replies.
    pub(crate) leader_nanos: u64,
}

impl Traffic {
    /// Counts an exchange.
    pub(crate) fn count(&mut self, request: &Request, reply: &Reply) {
        self.operations += 1;
        self.bytes += (request_bytes(&fleet().0, request) + reply_bytes(reply)) as u64;
    }
}

/// As the server writes it: every value with a length of its own.
fn reply_bytes(reply: &Reply) -> usize {
    let members: usize = reply.members.iter().map(|(member, _)| member.as_str().len() + 20).sum();
    let records: usize =
        reply.records.iter().map(|(member, sealed)| member.as_str().len() + sealed.len() + 18).sum();
    180 + reply.sealed.as_ref().map_or(0, Vec::len) + members + records + reply.shares.len() * 12
}

/// What the thread has taken of the processor: other programs of the machine do not count.
pub(super) fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec) as u64
}
