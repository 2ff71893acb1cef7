//! Two normalized input schemas: every difference that a caller of the live one would feel, and where.
//!
//! What a difference means is in `change`. Must not know how schemas are written: `normalize` has made them one.

mod change;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

pub use self::change::Change;
use super::verdict::Verdict;

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

/// Every difference between two normalized schemas.
pub fn compare(live: &Value, candidate: &Value) -> Vec<SchemaDifference> {
    let mut found = Vec::new();
    walk(&mut found, "", live, candidate);
    found
}

fn walk(found: &mut Vec<SchemaDifference>, path: &str, live: &Value, candidate: &Value) {
    if live == candidate {
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

fn push(
    found: &mut Vec<SchemaDifference>,
    path: &str,
    change: Change,
    live: Option<&Value>,
    candidate: Option<&Value>,
) {
    found.push(SchemaDifference {
        path: path.to_owned(),
        change,
        live: live.cloned(),
        candidate: candidate.cloned(),
    });
}

/// Type and enum together: both say which values are accepted.
fn accepted_values(
    found: &mut Vec<SchemaDifference>,
    path: &str,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
    let (was, is) = (live.get("enum"), candidate.get("enum"));
    if was.is_some() || is.is_some() {
        let shown = |map: &Map<String, Value>| map.get("enum").or_else(|| map.get("type")).cloned();
        let lost = was.is_none() || missing(was, is);
        let change = match (is.is_some() && lost, was == is) {
            (_, true) => return,
            (true, false) => Change::EnumNarrowed,
            (false, false) if is.is_none() && !type_covers(candidate.get("type"), was) => Change::TypeChanged,
            (false, false) => Change::EnumWidened,
        };
        push(found, path, change, shown(live).as_ref(), shown(candidate).as_ref());
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
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let is = list(is);
    list(was).iter().any(|value| !is.contains(value))
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

fn properties(
    found: &mut Vec<SchemaDifference>,
    path: &str,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
    let none = Map::new();
    let map = |schema: &Map<String, Value>| {
        schema.get("properties").and_then(Value::as_object).unwrap_or(&none).clone()
    };
    let (was, is) = (map(live), map(candidate));
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (was_required, is_required) = (requires(live, name), requires(candidate, name));
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
    undeclared_requirements(found, path, live, candidate);
}

/// `required` may name what `properties` does not declare.
fn undeclared_requirements(
    found: &mut Vec<SchemaDifference>,
    path: &str,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
    let declared = |name: &str| {
        [live, candidate].iter().any(|schema| {
            schema.get("properties").and_then(Value::as_object).is_some_and(|map| map.contains_key(name))
        })
    };
    let none = Vec::new();
    let list = |schema: &Map<String, Value>| {
        schema.get("required").and_then(Value::as_array).unwrap_or(&none).clone()
    };
    for name in list(candidate).iter().filter_map(Value::as_str).filter(|name| !declared(name)) {
        if !requires(live, name) {
            let at = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            push(found, &at, Change::RequiredParameterAdded, None, Some(&json!({})));
        }
    }
}

fn requires(schema: &Map<String, Value>, name: &str) -> bool {
    schema
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|names| names.iter().any(|other| other == name))
}

fn keyword(
    found: &mut Vec<SchemaDifference>,
    path: &str,
    key: &str,
    was: Option<&Value>,
    is: Option<&Value>,
) {
    match key {
        "type" | "enum" | "properties" | "required" => {}
        "default" => push(found, path, Change::DefaultChanged, was, is),
        "items" => {
            let any = json!({});
            walk(found, &format!("{path}[]"), was.unwrap_or(&any), is.unwrap_or(&any));
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
    found: &mut Vec<SchemaDifference>,
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

fn extra(found: &mut Vec<SchemaDifference>, path: &str, was: Option<&Value>, is: Option<&Value>) {
    let refused = json!({"not": {}});
    match (was, is) {
        (Some(was), Some(is)) if *was != refused && *is != refused => {
            walk(found, &format!("{path}.*"), was, is)
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
    found: &mut Vec<SchemaDifference>,
    path: &str,
    live: &Map<String, Value>,
    candidate: &Map<String, Value>,
) {
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

fn variants(found: &mut Vec<SchemaDifference>, path: &str, was: Option<&Value>, is: Option<&Value>) {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let accepts = |outer: &Value, inner: &Value| {
        compare(inner, outer).iter().all(|difference| difference.change.verdict() != Verdict::Break)
    };
    let (was_list, is_list) = (list(was), list(is));
    let covered = was_list.iter().all(|inner| is_list.iter().any(|outer| accepts(outer, inner)));
    let change = if covered { Change::VariantAdded } else { Change::VariantRemoved };
    push(found, path, change, was, is);
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
