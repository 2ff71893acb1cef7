//! `src/proxy/sync.rs` with Shuttle's types: each lock and each atomic is a point where another actor may go on.

pub(crate) use std::sync::{Arc, PoisonError};

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
