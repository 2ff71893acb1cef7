//! Two results compared as JSON, by path: what to ignore is ignored, and what differs from itself is no difference.
//!
//! A text that holds JSON is compared as JSON too: how a server indents is not what it says.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::wire::bounded::{TREE_BYTES_MAX, weigh, weigh_text};

/// The most differences that one comparison lists; the rest is only counted.
const DIFFERENCES_MAX: usize = 200;

const EMBEDDED_DEPTH_MAX: usize = 32;
/// What all differences of a comparison may take in memory.
const FOUND_BYTES_MAX: usize = 4 << 20;
const DIFFERENCE_BYTES: usize = 256;
/// What is looked at more than once.
const WORK_BYTES_MAX: usize = 64 << 20;
/// Places that may be noisy.
const PLACES_MAX: usize = 500;
const TOO_LONG: &str = "(too long to show)";

/// Fields of a result that say how it travelled, not what it says.
const TRANSPORT_FIELDS: &[&str] = &["_meta", "resultType", "ttlMs", "cacheScope"];

/// What happened at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// The candidate lacks it.
    Missing,
    /// Only the candidate has it.
    Added,
    /// Another JSON type.
    TypeDiffers,
    /// Another value of the same type.
    ValueDiffers,
    /// Lists of different lengths; their elements are not compared.
    LengthDiffers,
    /// The same elements in another order.
    OrderDiffers,
    /// The same question twice to the candidate gives two values; the live server gives one.
    Unstable,
}

impl DifferenceKind {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            DifferenceKind::Missing => "missing on the candidate",
            DifferenceKind::Added => "only on the candidate",
            DifferenceKind::TypeDiffers => "type differs",
            DifferenceKind::ValueDiffers => "value differs",
            DifferenceKind::LengthDiffers => "length differs",
            DifferenceKind::OrderDiffers => "order differs",
            DifferenceKind::Unstable => "unstable on the candidate",
        }
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathStep {
    /// A member of an object.
    Key(String),
    /// An element of a list.
    Index(usize),
    /// Any index: how noise and rules name what is inside a list.
    Any,
}

/// Where in a response.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<PathStep>);

impl Path {
    /// The same place in every element of every list.
    pub(super) fn generalized(&self) -> Path {
        let step = |step: &PathStep| match step {
            PathStep::Index(_) => PathStep::Any,
            PathStep::Key(_) | PathStep::Any => step.clone(),
        };
        Path(self.0.iter().map(step).collect())
    }

    fn starts_with(&self, prefix: &Path) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if position == 0 => write!(f, "{key}")?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
                PathStep::Any => write!(f, "[*]")?,
            }
        }
        Ok(())
    }
}

/// A rule that names paths to ignore: `content[*].text.items[*].age`, or `**.age` at any depth. It covers what is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreRule {
    anywhere: bool,
    steps: Vec<String>,
}

