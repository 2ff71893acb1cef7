//! Two answers compared as JSON, by path: what to ignore is ignored, and what differs from itself is no difference.
//!
//! A text that holds JSON is compared as JSON too: how a server indents is not what it says.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The most differences that one comparison lists; the rest is only counted.
const DIFFERENCES_MAX: usize = 200;

const EMBEDDED_DEPTH_MAX: usize = 32;

/// Fields of a result that say how it travelled, not what it says.
const TRANSPORT_FIELDS: &[&str] = &["_meta", "resultType", "ttlMs", "cacheScope"];

/// What happened at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Kind {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Missing => "missing on the candidate",
            Kind::Added => "only on the candidate",
            Kind::TypeDiffers => "type differs",
            Kind::ValueDiffers => "value differs",
            Kind::LengthDiffers => "length differs",
            Kind::OrderDiffers => "order differs",
            Kind::Unstable => "unstable on the candidate",
        }
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A member of an object.
    Key(String),
    /// An element of a list.
    Index(usize),
    /// Any index: how noise and rules name what is inside a list.
    Any,
}

/// Where in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

impl Path {
    fn with(&self, step: Step) -> Path {
        let mut steps = self.0.clone();
        steps.push(step);
        Path(steps)
    }

    /// The same place in every element of every list.
    pub(super) fn generalized(&self) -> Path {
        let step = |step: &Step| match step {
            Step::Index(_) => Step::Any,
            Step::Key(_) | Step::Any => step.clone(),
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
                Step::Key(key) if position == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Any => write!(f, "[*]")?,
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
        let matches = |step: &Step, rule: &str| match step {
            Step::Key(key) => rule == "*" || rule == key,
            Step::Index(index) => rule == "[*]" || rule == format!("[{index}]"),
            Step::Any => rule == "[*]",
        };
        let at = |start: usize| {
            path.0.len() >= start + self.steps.len()
                && self.steps.iter().zip(path.0.iter().skip(start)).all(|(rule, step)| matches(step, rule))
        };
        if self.anywhere { (0..path.0.len()).any(at) } else { at(0) }
    }
}

/// One difference between two answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where.
    pub path: Path,
    /// What happened.
    pub kind: Kind,
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
    /// Paths that differ between two answers of the live server and so say nothing.
    pub noise: Vec<Path>,
}

/// Compares what the live server and the candidate answered to the same question asked twice of each. The second answers
/// tell noise from difference; without them nothing is noise.
pub fn compare(live: &[Value], candidate: &[Value], ignore: &[IgnoreRule]) -> Comparison {
    let noise: BTreeSet<Path> = pair(live).map(|(one, two)| noisy(one, two)).unwrap_or_default();
    let ignored = |path: &Path| {
        let general = path.generalized();
        noise.iter().any(|noisy| general.starts_with(noisy)) || ignore.iter().any(|rule| rule.covers(path))
    };
    let (Some(live), Some(first)) = (live.first(), candidate.first()) else { return Comparison::default() };
    let mut differences: Vec<Difference> = diff(live, first);
    if let Some((one, two)) = pair(candidate) {
        for (place, mut found) in noisy_places(one, two) {
            differences.retain(|difference| !difference.path.generalized().starts_with(&place));
            found.kind = Kind::Unstable;
            differences.push(found);
        }
    }
    differences.retain(|difference| !ignored(&difference.path));
    let unlisted = differences.len().saturating_sub(DIFFERENCES_MAX);
    differences.truncate(DIFFERENCES_MAX);
    Comparison { differences, unlisted, noise: noise.into_iter().collect() }
}

/// Every difference between two JSON values.
pub fn diff(live: &Value, candidate: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&mut found, &Path::default(), live, candidate);
    found
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

/// The places where two answers of one server differ, each with its first example.
fn noisy_places(one: &Value, two: &Value) -> Vec<(Path, Difference)> {
    let mut places: Vec<(Path, Difference)> = Vec::new();
    for difference in diff(one, two) {
        let place = difference.path.generalized();
        if !places.iter().any(|(known, _)| place.starts_with(known)) {
            places.push((place, difference));
        }
    }
    places
}

fn walk(found: &mut Vec<Difference>, path: &Path, live: &Value, candidate: &Value) {
    match (live, candidate) {
        (Value::Object(live), Value::Object(candidate)) => objects(found, path, live, candidate),
        (Value::Array(live), Value::Array(candidate)) => arrays(found, path, live, candidate),
        (Value::String(live), Value::String(candidate)) if live != candidate => {
            let texts = (Some(live.as_str().into()), Some(candidate.as_str().into()));
            match (embedded(path, live), embedded(path, candidate)) {
                (Some(live), Some(candidate)) => walk(found, path, &live, &candidate),
                (_, _) => push(found, path, Kind::ValueDiffers, texts.0, texts.1),
            }
        }
        (Value::Number(one), Value::Number(two))
            if one.as_f64() == two.as_f64() && one.is_f64() != two.is_f64() => {}
        _ if live == candidate => {}
        _ => {
            let same_type = std::mem::discriminant(live) == std::mem::discriminant(candidate);
            let kind = if same_type { Kind::ValueDiffers } else { Kind::TypeDiffers };
            push(found, path, kind, Some(live.clone()), Some(candidate.clone()));
        }
    }
}

fn push(found: &mut Vec<Difference>, path: &Path, kind: Kind, live: Option<Value>, candidate: Option<Value>) {
    found.push(Difference { path: path.clone(), kind, live, candidate });
}

/// The object or list that a text holds. Not looked for deep down: a text in a text in a text says it another way.
fn embedded(path: &Path, text: &str) -> Option<Value> {
    let worth_it = path.0.len() < EMBEDDED_DEPTH_MAX && text.trim_start().starts_with(['{', '[']);
    worth_it.then(|| serde_json::from_str(text).ok())?
}

fn objects(
    found: &mut Vec<Difference>,
    path: &Path,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
    for (key, was) in live {
        let inner = path.with(Step::Key(key.clone()));
        match candidate.get(key) {
            Some(is) => walk(found, &inner, was, is),
            None => push(found, &inner, Kind::Missing, Some(was.clone()), None),
        }
    }
    for (key, is) in candidate.iter().filter(|(key, _)| !live.contains_key(*key)) {
        push(found, &path.with(Step::Key(key.clone())), Kind::Added, None, Some(is.clone()));
    }
}

fn arrays(found: &mut Vec<Difference>, path: &Path, live: &[Value], candidate: &[Value]) {
    if live.len() != candidate.len() {
        push(found, path, Kind::LengthDiffers, Some(live.len().into()), Some(candidate.len().into()));
        return;
    }
    let mut inner = Vec::new();
    for (index, (was, is)) in live.iter().zip(candidate).enumerate() {
        walk(&mut inner, &path.with(Step::Index(index)), was, is);
    }
    let sorted = |list: &[Value]| {
        let mut texts: Vec<String> = list.iter().map(canonical).collect();
        texts.sort();
        texts
    };
    if inner.len() > 1 && sorted(live) == sorted(candidate) {
        push(found, path, Kind::OrderDiffers, None, None);
    } else {
        found.append(&mut inner);
    }
}

fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
