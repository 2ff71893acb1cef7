//! The last half hour in buckets of one second: what the console and `mcp-guard top` draw.
//!
//! Made of differences between totals, in bounded memory. Pure: the caller says what time it is. Must not know who draws.

mod ring;
mod second;
pub(crate) mod svg;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::ring::Ring;
pub(crate) use self::second::Columns;
pub(crate) use self::second::Second;
use crate::telemetry::metrics::{Tally, Totals};
use crate::upstream::Slot;

/// Seconds that are kept: half an hour.
pub(crate) const SECONDS_MAX: usize = 1_800;
/// Tools, and clients, that are told apart; calls of others are those of their slot only.
pub(crate) const NAMES_MAX: usize = 56;
/// Over so many of the latest seconds clients and tools are compared.
const RECENT: usize = 60;

/// The latest second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latest {
    /// Seconds since the epoch.
    pub(crate) at: u64,
    pub(crate) slots: BTreeMap<Slot, Second>,
}

/// A part of the series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Picture {
    /// The moment of the last entry of each column, in seconds since the epoch; entries are `step` seconds apart.
    pub(crate) at: u64,
    pub(crate) step: usize,
    pub(crate) slots: BTreeMap<Slot, Columns>,
    pub(crate) tools: BTreeMap<String, Columns>,
}

/// Which part of the series a picture shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// At most so many of the latest.
    pub(crate) seconds: usize,
    /// Seconds an entry.
    pub(crate) step: usize,
    pub(crate) scope: Scope,
}

/// What a picture is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    Slots,
    /// This tool alone.
    Tool(String),
}

/// One tool or client over the last minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent {
    pub(crate) name: String,
    /// Calls a second.
    pub(crate) rate: f64,
    /// Part of the calls that failed or had an error in the response, 0 to 1.
    pub(crate) error_rate: f64,
    /// The largest p95 of a second.
    pub(crate) p95_ms: Option<f32>,
    /// Since the start.
    pub(crate) calls: u64,
}

/// The series.
#[derive(Debug, Default)]
pub(crate) struct Series {
    at: u64,
    before: Option<Totals>,
    slots: BTreeMap<Slot, Ring>,
    tools: BTreeMap<String, Ring>,
    clients: BTreeMap<String, Ring>,
}

impl Series {
    /// Takes the totals of this second. The first ones have nothing to be compared with.
    pub(crate) fn push(&mut self, at: u64, totals: Totals) {
        let Some(before) = self.before.as_ref() else {
            (self.at, self.before) = (at, Some(totals));
            return;
        };
        if at == self.at {
            return;
        }
        // A clock that was set back: the row goes on from there.
        let passed = at.checked_sub(self.at).unwrap_or(1);
        let passed = usize::try_from(passed).unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
        let memory = |slot: &Slot| totals.memory.get(slot).map(|part| *part as f32);
        add((&mut self.slots, SECONDS_MAX), &totals.slots, &before.slots, passed, memory);
        add((&mut self.tools, SECONDS_MAX), &totals.tools, &before.tools, passed, |_| None);
        add((&mut self.clients, RECENT), &totals.clients, &before.clients, passed, |_| None);
        (self.at, self.before) = (at, Some(totals));
    }

    /// The latest second; none before the second one.
    pub(crate) fn latest(&self) -> Option<Latest> {
        let slots: BTreeMap<Slot, Second> =
            self.slots.iter().filter_map(|(slot, ring)| Some((*slot, *ring.latest()?))).collect();
        (!slots.is_empty()).then_some(Latest { at: self.at, slots })
    }

    /// Every second after `after`, the oldest first; at most what is kept.
    pub(crate) fn since(&self, after: u64) -> Vec<Latest> {
        let longest = self.seconds() as u64;
        let first = after.saturating_add(1).max((self.at + 1).saturating_sub(longest));
        (first..=self.at)
            .map(|at| {
                let back = usize::try_from(self.at - at).unwrap_or(usize::MAX);
                let of = |(slot, ring): (&Slot, &Ring)| Some((*slot, *ring.back(back)?));
                Latest { at, slots: self.slots.iter().filter_map(of).collect() }
            })
            .collect()
    }

    /// A part of the series; a tool that is not told apart is not in it.
    pub(crate) fn picture(&self, view: &View) -> Picture {
        let step = view.step.clamp(1, SECONDS_MAX);
        let columns = |ring: &Ring| ring.columns(view.seconds, step);
        let shows_slots = matches!(view.scope, Scope::Everything | Scope::Slots);
        let shows = |name: &str| match &view.scope {
            Scope::Everything => true,
            Scope::Slots => false,
            Scope::Tool(tool) => tool == name,
        };
        let slots = self.slots.iter().filter(|_| shows_slots);
        let tools = self.tools.iter().filter(|(name, _)| shows(name));
        Picture {
            at: self.at,
            step,
            slots: slots.map(|(slot, ring)| (*slot, columns(ring))).collect(),
            tools: tools.map(|(name, ring)| (name.clone(), columns(ring))).collect(),
        }
    }

