//! Seconds in the order of time, the newest kept.

use std::collections::VecDeque;

use super::second::{Columns, Second};

/// A bounded row of seconds.
#[derive(Debug)]
pub(super) struct Ring {
    seconds: VecDeque<Second>,
    max: usize,
    /// Seconds since the last call.
    idle: usize,
}

impl Ring {
    pub(super) fn new(max: usize) -> Ring {
        Ring { seconds: VecDeque::with_capacity(max), max, idle: max }
    }

    /// Adds a second, `passed` after the one before: those between had no calls of their own.
    pub(super) fn push(&mut self, second: Second, passed: usize) {
        self.idle = if second.calls > 0 { 0 } else { self.idle.saturating_add(passed) };
        let between = if self.seconds.is_empty() { 0 } else { passed.saturating_sub(1) };
        for second in std::iter::repeat_n(Second::default(), between).chain([second]) {
            if self.seconds.len() == self.max {
                self.seconds.pop_front();
            }
            self.seconds.push_back(second);
        }
    }

    /// Whether no second has a call.
    pub(super) fn is_idle(&self) -> bool {
        self.idle >= self.max
    }

    pub(super) fn len(&self) -> usize {
        self.seconds.len()
    }

    pub(super) fn latest(&self) -> Option<&Second> {
        self.seconds.back()
    }

    /// The second that is this many before the latest.
    pub(super) fn back(&self, before_latest: usize) -> Option<&Second> {
        self.seconds.get(self.seconds.len().checked_sub(before_latest + 1)?)
    }

    /// Calls, bad ones among them, and the largest p95, of this many of the latest seconds.
    pub(super) fn sum(&self, seconds: usize) -> (u64, u64, Option<f32>) {
        let recent = self.seconds.iter().rev().take(seconds);
        recent.fold((0, 0, None), |(calls, bad, p95), second| {
            let more = u64::from(second.failures) + u64::from(second.errors);
            (calls + u64::from(second.calls), bad + more, larger(p95, second.p95_ms))
        })
    }

    /// Columns of the latest seconds, `step` of them an entry: counts are added, of times and memory the largest is kept. The last
    /// entry ends with the latest second, and a first one of fewer seconds is left out: it would look like fewer calls.
    pub(super) fn columns(&self, latest: usize, step: usize) -> Columns {
        let mut columns = Columns::default();
        let shown = self.seconds.len().min(latest);
        let skipped = self.seconds.len() - shown / step * step;
        let seconds: Vec<Second> = self.seconds.iter().skip(skipped).copied().collect();
        for entry in seconds.chunks(step) {
            let sum = |count: fn(&Second) -> u32| {
                entry.iter().map(count).fold(0_u32, |sum, count| sum.saturating_add(count))
            };
            let most = |time: fn(&Second) -> Option<f32>| entry.iter().map(time).fold(None, larger);
            columns.calls.push(sum(|second| second.calls));
            columns.failures.push(sum(|second| second.failures));
            columns.errors.push(sum(|second| second.errors));
            columns.p50_ms.push(most(|second| second.p50_ms));
            columns.p95_ms.push(most(|second| second.p95_ms));
            columns.memory.push(most(|second| second.memory));
        }
        columns
    }
}

fn larger(one: Option<f32>, other: Option<f32>) -> Option<f32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}
