//! What the copies have shown so far: counts, the places where responses differ, and the first examples of each.
//!
//! Bounded whatever is sent: so many places, so many examples a place, so many characters a value. Must not know who
//! compares, nor who reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Mismatch;

/// Places that have an entry of their own; the rest is only counted.
const PLACES_MAX: usize = 200;
/// The first examples kept of a place.
const EXAMPLES_MAX: usize = 3;
/// Bytes of arguments that are kept with an example.
const ARGUMENTS_BYTES_MAX: usize = 2_048;
/// The places in a summary.
const WORST_MAX: usize = 5;

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowOutcome {
    /// The responses agree.
    Matched,
    /// They do not.
    Mismatched,
    /// The candidate did not respond as a server must.
    Failed,
    /// It was not made: too many were waiting.
    Dropped,
    /// It says nothing: too large, or stable's own response is not usable.
    Skipped,
}

impl ShadowOutcome {
    /// All of them.
    pub const ALL: [ShadowOutcome; 5] = [
        ShadowOutcome::Matched,
        ShadowOutcome::Mismatched,
        ShadowOutcome::Failed,
        ShadowOutcome::Dropped,
        ShadowOutcome::Skipped,
    ];

    /// The name in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            ShadowOutcome::Matched => "matched",
            ShadowOutcome::Mismatched => "mismatched",
            ShadowOutcome::Failed => "failed",
            ShadowOutcome::Dropped => "dropped",
            ShadowOutcome::Skipped => "skipped",
        }
    }
}

/// How many copies came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Responses that agree.
    pub matched: u64,
    /// Responses that do not.
    pub mismatched: u64,
    /// Copies that the candidate failed.
    pub failed: u64,
    /// Copies not made because too many were waiting.
    pub dropped: u64,
    /// Copies that say nothing.
    pub skipped: u64,
}

impl Counts {
    fn add(&mut self, what: ShadowOutcome) {
        let count = match what {
            ShadowOutcome::Matched => &mut self.matched,
            ShadowOutcome::Mismatched => &mut self.mismatched,
            ShadowOutcome::Failed => &mut self.failed,
            ShadowOutcome::Dropped => &mut self.dropped,
            ShadowOutcome::Skipped => &mut self.skipped,
        };
        *count += 1;
    }
}

/// A place where responses differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchSite {
    /// The request: a method, or `tools/call` and the tool.
    pub question: String,
    /// Where in the response; of a failed copy nowhere.
    pub path: String,
    /// What happened there.
    pub change: String,
    /// How often.
    pub count: u64,
}

/// The first lines of it all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many copies came to what.
    pub counts: Counts,
    /// The places that differ most often.
    pub worst: Vec<MismatchSite>,
}

/// One copied call whose responses differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The client's request.
    pub request_id: String,
    /// The tool's arguments; redacted unless the configuration shows them.
    pub arguments: Value,
    /// What stable has at the place.
    pub live: Option<String>,
    /// What the candidate has.
    pub candidate: Option<String>,
}

/// A place and its first examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Where, what and how often.
    pub place: MismatchSite,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// Whether the arguments of calls are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// Their names only.
    Redacted,
    /// As they are.
    Shown,
}

/// A copied call, as far as an example shows it.
#[derive(Debug, Clone, Copy)]
pub struct CopiedCall<'c> {
    /// The request.
    pub question: &'c str,
    /// The client's request.
    pub request_id: &'c str,
    /// What the tool was given.
    pub arguments: &'c Value,
}

/// Everything that was observed since the stage began.
#[derive(Debug, Default)]
pub struct MismatchLog {
    counts: Counts,
    entries: BTreeMap<(String, String, String), Kept>,
    unlisted: u64,
}

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    examples: Vec<Example>,
}

impl MismatchLog {
    /// Counts a copy that came to nothing worth an example.
    pub fn count(&mut self, what: ShadowOutcome) {
        self.counts.add(what);
    }

    /// A copy whose responses differ at these places.
    pub fn mismatched(&mut self, call: &CopiedCall<'_>, mismatches: &[Mismatch]) {
        self.counts.add(ShadowOutcome::Mismatched);
        for mismatch in mismatches {
            self.enter(call, mismatch);
        }
    }

    /// A copy to which the candidate did not respond, and how.
    pub fn failed(&mut self, call: &CopiedCall<'_>, how: &'static str) {
        self.counts.add(ShadowOutcome::Failed);
        self.enter(call, &Mismatch { path: String::new(), change: how, live: None, candidate: None });
    }

