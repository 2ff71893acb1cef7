//! The calls of the guard's clients around an operation, from its metrics: the before and after of a record.
//!
//! Counters are read when the operation begins, before traffic moves and at the end; the earlier ones are kept on the disk, so that
//! they outlive a command that is killed. Where they cannot be read or kept, the record has no such figures: no operation waits for
//! them. Must not know how a record is written.

mod counters;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::counters::{Counters, Scraped};
use super::figures;
use super::files::read_text;
use super::host::Installation;
use super::layout::Layout;
use super::manifest::ReleaseName;
use super::plan::{Kind, Operation, OperationStep, Outcome, Strategy};
use super::verify;
use crate::client::load::Report;
use crate::incident::Figures;
use crate::upstream::{PerSlot, Slot};

/// The way back does not wait longer for its figures.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(500);
/// After the switch the command stays for so many calls, and no longer than this.
const CALLS_AFTER: u64 = 20;
const AFTER_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
const BYTES_MAX: u64 = 1 << 20;

/// When counters are read and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Begin,
    /// Before traffic moves.
    Traffic,
}

/// Both slots' counters at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    at_millis: u64,
    scraped: Scraped,
}

/// What is kept until the record is written, one file a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Noted {
    operation: String,
    sample: Sample,
}

/// What is known when the operation has ended.
#[derive(Debug, Clone, Default, PartialEq)]
struct Kept {
    begin: Option<Sample>,
    traffic: Option<Sample>,
}

impl Kept {
    fn of(layout: &Layout, operation: &Operation) -> Kept {
        let begin = read(layout, operation, Moment::Begin);
        let traffic = match operation.kind {
            // Only a backup lies between the two, and the way back does not wait to count once more.
            Kind::SwitchBack => begin.clone(),
            Kind::Deploy | Kind::Rollback | Kind::StandardRollback | Kind::Restore | Kind::Drill => {
                read(layout, operation, Moment::Traffic)
            }
        };
        Kept { begin, traffic }
    }
}

/// Reads and keeps the counters of a moment, unless they are known from before an interruption.
pub(crate) fn note(installation: &Installation<'_>, operation: &Operation, moment: Moment) {
    let layout = installation.store.layout();
    if read(layout, operation, moment).is_some() {
        return;
    }
    if let Some(sample) = take(installation) {
        let noted = Noted { operation: operation.id.clone(), sample };
        // Not synced: the way back does not wait for a disk, and a lost file only leaves figures out.
        let _unkept = std::fs::write(file(layout, moment), serde_json::to_vec(&noted).unwrap_or_default());
    }
}

/// The figures of an operation that has ended. After a switch it waits for a few calls, where calls come at all.
pub(crate) fn conclude(
    installation: &Installation<'_>,
    operation: &Operation,
    outcome: Outcome,
) -> Vec<Figures> {
    let kept = Kept::of(installation.store.layout(), operation);
    let moved = outcome == Outcome::Done
        && operation.steps.contains(&OperationStep::Traffic)
        && operation.strategy == Strategy::Switch;
    let end = if moved { wait(installation, operation, &kept) } else { take(installation) };
    let mut releases = PerSlot::new(|slot| installation.store.current(slot).ok().flatten());
    let after = releases[operation.slot].take();
    releases[operation.slot].clone_from(&operation.former);
    let names = Names { before: releases, slot: operation.slot, after };
    let mut rows = rows(&kept, end.as_ref(), operation, &names);
    rows.extend(loads(installation.store.layout(), operation));
    rows
}

/// The counters once the slot has had a few calls.
fn wait(installation: &Installation<'_>, operation: &Operation, kept: &Kept) -> Option<Sample> {
    // Without a beginning there are no figures to wait for.
    kept.begin.as_ref()?;
    let deadline = Instant::now() + AFTER_MAX;
    loop {
        let now = take(installation)?;
        let since = |earlier: &Option<Sample>, slot: Slot| {
            let earlier = earlier.as_ref().map(|sample| &sample.scraped);
            now.scraped.since(earlier, slot).requests
        };
        let comes = Slot::ALL.into_iter().any(|slot| since(&kept.begin, slot) > 0) || is_busy(kept);
        if !comes || since(&kept.traffic, operation.slot) >= CALLS_AFTER || Instant::now() >= deadline {
            return Some(now);
        }
        sleep(POLL);
    }
}

