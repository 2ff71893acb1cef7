//! The locks and atomics of what connections share, under one name: `tests/concurrency/` compiles these files against
//! Shuttle's, which runs them through more interleavings than a machine would.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
