//! JSON Schemas in one form, so that two libraries' ways of saying the same compare equal.
//!
//! Drops what only people read, inlines local references, and writes nullability, enums, unions and emptiness one way.
//! The result is a schema again; normalizing it once more changes nothing.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::wire::bounded::weigh;

/// Rounds until nothing changes: each simplification may enable one more, a handful is the most ever seen.
const ROUNDS_MAX: usize = 16;
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 10_000;
/// What is cloned in a round: a reference may name a long list, and so may a thousand references.
const BYTES_MAX: usize = 4 << 20;
/// The work for one schema, and for all schemas of a list.
const SCHEMA_WORK_MAX: usize = 64 << 20;
const LIST_WORK_MAX: usize = 256 << 20;

/// For people or for code generators: no request is accepted or refused because of them.
const IGNORED: &[&str] = &[
    "title",
    "description",
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "format",
    "examples",
    "example",
    "$defs",
    "definitions",
    "deprecated",
    "readOnly",
    "writeOnly",
];
const SCHEMA: &[&str] = &[
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
];
const SCHEMA_MAPS: &[&str] = &["properties", "patternProperties", "dependentSchemas"];
const SCHEMA_LISTS: &[&str] = &["anyOf", "allOf", "prefixItems"];

/// Why a schema has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NormalizeError {
    /// Nested, or referring to itself through ever more levels.
    #[error("the schema is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Often a small schema whose references multiply.
    #[error("the schema has more than {NODES_MAX} parts once its references are inlined")]
    TooLarge,
    /// Few parts, of which some are long or copied often.
    #[error("the schema takes more than {BYTES_MAX} bytes of memory once its references are inlined")]
    TooHeavy,
    /// Bringing it into one form takes too many steps.
    #[error("the schema takes too much work to compare")]
    TooMuchWork,
}

/// The work that may still be spent, as bytes of trees looked at. One is shared by all schemas of a list: so the time that a
/// list takes is bounded, however many schemas it holds.
#[derive(Debug)]
pub struct Work(usize);

impl Default for Work {
    /// For all schemas of a list: about a second.
    fn default() -> Work {
        Work(LIST_WORK_MAX)
    }
}

impl Work {
    fn spend(&mut self, bytes: usize) -> Result<(), NormalizeError> {
        self.0 = self.0.checked_sub(bytes).ok_or(NormalizeError::TooMuchWork)?;
        Ok(())
    }
}

/// The normal form of a schema.
pub fn normalize(schema: &Value) -> Result<Value, NormalizeError> {
    normalize_within(schema, &mut Work::default())
}

/// The same, within what is left of the work for a list.
pub fn normalize_within(schema: &Value, list: &mut Work) -> Result<Value, NormalizeError> {
    let mut work = Work(SCHEMA_WORK_MAX.min(list.0));
    let before = work.0;
    let normal = rounds(schema, &mut work);
    list.0 -= before - work.0;
    normal
}

fn rounds(schema: &Value, work: &mut Work) -> Result<Value, NormalizeError> {
    weigh(schema, BYTES_MAX).ok_or(NormalizeError::TooHeavy)?;
    let mut current = schema.clone();
    for _ in 0..ROUNDS_MAX {
        let mut pass = Pass { root: &current, nodes_left: NODES_MAX, bytes_left: BYTES_MAX, work };
        let next = pass.schema(&current, &mut vec!["#".to_owned()], 0)?;
        if next == current {
            break;
        }
        current = next;
    }
    current.sort_all_objects();
    Ok(current)
}

struct Pass<'v> {
    root: &'v Value,
    nodes_left: usize,
    /// What may still be cloned into the result.
    bytes_left: usize,
    work: &'v mut Work,
}

