//! A fleet in a simulated world: the same members, with clocks, a network and a store that misbehave by a seed.

mod faults;
mod limits;
mod node;
mod random;
mod rollout;
mod scale;
mod schedule;
mod steps;
mod store;
mod tests;
mod traffic;
mod watch;
mod world;

pub(crate) use node::fleet;
pub(crate) use random::Random;
pub(crate) use rollout::Counts;
pub(crate) use store::MemoryStore;
