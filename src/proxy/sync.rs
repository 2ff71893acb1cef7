//! The locks and atomics of what is shared between connections, under one name: `tests/concurrency/` compiles the same
//! files against Shuttle's, which runs them through other interleavings than a machine would.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
