//! Two normalized input schemas: every difference that a caller of the live one would feel, and where.
//!
//! What a difference means is in `change`. Must not know how schemas are written: `normalize` has made them one.

mod change;

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

pub use self::change::Change;
use super::finding::Severity;
use crate::wire::bounded::weigh;

/// Bounds where a larger value accepts less.
const LOWER_BOUNDS: &[&str] = &["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
/// Bounds where a larger value accepts more.
const UPPER_BOUNDS: &[&str] = &["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

/// One difference between two schemas.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaDifference {
    /// The parameter: `site`, `config.steps[].name`; empty for the arguments as a whole.
    pub path: String,
    /// What happened.
    pub change: Change,
    /// What the live schema says.
    pub live: Option<Value>,
    /// What the candidate's says.
    pub candidate: Option<Value>,
}

/// What the differences of two schemas may take in memory.
const FOUND_BYTES_MAX: usize = 2 << 20;
const DIFFERENCE_BYTES: usize = 256;
/// About what a node weighs.
const NODE_BYTES: usize = 128;
/// Subschemas compared or cloned. Variants are compared each with each, which multiplies from level to level.
const STEPS_MAX: usize = 500_000;
/// A path beyond this is cut: it is for people.
const PATH_BYTES_MAX: usize = 1_024;
const TOO_LONG: &str = "(too long to show)";

/// Every difference between two normalized schemas, as far as there is room; if there is not, that is the last one.
pub fn compare(live: &Value, candidate: &Value) -> Vec<SchemaDifference> {
    let mut found = Found { differences: Vec::new(), left: FOUND_BYTES_MAX, steps: STEPS_MAX, full: false };
    walk(&mut found, "", live, candidate);
    if found.full {
        let (change, cut) = (Change::ConstraintChanged, json!("(too many differences to compare them all)"));
        let (live, candidate) = (Some(cut.clone()), Some(cut));
        found.differences.push(SchemaDifference { path: String::new(), change, live, candidate });
    }
    found.differences
}

/// What was found, and how much may still be.
struct Found {
    differences: Vec<SchemaDifference>,
    left: usize,
    steps: usize,
    full: bool,
}

impl Found {
    /// Whether there is room for so many more steps.
    fn spend(&mut self, steps: usize) -> bool {
        match self.steps.checked_sub(steps) {
            Some(left) if !self.full => {
                self.steps = left;
                true
            }
            Some(_) | None => {
                self.full = true;
                false
            }
        }
    }
}

/// A parameter inside of another.
fn under(path: &str, step: &str) -> String {
    let room = PATH_BYTES_MAX.saturating_sub(path.len());
    if step.len() < room {
        return format!("{path}{step}");
    }
    if path.ends_with('…') {
        return path.to_owned();
    }
    format!("{path}{}…", &step[..step.floor_char_boundary(room)])
}

fn walk(found: &mut Found, path: &str, live: &Value, candidate: &Value) {
    if !found.spend(1) || live == candidate {
        return;
    }
    let (Value::Object(live), Value::Object(candidate)) = (live, candidate) else {
        push(found, path, Change::ConstraintChanged, Some(live), Some(candidate));
        return;
    };
    if live.contains_key("anyOf") != candidate.contains_key("anyOf") {
        one_side_has_variants(found, path, live, candidate);
        return;
    }
    accepted_values(found, path, live, candidate);
    properties(found, path, live, candidate);
    let keys: BTreeSet<&String> = live.keys().chain(candidate.keys()).collect();
    for key in keys {
        let (was, is) = (live.get(key), candidate.get(key));
        if was != is {
            keyword(found, path, key, was, is);
        }
    }
}

fn push(found: &mut Found, path: &str, change: Change, live: Option<&Value>, candidate: Option<&Value>) {
    let Some(left) = found.left.checked_sub(DIFFERENCE_BYTES + path.len()) else {
        found.full = true;
        return;
    };
    found.left = left;
    let mut kept = |value: &Value| match weigh(value, found.left) {
        Some(weight) => {
            found.left -= weight;
            value.clone()
        }
        None => TOO_LONG.into(),
    };
    let (live, candidate) = (live.map(&mut kept), candidate.map(&mut kept));
    found.differences.push(SchemaDifference { path: path.to_owned(), change, live, candidate });
}

/// Type and enum together: both say which values are accepted.
fn accepted_values(found: &mut Found, path: &str, live: &Map<String, Value>, candidate: &Map<String, Value>) {
    let (was, is) = (live.get("enum"), candidate.get("enum"));
    if was.is_some() || is.is_some() {
        fn shown(map: &Map<String, Value>) -> Option<&Value> {
            map.get("enum").or_else(|| map.get("type"))
        }
        let lost = was.is_none() || missing(was, is);
        let change = match (is.is_some() && lost, was == is) {
            (_, true) => return,
            (true, false) => Change::EnumNarrowed,
            (false, false) if is.is_none() && !type_covers(candidate.get("type"), was) => Change::TypeChanged,
            (false, false) => Change::EnumWidened,
        };
        push(found, path, change, shown(live), shown(candidate));
        return;
    }
    let (was, is) = (live.get("type"), candidate.get("type"));
    if was == is {
        return;
    }
    let (was_types, is_types) = (types(was), types(is));
    let change = match (covers(&is_types, &was_types), covers(&was_types, &is_types)) {
        (true, _) => Change::TypeWidened,
        (false, true) => Change::TypeNarrowed,
        (false, false) => Change::TypeChanged,
    };
    push(found, path, change, was, is);
}

/// Whether a value of `was` is not in `is`.
fn missing(was: Option<&Value>, is: Option<&Value>) -> bool {
    let is: HashSet<String> = list(is).iter().map(ToString::to_string).collect();
    list(was).iter().any(|value| !is.contains(&value.to_string()))
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether every enum value has one of the declared types.
fn type_covers(declared: Option<&Value>, values: Option<&Value>) -> bool {
    let needed: BTreeSet<&str> = values
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|value| match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
        .collect();
    covers(&types(declared), &Some(needed))
}

/// The declared types; `None` is any.
fn types(declared: Option<&Value>) -> Option<BTreeSet<&str>> {
    match declared? {
        Value::String(name) => Some(BTreeSet::from([name.as_str()])),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn covers(outer: &Option<BTreeSet<&str>>, inner: &Option<BTreeSet<&str>>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            inner.iter().all(|name| outer.contains(name) || (*name == "integer" && outer.contains("number")))
        }
    }
}

fn properties(found: &mut Found, path: &str, live: &Map<String, Value>, candidate: &Map<String, Value>) {
    let none = Map::new();
    let [was, is] =
        [live, candidate].map(|schema| schema.get("properties").and_then(Value::as_object).unwrap_or(&none));
    let [were_required, are_required] = [live, candidate].map(required);
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        // What is the same on both sides needs no path.
        let (was_required, is_required) =
            (were_required.contains(name.as_str()), are_required.contains(name.as_str()));
        if was.get(name) == is.get(name) && was_required == is_required {
            continue;
        }
        let inner = if path.is_empty() { under("", name) } else { under(&under(path, "."), name) };
        match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) => {
                match (was_required, is_required) {
                    (false, true) => push(found, &inner, Change::BecameRequired, Some(was), Some(is)),
                    (true, false) => push(found, &inner, Change::BecameOptional, Some(was), Some(is)),
                    (true, true) | (false, false) => {}
                }
                walk(found, &inner, was, is);
            }
            (Some(was), None) => push(found, &inner, Change::ParameterRemoved, Some(was), None),
            (None, is) if is_required => push(found, &inner, Change::RequiredParameterAdded, None, is),
            (None, is) => push(found, &inner, Change::OptionalParameterAdded, None, is),
        }
    }
    // `required` may name what `properties` does not declare.
    let new = |name: &&&str| {
        !were_required.contains(**name) && !was.contains_key(**name) && !is.contains_key(**name)
    };
    for name in are_required.iter().filter(new) {
        let at = if path.is_empty() { under("", name) } else { under(&under(path, "."), name) };
        push(found, &at, Change::RequiredParameterAdded, None, Some(&json!({})));
    }
}