impl Pass<'_> {
    /// Counts what is about to be cloned.
    fn clone_of(&mut self, value: &Value) -> Result<Value, NormalizeError> {
        let weight = weigh(value, self.bytes_left).ok_or(NormalizeError::TooHeavy)?;
        self.bytes_left -= weight;
        self.work.spend(weight)?;
        Ok(value.clone())
    }

    fn schema(
        &mut self,
        value: &Value,
        refs: &mut Vec<String>,
        depth: usize,
    ) -> Result<Value, NormalizeError> {
        if depth > DEPTH_MAX {
            return Err(NormalizeError::TooDeep);
        }
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(NormalizeError::TooLarge)?;
        let Value::Object(schema) = value else {
            return Ok(match value {
                Value::Bool(true) => json!({}),
                Value::Bool(false) => json!({"not": {}}),
                Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                    self.clone_of(value)?
                }
            });
        };
        if let Some(inlined) = self.inlined(schema, refs, depth)? {
            return Ok(inlined);
        }
        let mut out = Map::new();
        for (key, value) in schema.iter().filter(|(key, _)| !IGNORED.contains(&key.as_str())) {
            // `oneOf` and `anyOf` differ only where variants overlap, which a tool's parameters do not rely on.
            let key = if key == "oneOf" && !schema.contains_key("anyOf") { "anyOf" } else { key };
            out.insert(key.to_owned(), self.keyword(key, value, refs, depth)?);
        }
        self.work.spend(size_of::<Value>() * (out.len() + 1))?;
        tidy_unions(&mut out, self.work)?;
        tidy_enum_and_type(&mut out, self.work)?;
        tidy_object(&mut out, self.work)?;
        tidy_empty(&mut out);
        out.sort_keys();
        Ok(Value::Object(out))
    }

    fn keyword(
        &mut self,
        key: &str,
        value: &Value,
        refs: &mut Vec<String>,
        depth: usize,
    ) -> Result<Value, NormalizeError> {
        match value {
            Value::Object(map) if SCHEMA_MAPS.contains(&key) => {
                let mut out = Map::new();
                for (name, schema) in map {
                    out.insert(name.clone(), self.schema(schema, refs, depth + 1)?);
                }
                out.sort_keys();
                Ok(Value::Object(out))
            }
            Value::Array(list) if SCHEMA_LISTS.contains(&key) => {
                list.iter().map(|schema| self.schema(schema, refs, depth + 1)).collect()
            }
            Value::Object(_) | Value::Bool(_) if SCHEMA.contains(&key) => self.schema(value, refs, depth + 1),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                let mut value = self.clone_of(value)?;
                value.sort_all_objects();
                Ok(value)
            }
        }
    }

    /// The schema that a local `$ref` names, merged with the reference's siblings. A reference into itself stays, as the
    /// number of references to go back; one that leads nowhere or elsewhere stays as it is.
    fn inlined(
        &mut self,
        schema: &Map<String, Value>,
        refs: &mut Vec<String>,
        depth: usize,
    ) -> Result<Option<Value>, NormalizeError> {
        let Some(Value::String(reference)) = schema.get("$ref") else { return Ok(None) };
        let Some(pointer) = reference.strip_prefix('#') else { return Ok(None) };
        if let Some(position) = refs.iter().rposition(|open| open == reference) {
            return Ok(Some(json!({"$ref": format!("recursion:{}", refs.len() - position)})));
        }
        let root = self.root;
        let Some(found @ Value::Object(_)) = root.pointer(pointer) else { return Ok(None) };
        let Value::Object(mut merged) = self.clone_of(found)? else { return Ok(None) };
        for (key, value) in schema.iter().filter(|(key, _)| key.as_str() != "$ref") {
            merged.insert(key.clone(), self.clone_of(value)?);
        }
        refs.push(reference.clone());
        let inlined = self.schema(&Value::Object(merged), refs, depth + 1);
        refs.pop();
        inlined.map(Some)
    }
}

/// `allOf` of one is that one; `anyOf` of plain types is a type list; of enums, one enum; of one, that one.
fn tidy_unions(schema: &mut Map<String, Value>, work: &mut Work) -> Result<(), NormalizeError> {
    merge_only_variant(schema, "allOf");
    let Some(Value::Array(variants)) = schema.remove("anyOf") else { return Ok(()) };
    let mut flat = Vec::new();
    for variant in variants {
        match variant {
            Value::Object(mut map) if map.len() == 1 && map.get("anyOf").is_some_and(Value::is_array) => {
                if let Some(Value::Array(inner)) = map.remove("anyOf") {
                    flat.extend(inner);
                }
            }
            variant @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => flat.push(variant),
        }
    }
    sort_and_dedupe(&mut flat, work)?;
    // A variant that accepts everything makes the others moot.
    if flat.iter().any(|variant| variant.as_object().is_some_and(Map::is_empty)) {
        return Ok(());
    }
    if let Some(merged) = merged_union(&flat).or_else(|| with_null(&flat)) {
        flat = vec![merged];
    }
    schema.insert("anyOf".to_owned(), Value::Array(flat));
    merge_only_variant(schema, "anyOf");
    Ok(())
}

/// One schema for variants that are all enums, or all nothing but a type.
fn merged_union(variants: &[Value]) -> Option<Value> {
    let lists = |key: &str| -> Option<Vec<Value>> {
        let mut all = Vec::new();
        for variant in variants {
            let map = variant.as_object().filter(|map| map.len() == 1)?;
            match map.get(key)? {
                Value::Array(values) => all.extend(values.iter().cloned()),
                value @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_)) => all.push(value.clone()),
            }
        }
        Some(all)
    };
    let enums = lists("enum").map(|values| json!({"enum": values}));
    enums.or_else(|| lists("type").map(|types| json!({"type": types})))
}

/// The only variant besides null, made to accept null itself; `None` if it has no place to say so.
fn with_null(variants: &[Value]) -> Option<Value> {
    let mut others = variants.iter().filter(|variant| !accepts_only_null(variant));
    let (Some(Value::Object(only)), None) = (others.next(), others.next()) else { return None };
    if variants.len() < 2 {
        return None;
    }
    let mut variant = only.clone();
    let key = if variant.contains_key("enum") { "enum" } else { "type" };
    let added = if key == "enum" { Value::Null } else { json!("null") };
    let mut values = match variant.remove(key)? {
        Value::Array(values) => values,
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            vec![value]
        }
    };
    values.push(added);
    variant.insert(key.to_owned(), Value::Array(values));
    Some(Value::Object(variant))
}

