//! The Redis store against a real server: the same results as the simulated one, and a fleet of five on it.

mod conformance;
mod fleet;
mod load;
mod probe;
mod sentinel;
mod server;
mod topologies;