    fn enter(&mut self, call: &CopiedCall<'_>, mismatch: &Mismatch) {
        let key = (call.question.to_owned(), mismatch.path.clone(), mismatch.change.to_owned());
        if self.entries.len() >= PLACES_MAX && !self.entries.contains_key(&key) {
            self.unlisted += 1;
            return;
        }
        let kept = self.entries.entry(key).or_default();
        kept.count += 1;
        if kept.examples.len() < EXAMPLES_MAX {
            kept.examples.push(Example {
                request_id: call.request_id.to_owned(),
                arguments: bounded(call.arguments),
                live: mismatch.live.clone(),
                candidate: mismatch.candidate.clone(),
            });
        }
    }

    /// The first lines.
    pub fn summary(&self) -> Summary {
        let mut worst: Vec<MismatchSite> = self.entries.iter().map(place).collect();
        worst.sort_by_key(|place| std::cmp::Reverse(place.count));
        worst.truncate(WORST_MAX);
        Summary { counts: self.counts, worst }
    }

    /// Every place with its examples, the most frequent first; and how many mismatches are in no place.
    pub fn entries(&self, arguments: Arguments) -> (Vec<Entry>, u64) {
        let example = |example: &Example| match arguments {
            Arguments::Shown => example.clone(),
            Arguments::Redacted => Example { arguments: redacted(&example.arguments), ..example.clone() },
        };
        let entry = |(key, kept): (&(String, String, String), &Kept)| Entry {
            place: place((key, kept)),
            examples: kept.examples.iter().map(example).collect(),
        };
        let mut entries: Vec<Entry> = self.entries.iter().map(entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.place.count));
        (entries, self.unlisted)
    }
}

fn place(((question, path, change), kept): (&(String, String, String), &Kept)) -> MismatchSite {
    MismatchSite { question: question.clone(), path: path.clone(), change: change.clone(), count: kept.count }
}

fn bounded(arguments: &Value) -> Value {
    let length = arguments.to_string().len();
    if length <= ARGUMENTS_BYTES_MAX { arguments.clone() } else { format!("({length} bytes)").into() }
}

/// The names of what was given, and nothing of what it was.
fn redacted(arguments: &Value) -> Value {
    match arguments {
        Value::Object(map) => Value::Object(map.keys().map(|key| (key.clone(), "…".into())).collect()),
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => "…".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mismatch(path: &str) -> Mismatch {
        Mismatch { path: path.to_owned(), change: "value differs", live: Some("1".into()), candidate: None }
    }

    #[test]
    fn keeps_the_first_examples_of_each_place_and_counts_the_rest() {
        let mut book = MismatchLog::default();
        for number in 0..10 {
            let (id, arguments) = (format!("r{number}"), json!({"days": number}));
            let call = CopiedCall { question: "tools/call t", request_id: &id, arguments: &arguments };
            book.mismatched(&call, &[mismatch("content[*].text.age"), mismatch("isError")]);
        }
        book.count(ShadowOutcome::Matched);
        let call = CopiedCall { question: "ping", request_id: "x", arguments: &Value::Null };
        book.failed(&call, "timeout");
        let summary = book.summary();
        assert_eq!(summary.counts, Counts { matched: 1, mismatched: 10, failed: 1, ..Counts::default() });
        assert_eq!(summary.worst[0].count, 10);
        let (entries, unlisted) = book.entries(Arguments::Redacted);
        assert_eq!((entries.len(), unlisted, entries[0].examples.len()), (3, 0, EXAMPLES_MAX));
        assert_eq!(entries[0].examples[0].arguments, json!({"days": "…"}));
        let (entries, _) = book.entries(Arguments::Shown);
        assert_eq!(entries[0].examples[2].arguments, json!({"days": 2}));
        assert_eq!(entries[2].place.change, "timeout");
    }

    #[test]
    fn is_bounded_whatever_is_sent() {
        let mut book = MismatchLog::default();
        let arguments = json!({"text": "x".repeat(100_000)});
        for number in 0..1_000 {
            let call = CopiedCall { question: "tools/call t", request_id: "r", arguments: &arguments };
            book.mismatched(&call, &[mismatch(&format!("path{number}"))]);
        }
        let (entries, unlisted) = book.entries(Arguments::Shown);
        assert_eq!((entries.len(), unlisted), (PLACES_MAX, 1_000 - PLACES_MAX as u64));
        assert!(entries[0].examples[0].arguments.to_string().len() < 100);
    }
}