fn merge_only_variant(schema: &mut Map<String, Value>, key: &str) {
    let Some(Value::Array(variants)) = schema.get(key) else { return };
    let [Value::Object(only)] = variants.as_slice() else { return };
    if only
        .keys()
        .any(|inner| schema.contains_key(inner) && schema.get(inner) != only.get(inner) && inner != key)
    {
        return;
    }
    if let Some(Value::Array(mut variants)) = schema.remove(key)
        && let Some(Value::Object(only)) = variants.pop()
    {
        schema.extend(only);
    }
}

fn accepts_only_null(schema: &Value) -> bool {
    let Some(schema) = schema.as_object().filter(|schema| schema.len() == 1) else { return false };
    schema.get("type") == Some(&json!("null")) || schema.get("enum") == Some(&json!([null]))
}

/// `const` is an enum of one; types and enums are sets; an enum makes its type superfluous.
fn tidy_enum_and_type(schema: &mut Map<String, Value>, work: &mut Work) -> Result<(), NormalizeError> {
    if !schema.contains_key("enum")
        && let Some(value) = schema.remove("const")
    {
        schema.insert("enum".to_owned(), json!([value]));
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        sort_and_dedupe(types, work)?;
        if types.contains(&json!("number")) {
            types.retain(|name| name != "integer");
        }
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let declared = schema.get("type").cloned();
    let Some(Value::Array(values)) = schema.get_mut("enum") else { return Ok(()) };
    sort_and_dedupe(values, work)?;
    let Some(declared) = declared else { return Ok(()) };
    let names: HashSet<&str> = match &declared {
        Value::String(name) => HashSet::from([name.as_str()]),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            if !values.is_empty() {
                schema.remove("type");
            }
            return Ok(());
        }
    };
    if values.iter().any(|value| has_type(value, &names)) {
        values.retain(|value| has_type(value, &names));
        schema.remove("type");
    }
    Ok(())
}

fn has_type(value: &Value, names: &HashSet<&str>) -> bool {
    match value {
        Value::Null => names.contains("null"),
        Value::Bool(_) => names.contains("boolean"),
        Value::Number(number) => names.contains("number") || (names.contains("integer") && !number.is_f64()),
        Value::String(_) => names.contains("string"),
        Value::Array(_) => names.contains("array"),
        Value::Object(_) => names.contains("object"),
    }
}

/// An optional parameter may be left out, so that it may also be null says nothing more.
fn tidy_object(schema: &mut Map<String, Value>, work: &mut Work) -> Result<(), NormalizeError> {
    let mut required = schema.remove("required");
    if let Some(Value::Array(names)) = &mut required {
        sort_and_dedupe(names, work)?;
    }
    let names = required.as_ref().and_then(Value::as_array).into_iter().flatten();
    let names: HashSet<&str> = names.filter_map(Value::as_str).collect();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            if let (false, Value::Object(property)) = (names.contains(name.as_str()), property) {
                strip_null(property);
            }
        }
    }
    schema.extend(required.map(|names| ("required".to_owned(), names)));
    Ok(())
}

fn strip_null(property: &mut Map<String, Value>) {
    for (key, is_null) in [
        ("type", (|value| value == "null") as fn(&Value) -> bool),
        ("enum", Value::is_null),
        ("anyOf", accepts_only_null),
    ] {
        if let Some(Value::Array(values)) = property.get_mut(key)
            && !values.iter().all(is_null)
        {
            values.retain(|value| !is_null(value));
        }
    }
}

/// Keywords that say what their absence says.
fn tidy_empty(schema: &mut Map<String, Value>) {
    schema.retain(|key, value| match key.as_str() {
        "default" => !value.is_null(),
        "required" | "allOf" => value.as_array().is_none_or(|list| !list.is_empty()),
        "properties" | "patternProperties" | "dependentSchemas" | "items" | "additionalProperties" => {
            value.as_object().is_none_or(|map| !map.is_empty())
        }
        "minLength" | "minItems" | "minProperties" => value.as_u64() != Some(0),
        "uniqueItems" => value != false,
        _ => true,
    });
}

fn sort_and_dedupe(values: &mut Vec<Value>, work: &mut Work) -> Result<(), NormalizeError> {
    let weight: Option<usize> = values.iter().try_fold(0, |sum, value| Some(sum + weigh(value, work.0)?));
    work.spend(weight.ok_or(NormalizeError::TooMuchWork)?)?;
    values.sort_by_cached_key(ToString::to_string);
    values.dedup();
    Ok(())
}

#[cfg(test)]
#[path = "normalize_tests.rs"]
pub(super) mod tests;