fn required(schema: &Map<String, Value>) -> BTreeSet<&str> {
    list(schema.get("required")).iter().filter_map(Value::as_str).collect()
}

fn keyword(found: &mut Found, path: &str, key: &str, was: Option<&Value>, is: Option<&Value>) {
    match key {
        "type" | "enum" | "properties" | "required" => {}
        "default" => push(found, path, Change::DefaultChanged, was, is),
        "items" => {
            let any = json!({});
            walk(found, &under(path, "[]"), was.unwrap_or(&any), is.unwrap_or(&any));
        }
        "additionalProperties" => extra(found, path, was, is),
        "anyOf" => variants(found, path, was, is),
        _ if LOWER_BOUNDS.contains(&key) => bound(found, path, key, (was, is), |was, is| is <= was),
        _ if UPPER_BOUNDS.contains(&key) => bound(found, path, key, (was, is), |was, is| is >= was),
        _ if key.starts_with("x-") => push(found, path, Change::ExtensionChanged, was, is),
        _ if is.is_none() && key != "$ref" => push(found, path, Change::ConstraintDropped, was, is),
        _ => push(found, path, Change::ConstraintChanged, was, is),
    }
}

fn bound(
    found: &mut Found,
    path: &str,
    key: &str,
    (was, is): (Option<&Value>, Option<&Value>),
    looser: fn(f64, f64) -> bool,
) {
    let named = |value: Option<&Value>| value.map(|value| json!({ key: value }));
    let change = match (was.and_then(Value::as_f64), is.and_then(Value::as_f64)) {
        (Some(was), Some(is)) if looser(was, is) => Change::BoundLoosened,
        (Some(_), None) if is.is_none() => Change::BoundLoosened,
        (Some(_) | None, Some(_) | None) => Change::BoundTightened,
    };
    push(found, path, change, named(was).as_ref(), named(is).as_ref());
}