    /// How many seconds are kept now.
    pub(crate) fn seconds(&self) -> usize {
        self.slots.values().map(Ring::len).max().unwrap_or(0)
    }

    /// The tools by their load in the last minute, the busiest first.
    pub(crate) fn tools(&self) -> Vec<Recent> {
        recent(&self.tools, self.before.as_ref().map(|totals| &totals.tools))
    }

    /// The same of clients.
    pub(crate) fn clients(&self) -> Vec<Recent> {
        recent(&self.clients, self.before.as_ref().map(|totals| &totals.clients))
    }
}

/// Adds a second to every ring, an empty one where there is no tally. A key without a ring gets one where there is room; where there
/// is none, one with calls takes the place of a ring without any.
fn add<K: Ord + Clone>(
    (rings, max): (&mut BTreeMap<K, Ring>, usize),
    now: &BTreeMap<K, Tally>,
    before: &BTreeMap<K, Tally>,
    passed: usize,
    memory: impl Fn(&K) -> Option<f32>,
) {
    let second = |key: &K, tally: &Tally| {
        let gone = before.get(key).map_or_else(|| tally.clone(), |before| tally.since(before));
        Second { memory: memory(key), ..Second::of(&gone) }
    };
    for (key, ring) in rings.iter_mut() {
        ring.push(now.get(key).map(|tally| second(key, tally)).unwrap_or_default(), passed);
    }
    for (key, tally) in now {
        if rings.contains_key(key) {
            continue;
        }
        let second = second(key, tally);
        if rings.len() >= NAMES_MAX {
            let idle = rings.iter().find(|(_, ring)| second.calls > 0 && ring.is_idle());
            let Some(idle) = idle.map(|(key, _)| key.clone()) else { continue };
            rings.remove(&idle);
        }
        rings.entry(key.clone()).or_insert_with(|| Ring::new(max)).push(second, passed);
    }
}

fn recent(rings: &BTreeMap<String, Ring>, totals: Option<&BTreeMap<String, Tally>>) -> Vec<Recent> {
    let mut all: Vec<Recent> = rings
        .iter()
        .map(|(name, ring)| {
            let (calls, bad, p95_ms) = ring.sum(RECENT);
            Recent {
                name: name.clone(),
                rate: calls as f64 / ring.len().clamp(1, RECENT) as f64,
                error_rate: bad as f64 / calls.max(1) as f64,
                p95_ms,
                calls: totals.and_then(|totals| totals.get(name)).map_or(0, |tally| tally.calls),
            }
        })
        .collect();
    all.sort_by(|one, other| other.rate.total_cmp(&one.rate).then(other.calls.cmp(&one.calls)));
    all
}