impl IgnoreRule {
    /// Parses a rule; `None` if it is empty or ill-formed.
    pub fn parse(text: &str) -> Option<IgnoreRule> {
        let (anywhere, rest) = match text.strip_prefix("**.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut steps = Vec::new();
        for part in rest.split('.') {
            let (key, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
            if key.is_empty() {
                return None;
            }
            steps.push(key.to_owned());
            for index in indexes.split('[').skip(1) {
                let index = index.strip_suffix(']')?;
                (index == "*" || index.parse::<usize>().is_ok()).then_some(())?;
                steps.push(format!("[{index}]"));
            }
        }
        Some(IgnoreRule { anywhere, steps })
    }

    fn covers(&self, path: &Path) -> bool {
        let matches = |step: &PathStep, rule: &str| match step {
            PathStep::Key(key) => rule == "*" || rule == key,
            PathStep::Index(index) => rule == "[*]" || rule == format!("[{index}]"),
            PathStep::Any => rule == "[*]",
        };
        let at = |start: usize| {
            path.0.len() >= start + self.steps.len()
                && self.steps.iter().zip(path.0.iter().skip(start)).all(|(rule, step)| matches(step, rule))
        };
        if self.anywhere { (0..path.0.len()).any(at) } else { at(0) }
    }
}

/// One difference between two responses.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where.
    pub path: Path,
    /// What happened.
    pub kind: DifferenceKind,
    /// What the live server has there.
    pub live: Option<Value>,
    /// What the candidate has there.
    pub candidate: Option<Value>,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// The differences, at most a bounded number.
    pub differences: Vec<Difference>,
    /// Differences beyond those listed.
    pub unlisted: usize,
    /// Paths that differ between two responses of the live server and so say nothing.
    pub noise: Vec<Path>,
}

/// Compares the results of the live server and of the candidate, each called twice with the same arguments. The second results
/// tell noise from difference; without them nothing is noise.
pub fn compare(live: &[Value], candidate: &[Value], ignore: &[IgnoreRule]) -> Comparison {
    let noise: BTreeSet<Path> = pair(live).map(|(one, two)| noisy(one, two)).unwrap_or_default();
    let said = |path: &Path, general: &Path| {
        !noise.iter().any(|noisy| general.starts_with(noisy)) && !ignore.iter().any(|rule| rule.covers(path))
    };
    let (Some(live), Some(first)) = (live.first(), candidate.first()) else { return Comparison::default() };
    let mut found = Found::new(&said);
    walk(&mut found, &Here::ROOT, live, first);
    let (mut differences, mut unlisted) = (found.differences, found.unlisted);
    if let Some((one, two)) = pair(candidate) {
        let places = noisy_places(one, two);
        differences.retain(|difference| {
            let general = difference.path.generalized();
            !places.iter().any(|(place, _)| general.starts_with(place))
        });
        for (place, mut found) in places {
            if said(&found.path, &place) {
                found.kind = DifferenceKind::Unstable;
                differences.push(found);
            }
        }
    }
    unlisted += differences.len().saturating_sub(DIFFERENCES_MAX);
    differences.truncate(DIFFERENCES_MAX);
    Comparison { differences, unlisted, noise: noise.into_iter().collect() }
}

/// Every difference between two JSON values, as far as there is room.
pub fn diff(live: &Value, candidate: &Value) -> Vec<Difference> {
    let all = |_: &Path, _: &Path| true;
    let mut found = Found::new(&all);
    walk(&mut found, &Here::ROOT, live, candidate);
    found.differences
}

/// A tool's result (or error) without what only says how it travelled, and with what its absence means spelled out.
pub fn comparable(result: &Value) -> Value {
    let Value::Object(map) = result else { return result.clone() };
    let mut out: Map<String, Value> =
        map.iter().filter(|(key, _)| !TRANSPORT_FIELDS.contains(&key.as_str())).map(cloned).collect();
    if out.contains_key("content") && !out.contains_key("isError") {
        out.insert("isError".to_owned(), Value::Bool(false));
    }
    Value::Object(out)
}

fn cloned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn pair(answers: &[Value]) -> Option<(&Value, &Value)> {
    Some((answers.first()?, answers.get(1)?))
}

fn noisy(one: &Value, two: &Value) -> BTreeSet<Path> {
    noisy_places(one, two).into_iter().map(|(place, _)| place).collect()
}

/// The places where two responses of one server differ, each with its first example.
fn noisy_places(one: &Value, two: &Value) -> Vec<(Path, Difference)> {
    let known = RefCell::new(Vec::<Path>::new());
    // Of each place the first difference only, so that a long list of noise leaves room for the other places.
    let new = |_: &Path, general: &Path| {
        let mut known = known.borrow_mut();
        let new = known.len() < PLACES_MAX && !known.iter().any(|place| general.starts_with(place));
        if new {
            known.push(general.clone());
        }
        new
    };
    let mut found = Found::new(&new);
    walk(&mut found, &Here::ROOT, one, two);
    found.differences.into_iter().map(|difference| (difference.path.generalized(), difference)).collect()
}

/// Whether a difference is worth telling: its path, and the same place in every element.
type Wanted<'f> = &'f dyn Fn(&Path, &Path) -> bool;

/// What was found, and how much memory it may still take.
struct Found<'f> {
    differences: Vec<Difference>,
    /// Differences of all kinds, wanted or not.
    seen: usize,
    unlisted: usize,
    left: usize,
    /// For comparisons of lists regardless of order, and for texts that are read as JSON.
    work: usize,
    wanted: Wanted<'f>,
}

impl<'f> Found<'f> {
    fn new(wanted: Wanted<'f>) -> Found<'f> {
        Found {
            differences: Vec::new(),
            seen: 0,
            unlisted: 0,
            left: FOUND_BYTES_MAX,
            work: WORK_BYTES_MAX,
            wanted,
        }
    }

    fn spend(&mut self, weight: Option<usize>) -> bool {
        let left = weight.and_then(|weight| self.work.checked_sub(weight));
        self.work = left.unwrap_or(self.work);
        left.is_some()
    }

    fn push(
        &mut self,
        here: &Here<'_>,
        kind: DifferenceKind,
        live: Option<&Value>,
        candidate: Option<&Value>,
    ) {
        self.seen += 1;
        let Some(left) = self.left.checked_sub(DIFFERENCE_BYTES + here.bytes()) else {
            self.unlisted += 1;
            return;
        };
        let path = here.path();
        if !(self.wanted)(&path, &path.generalized()) {
            return;
        }
        self.left = left;
        let mut kept = |value: &Value| match weigh(value, self.left) {
            Some(weight) => {
                self.left -= weight;
                value.clone()
            }
            None => TOO_LONG.into(),
        };
        let (live, candidate) = (live.map(&mut kept), candidate.map(&mut kept));
        self.differences.push(Difference { path, kind, live, candidate });
    }
}

/// A place on the way down. Only what differs becomes a path of its own.
struct Here<'a> {
    above: Option<(&'a Here<'a>, StepHere<'a>)>,
    depth: usize,
}

#[derive(Clone, Copy)]
enum StepHere<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Here<'a> {
    const ROOT: Here<'static> = Here { above: None, depth: 0 };