fn extra(found: &mut Found, path: &str, was: Option<&Value>, is: Option<&Value>) {
    let refused = json!({"not": {}});
    match (was, is) {
        (Some(was), Some(is)) if *was != refused && *is != refused => {
            walk(found, &under(path, ".*"), was, is)
        }
        (_, None) => push(found, path, Change::ExtraAllowed, was, is),
        (Some(was_schema), Some(_)) if *was_schema == refused => {
            push(found, path, Change::ExtraAllowed, was, is)
        }
        (Some(_) | None, Some(_)) => push(found, path, Change::ExtraRefused, was, is),
    }
}

/// A schema without variants is its own only variant.
fn one_side_has_variants(
    found: &mut Found,
    path: &str,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
    let nodes = |schema: &Map<String, Value>| {
        schema
            .values()
            .try_fold(1, |sum: usize, value| Some(sum + weigh(value, FOUND_BYTES_MAX * 4)? / NODE_BYTES))
    };
    // Both are about to be cloned.
    if !found.spend(nodes(live).zip(nodes(candidate)).map_or(usize::MAX, |(one, two)| one + two)) {
        return;
    }
    let whole = |schema: &Map<String, Value>| match schema.get("anyOf") {
        Some(variants) => variants.clone(),
        None => json!([schema]),
    };
    let without_default = |variants: Value| match variants {
        Value::Array(mut list) => {
            for variant in list.iter_mut().filter_map(Value::as_object_mut) {
                variant.remove("default");
            }
            Value::Array(list)
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            other
        }
    };
    let (was, is) = (without_default(whole(live)), without_default(whole(candidate)));
    variants(found, path, Some(&was), Some(&is));
    if live.get("default") != candidate.get("default") {
        push(found, path, Change::DefaultChanged, live.get("default"), candidate.get("default"));
    }
}

fn variants(found: &mut Found, path: &str, was: Option<&Value>, is: Option<&Value>) {
    let mut accepts = |outer: &Value, inner: &Value| {
        let mut within = Found { differences: Vec::new(), left: found.left, steps: found.steps, full: false };
        walk(&mut within, "", inner, outer);
        (found.steps, found.full) = (within.steps, found.full || within.full);
        let breaks = |difference: &SchemaDifference| difference.change.severity() == Severity::Break;
        !within.full && !within.differences.iter().any(breaks)
    };
    let mut covered = true;
    for inner in list(was) {
        covered = covered && list(is).iter().any(|outer| accepts(outer, inner));
    }
    let change = if covered { Change::VariantAdded } else { Change::VariantRemoved };
    push(found, path, change, was, is);
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