/// The pause after a look at this time, in milliseconds since the epoch: looks are made in the middle of the guard's seconds, so that a little delay puts no two into
/// one and none into the next.
pub(crate) fn until_next(interval: Duration, at_millis: u64) -> Duration {
    (interval + Duration::from_millis(500)).saturating_sub(Duration::from_millis(at_millis % 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_settle_in_the_middle_of_a_second() {
        let second = Duration::from_secs(1);
        for (at, expect) in [(10_500, 1_000), (10_000, 1_500), (10_999, 501), (10_510, 990)] {
            assert_eq!(until_next(second, at), Duration::from_millis(expect));
        }
    }

    /// The totals after so many calls of blue, of which some failed.
    fn totals(calls: u64, failures: u64) -> Totals {
        let latency = vec![calls; 17];
        let tally = Tally { calls, failures, errors: 0, latency };
        let mut totals = Totals::default();
        totals.slots.insert(Slot::Blue, tally.clone());
        totals.tools.insert("a".to_owned(), tally.clone());
        totals.clients.insert("bot".to_owned(), Tally { latency: Vec::new(), ..tally });
        totals
    }

    fn all(step: usize) -> View {
        View { seconds: SECONDS_MAX, step, scope: Scope::Everything }
    }

    fn calls(series: &Series) -> Vec<u32> {
        series.picture(&all(1)).slots.remove(&Slot::Blue).unwrap_or_default().calls
    }

    #[test]
    fn a_second_is_the_difference_of_two_totals() {
        let mut series = Series::default();
        series.push(100, totals(10, 0));
        assert_eq!(series.latest(), None);
        series.push(101, totals(15, 1));
        let latest = series.latest().unwrap();
        let blue = latest.slots[&Slot::Blue];
        assert_eq!((latest.at, blue.calls, blue.failures), (101, 5, 1));
        assert_eq!(blue.p50_ms, Some(0.5));
        assert_eq!(series.tools()[0].calls, 15);
        assert_eq!(series.clients()[0].error_rate, 0.2);
    }

    #[test]
    fn seconds_that_were_passed_over_are_empty() {
        let mut series = Series::default();
        series.push(100, totals(0, 0));
        series.push(101, totals(1, 0));
        series.push(104, totals(4, 0));
        assert_eq!(calls(&series), [1, 0, 0, 3]);
        series.push(104, totals(9, 0));
        assert_eq!(calls(&series), [1, 0, 0, 3]);
        let missed = series.since(102);
        assert_eq!(missed.iter().map(|latest| latest.at).collect::<Vec<_>>(), [103, 104]);
        assert_eq!(missed[1].slots[&Slot::Blue].calls, 3);
        assert_eq!(series.since(0).len(), 4);
        assert!(series.since(104).is_empty() && series.since(u64::MAX).is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        let mut series = Series::default();
        series.push(100, totals(0, 0));
        series.push(101, totals(1, 0));
        series.push(50, totals(3, 0));
        series.push(51, totals(6, 0));
        assert_eq!(calls(&series), [1, 2, 3]);
        assert_eq!(series.latest().map(|latest| latest.at), Some(51));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut series = Series::default();
        for second in 0..SECONDS_MAX as u64 + 100 {
            series.push(second, totals(second, 0));
        }
        assert_eq!(calls(&series).len(), SECONDS_MAX);
        series.push(u64::MAX, totals(5_000, 0));
        assert_eq!(calls(&series).len(), SECONDS_MAX);
        // Both slots, every tool, and a minute of every client.
        let bytes = size_of::<Second>() * ((NAMES_MAX + 2) * SECONDS_MAX + NAMES_MAX * RECENT);
        assert!(bytes < 4 << 20, "{bytes}");
    }

    /// The totals of so many tools after this number of calls of each.
    fn many(tools: impl Iterator<Item = usize>, calls: u64) -> Totals {
        let tally = |number| (format!("tool{number:03}"), Tally { calls, ..Tally::default() });
        Totals { tools: tools.map(tally).collect(), ..Totals::default() }
    }

    #[test]
    fn of_too_many_names_those_that_have_a_ring_keep_it_and_every_second_is_right() {
        let mut series = Series::default();
        for second in 0..=10 {
            // A snapshot of another order, and once without one of the names.
            let names = (0..100).rev().filter(|number| second != 5 || *number != 0);
            series.push(second as u64, many(names, second as u64 * 3));
        }
        let picture = series.picture(&all(1));
        assert_eq!(picture.tools.len(), NAMES_MAX);
        for (name, columns) in &picture.tools {
            let expected = if name == "tool000" { [3, 3, 3, 3, 0, 18, 3, 3, 3, 3] } else { [3; 10] };
            assert_eq!(columns.calls, expected, "{name}");
        }
    }

    #[test]
    fn a_name_with_calls_takes_the_place_of_one_without() {
        let mut series = Series::default();
        series.push(0, many(0..NAMES_MAX, 7));
        series.push(1, many(0..NAMES_MAX, 7));
        let mut busy = many(0..NAMES_MAX, 7);
        busy.tools.extend(many(900..901, 2).tools);
        busy.tools.extend(many(0..1, 8).tools);
        series.push(2, busy.clone());
        let named = |series: &Series, name: &str| series.picture(&all(1)).tools.get(name).cloned();
        assert_eq!(named(&series, "tool900").unwrap().calls, [2]);
        assert_eq!(named(&series, "tool000").unwrap().calls, [0, 1]);
        assert_eq!((named(&series, "tool001"), series.tools.len()), (None, NAMES_MAX));
        // Its calls of before are none of now.
        busy.tools.extend(many(1..2, 9).tools);
        series.push(3, busy);
        assert_eq!(named(&series, "tool001").unwrap().calls, [2]);
    }

    #[test]
    fn a_picture_shows_the_part_that_is_asked_for() {
        let mut series = Series::default();
        for second in 0..=10 {
            series.push(second, totals(second, 0));
        }
        let view = |scope| View { seconds: 3, step: 1, scope };
        let slots = series.picture(&view(Scope::Slots));
        assert_eq!((slots.slots[&Slot::Blue].calls.len(), slots.tools.len()), (3, 0));
        let tool = series.picture(&view(Scope::Tool("a".to_owned())));
        assert_eq!((tool.slots.len(), tool.tools["a"].calls.as_slice()), (0, &[1, 1, 1][..]));
        let unknown = series.picture(&view(Scope::Tool("b".to_owned())));
        assert!(unknown.slots.is_empty() && unknown.tools.is_empty());
    }

    #[test]
    fn a_coarser_picture_adds_counts_and_keeps_the_worst_time() {
        let mut series = Series::default();
        for second in 0..=10 {
            series.push(second, totals(second * 2, 0));
        }
        let blue = series.picture(&all(5)).slots.remove(&Slot::Blue).unwrap();
        assert_eq!(blue.calls, [10, 10]);
        assert_eq!(blue.p95_ms, [Some(0.95), Some(0.95)]);
        // The first second alone is no whole entry.
        let blue = series.picture(&all(3)).slots.remove(&Slot::Blue).unwrap();
        assert_eq!(blue.calls, [6, 6, 6]);
    }
}
