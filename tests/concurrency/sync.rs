//! `src/proxy/sync.rs` with Shuttle's types: each lock and each atomic is a point where another actor may go on.

pub(super) use std::sync::{Arc, PoisonError};

pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