    fn below(&'a self, step: StepHere<'a>) -> Here<'a> {
        Here { above: Some((self, step)), depth: self.depth + 1 }
    }

    fn steps(&self) -> impl Iterator<Item = StepHere<'_>> {
        std::iter::successors(self.above.as_ref(), |(here, _)| here.above.as_ref()).map(|(_, step)| *step)
    }

    fn bytes(&self) -> usize {
        self.steps()
            .map(|step| size_of::<PathStep>() + if let StepHere::Key(key) = step { key.len() } else { 0 })
            .sum()
    }

    fn path(&self) -> Path {
        let owned = |step| match step {
            StepHere::Key(key) => PathStep::Key(key.to_owned()),
            StepHere::Index(index) => PathStep::Index(index),
        };
        let mut steps: Vec<PathStep> = self.steps().map(owned).collect();
        steps.reverse();
        Path(steps)
    }
}

fn walk(found: &mut Found<'_>, here: &Here<'_>, live: &Value, candidate: &Value) {
    match (live, candidate) {
        (Value::Object(live), Value::Object(candidate)) => objects(found, here, live, candidate),
        (Value::Array(live), Value::Array(candidate)) => arrays(found, here, live, candidate),
        (Value::String(was), Value::String(is)) if was != is => {
            match (embedded(found, here, was), embedded(found, here, is)) {
                (Some(was), Some(is)) => walk(found, here, &was, &is),
                (_, _) => found.push(here, DifferenceKind::ValueDiffers, Some(live), Some(candidate)),
            }
        }
        (Value::Number(one), Value::Number(two))
            if one.as_f64() == two.as_f64() && one.is_f64() != two.is_f64() => {}
        _ if live == candidate => {}
        _ => {
            let same_type = std::mem::discriminant(live) == std::mem::discriminant(candidate);
            let kind = if same_type { DifferenceKind::ValueDiffers } else { DifferenceKind::TypeDiffers };
            found.push(here, kind, Some(live), Some(candidate));
        }
    }
}

/// The object or list that a text holds. Not looked for deep down: a text in a text in a text says it another way.
fn embedded(found: &mut Found<'_>, here: &Here<'_>, text: &str) -> Option<Value> {
    let worth_it = here.depth < EMBEDDED_DEPTH_MAX && text.trim_start().starts_with(['{', '[']);
    let weight = weigh_text(text.as_bytes());
    let may = worth_it && weight <= TREE_BYTES_MAX && found.spend(Some(weight));
    may.then(|| serde_json::from_str(text).ok())?
}

fn objects(
    found: &mut Found<'_>,
    here: &Here<'_>,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
    for (key, was) in live {
        let inner = here.below(StepHere::Key(key));
        match candidate.get(key) {
            Some(is) => walk(found, &inner, was, is),
            None => found.push(&inner, DifferenceKind::Missing, Some(was), None),
        }
    }
    for (key, is) in candidate.iter().filter(|(key, _)| !live.contains_key(*key)) {
        found.push(&here.below(StepHere::Key(key)), DifferenceKind::Added, None, Some(is));
    }
}

fn arrays(found: &mut Found<'_>, here: &Here<'_>, live: &[Value], candidate: &[Value]) {
    if live.len() != candidate.len() {
        let lengths: [Value; 2] = [live.len().into(), candidate.len().into()];
        found.push(here, DifferenceKind::LengthDiffers, Some(&lengths[0]), Some(&lengths[1]));
        return;
    }
    let (before, unlisted, left, seen) = (found.differences.len(), found.unlisted, found.left, found.seen);
    for (index, (was, is)) in live.iter().zip(candidate).enumerate() {
        walk(found, &here.below(StepHere::Index(index)), was, is);
    }
    if found.seen <= seen + 1 {
        return;
    }
    let work = found.work;
    let weigh_all =
        |list: &[Value]| list.iter().try_fold(0, |sum: usize, value| Some(sum + weigh(value, work)?));
    let sorted = |list: &[Value]| {
        let mut texts: Vec<String> = list.iter().map(canonical).collect();
        texts.sort();
        texts
    };
    let weight = weigh_all(live).zip(weigh_all(candidate)).map(|(one, two)| one + two);
    if found.spend(weight) && sorted(live) == sorted(candidate) {
        found.differences.truncate(before);
        (found.unlisted, found.left) = (unlisted, left);
        found.push(here, DifferenceKind::OrderDiffers, None, None);
    }
}

fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[cfg(test)]
#[path = "results_tests.rs"]
mod tests;