/// Whether the guard has had a call a second since its start.
fn is_busy(kept: &Kept) -> bool {
    let Some(begin) = &kept.begin else { return false };
    Duration::from_secs(begin.scraped.requests()) >= begin.age()
}

impl Sample {
    /// Since the guard's start.
    fn age(&self) -> Duration {
        Duration::from_millis(self.at_millis.saturating_sub(self.scraped.started_millis))
    }
}

/// Which release each slot had.
struct Names {
    before: PerSlot<Option<ReleaseName>>,
    slot: Slot,
    after: Option<ReleaseName>,
}

impl Names {
    fn of(&self, slot: Slot, when: When) -> String {
        let release = match when {
            When::After if slot == self.slot => self.after.as_ref(),
            When::Before | When::Until | When::During | When::After => self.before[slot].as_ref(),
        };
        let release = release.map_or("no release", ReleaseName::as_str);
        format!("slot {} ({release})", slot.as_str())
    }
}

/// A window of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    Until,
    After,
    During,
}

/// A row for each slot that had calls in a window, and for the slot that served in any case.
fn rows(kept: &Kept, end: Option<&Sample>, operation: &Operation, names: &Names) -> Vec<Figures> {
    let Some(begin) = &kept.begin else { return Vec::new() };
    let serves_after =
        if operation.steps.contains(&OperationStep::Traffic) { operation.slot } else { operation.serving };
    let mut windows = vec![(When::Before, None, begin, operation.serving)];
    match (&kept.traffic, end) {
        (Some(traffic), end) => {
            if traffic != begin {
                windows.push((When::Until, Some(begin), traffic, operation.serving));
            }
            windows.extend(end.map(|end| (When::After, Some(traffic), end, serves_after)));
        }
        (None, Some(end)) => windows.push((When::During, Some(begin), end, operation.serving)),
        (None, None) => {}
    }
    let mut rows = Vec::new();
    for (when, from, to, serves) in windows {
        for slot in Slot::ALL {
            let counted = to.scraped.since(from.map(|sample| &sample.scraped), slot);
            if counted.requests > 0 || slot == serves {
                rows.push(row(format!("{}, {}", names.of(slot, when), span(when, from, to)), &counted));
            }
        }
    }
    rows
}

fn span(when: When, from: Option<&Sample>, to: &Sample) -> String {
    let millis =
        from.map_or(to.age().as_millis(), |from| u128::from(to.at_millis.saturating_sub(from.at_millis)));
    let time = match millis {
        0..100_000 => format!("{:.1} s", millis as f64 / 1_000.0),
        100_000..7_200_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    };
    match when {
        When::Before => format!("before: since the guard's start ({time})"),
        When::Until => format!("until traffic moved ({time})"),
        When::After => format!("after traffic moved ({time})"),
        When::During => format!("while it ran ({time})"),
    }
}

fn row(of: String, counted: &Counters) -> Figures {
    let failures = counted.failures();
    Figures {
        of,
        requests: counted.requests,
        failures,
        tool_errors: counted.tool_errors,
        error_rate: failures as f64 / counted.requests.max(1) as f64,
        p50_ms: counted.quantile_ms(0.5),
        p95_ms: counted.quantile_ms(0.95),
    }
}

/// The load checks that the operation made itself.
fn loads(layout: &Layout, operation: &Operation) -> Vec<Figures> {
    let kept = figures::read(layout).ok().flatten();
    let Some(kept) = kept.filter(|kept| kept.operation.as_deref() == Some(&operation.id)) else {
        return Vec::new();
    };
    let row = |when: &str, of: &figures::Figures| {
        let Report { requests, failed, p50_ms, p95_ms, .. } = of.load;
        let release = of.release.as_ref().map_or("no release", ReleaseName::as_str);
        Figures {
            of: format!("slot {} ({release}), load check {when}", of.serving.as_str()),
            requests: u64::from(requests),
            failures: u64::from(failed),
            tool_errors: 0,
            error_rate: f64::from(failed) / f64::from(requests.max(1)),
            p50_ms,
            p95_ms,
        }
    };
    let after = kept.after.as_ref().map(|after| row("after", after));
    std::iter::once(row("before", &kept.before)).chain(after).collect()
}

fn take(installation: &Installation<'_>) -> Option<Sample> {
    let address = installation.status().ok()?.metrics?;
    let text = verify::scrape(installation, &address, SCRAPE_TIMEOUT).ok()?;
    let at_millis = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    Some(Sample { at_millis, scraped: Scraped::of(&text) })
}

fn file(layout: &Layout, moment: Moment) -> PathBuf {
    layout.calls(match moment {
        Moment::Begin => "begin",
        Moment::Traffic => "traffic",
    })
}

/// What was noted of this operation.
fn read(layout: &Layout, operation: &Operation, moment: Moment) -> Option<Sample> {
    let text = read_text(&file(layout, moment), BYTES_MAX).ok()?;
    let noted = serde_json::from_str::<Noted>(&text).ok()?;
    (noted.operation == operation.id).then_some(noted.sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind) -> Operation {
        Operation {
            id: "o1".to_owned(),
            kind,
            steps: kind.steps(),
            slot: Slot::Green,
            serving: Slot::Blue,
            release: "new".parse().ok(),
            former: "old".parse().ok(),
            was_active: true,
            enables_unit: false,
            strategy: Strategy::Switch,
            force: false,
            backup: None,
            failure: None,
            began_millis: 0,
            who: "tests".to_owned(),
            reason: None,
        }
    }

    fn sample(at_seconds: u64, blue: u32, green: u32) -> Sample {
        let line = |slot: &str, calls: u32| {
            format!("mcp_guard_requests_total{{outcome=\"upstream\",slot=\"{slot}\"}} {calls}\n")
        };
        let text = format!("process_start_time_seconds 100\n{}{}", line("blue", blue), line("green", green));
        Sample { at_millis: at_seconds * 1_000, scraped: Scraped::of(&text) }
    }

    #[track_caller]
    fn check(kind: Kind, traffic: Option<Sample>, expect: &[(&str, u64)]) {
        let kept = Kept { begin: Some(sample(160, 100, 0)), traffic };
        let before = PerSlot::new(|slot| match slot {
            Slot::Blue => "served".parse().ok(),
            Slot::Green => "old".parse().ok(),
        });
        let names = Names { before, slot: Slot::Green, after: "new".parse().ok() };
        let rows = rows(&kept, Some(&sample(170, 107, 20)), &operation(kind), &names);
        let found: Vec<(&str, u64)> = rows.iter().map(|row| (row.of.as_str(), row.requests)).collect();
        assert_eq!(found, expect);
        assert!(rows.iter().all(|row| row.failures == row.requests));
    }

    #[test]
    fn figures_are_of_before_the_switch_and_after_it() {
        let before = ("slot blue (served), before: since the guard's start (60.0 s)", 100);
        let expect = [
            before,
            ("slot blue (served), until traffic moved (4.5 s)", 7),
            ("slot green (new), after traffic moved (5.5 s)", 20),
        ];
        let mut traffic = sample(164, 107, 0);
        traffic.at_millis += 500;
        check(Kind::Deploy, Some(traffic), &expect);
        // Counted once before the switch, and then after it.
        let once = [
            before,
            ("slot blue (served), after traffic moved (10.0 s)", 7),
            ("slot green (new), after traffic moved (10.0 s)", 20),
        ];
        check(Kind::SwitchBack, Some(sample(160, 100, 0)), &once);
        let during = [
            before,
            ("slot blue (served), while it ran (10.0 s)", 7),
            ("slot green (old), while it ran (10.0 s)", 20),
        ];
        check(Kind::Drill, None, &during);
    }
}
