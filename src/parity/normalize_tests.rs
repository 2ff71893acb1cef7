//! What is the same in another spelling normalizes to the same; what is not, does not; twice is as once.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[track_caller]
fn same(left: Value, right: Value) {
    let (left, right) = (normalize(&left).expect("normal"), normalize(&right).expect("normal"));
    assert_eq!(left, right);
}

#[track_caller]
fn different(left: Value, right: Value) {
    assert_ne!(normalize(&left).expect("normal"), normalize(&right).expect("normal"));
}

fn with_site(site: Value) -> Value {
    json!({"type": "object", "properties": {"site": site}})
}

// SPEC section 10: "ignore title, description, `$schema`, format, examples".
#[test]
fn what_only_people_read_is_ignored() {
    same(
        json!({"$schema": "x", "title": "T", "type": "object", "properties": {"n": {"type": "integer", "format": "int64",
            "description": "d", "examples": [1], "title": "N"}}}),
        json!({"type": "object", "properties": {"n": {"type": "integer"}}}),
    );
}

#[test]
fn a_parameter_named_like_an_ignored_keyword_stays() {
    different(
        json!({"properties": {"title": {"type": "string"}, "format": {}}}),
        json!({"properties": {"format": {}}}),
    );
    different(json!({"enum": ["title"]}), json!({"enum": ["format"]}));
}

// SPEC section 10: "`anyOf[T,null]` == `[T,"null"]` == optional with default null".
#[test]
fn the_ways_to_say_optional_are_one() {
    let plain = with_site(json!({"type": "string"}));
    same(with_site(json!({"anyOf": [{"type": "string"}, {"type": "null"}], "default": null})), plain.clone());
    same(with_site(json!({"type": ["string", "null"]})), plain.clone());
    same(with_site(json!({"type": "string", "default": null})), plain.clone());
    same(with_site(json!({"oneOf": [{"type": "null"}, {"type": "string"}]})), plain);
}

#[test]
fn a_required_parameter_that_may_be_null_is_another() {
    let required = |site: Value| json!({"properties": {"site": site}, "required": ["site"]});
    let nullable = required(json!({"type": ["string", "null"]}));
    same(required(json!({"anyOf": [{"type": "string"}, {"type": "null"}]})), nullable.clone());
    different(required(json!({"type": "string"})), nullable);
}

// SPEC section 10: "inline local `$ref`", "missing `required` == `[]`".
#[test]
fn references_and_emptiness_are_spelled_out() {
    same(
        json!({"$defs": {"L": {"type": "string", "enum": ["a", "b"]}}, "properties": {"l": {"$ref": "#/$defs/L"}}}),
        json!({"properties": {"l": {"enum": ["b", "a"]}}, "required": []}),
    );
    same(
        json!({"definitions": {"L": {"type": "string"}}, "properties": {"l": {"allOf": [{"$ref": "#/definitions/L"}],
            "default": "x"}}}),
        json!({"properties": {"l": {"type": "string", "default": "x"}}}),
    );
    same(json!({"additionalProperties": true, "items": {}}), json!({}));
    different(json!({"additionalProperties": false}), json!({}));
}

#[test]
fn enums_are_sets_however_they_are_written() {
    let plain = json!({"enum": ["a", "b"]});
    same(json!({"oneOf": [{"const": "a", "title": "A"}, {"const": "b", "type": "string"}]}), plain.clone());
    same(json!({"type": "string", "enum": ["b", "a", "a"]}), plain);
    same(json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}), json!({"type": ["string", "integer"]}));
    same(with_site(json!({"anyOf": [{"enum": ["a"]}, {"type": "null"}]})), with_site(json!({"const": "a"})));
}

#[test]
fn recursion_ends_and_bombs_are_refused() {
    let tree = json!({"$defs": {"T": {"properties": {"next": {"$ref": "#/$defs/T"}}}}, "$ref": "#/$defs/T"});
    let once = normalize(&tree).expect("normal");
    assert_eq!(normalize(&once), Ok(once.clone()));
    let mut defs = Map::new();
    for level in 0..20 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs.insert(format!("d{level}"), json!({"properties": {"a": next, "b": next}}));
    }
    assert_eq!(normalize(&json!({"$defs": defs, "$ref": "#/$defs/d0"})), Err(NormalizeError::TooHeavy));
    let many: Vec<Value> = (0..NODES_MAX).map(|_| json!(true)).collect();
    assert_eq!(normalize(&json!({"allOf": many})), Err(NormalizeError::TooLarge));
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"items": deep});
    }
    assert_eq!(normalize(&deep), Err(NormalizeError::TooDeep));
}

/// Schemas of the shapes that servers really send, and odd ones beside them.
pub(crate) fn any_schema() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("string"), Just("integer"), Just("number"), Just("null"), Just("object")];
    let leaf = prop_oneof![
        name.clone().prop_map(|name| json!({"type": name})),
        (name.clone(), name).prop_map(|(one, other)| json!({"type": [one, other], "title": "x"})),
        proptest::collection::vec("[ab]", 1..3).prop_map(|values| json!({"enum": values, "type": "string"})),
        Just(json!({"const": null})),
        Just(json!({"$ref": "#/$defs/D"})),
        Just(json!(true)),
        (0..3).prop_map(|minimum| json!({"type": "integer", "minimum": minimum, "default": minimum})),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let named = proptest::collection::vec(("[a-c]", inner.clone(), any::<bool>()), 0..4);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|variants| json!({"anyOf": variants})),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|variants| json!({"oneOf": variants, "default": null})),
            proptest::collection::vec(inner.clone(), 1..2).prop_map(|variants| json!({"allOf": variants})),
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            (named, inner).prop_map(|(named, defined)| {
                let required: Vec<&str> =
                    named.iter().filter(|(_, _, required)| *required).map(|(name, ..)| name.as_str()).collect();
                let properties: Map<_, _> =
                    named.iter().map(|(name, schema, _)| (name.clone(), schema.clone())).collect();
                json!({"type": "object", "properties": properties, "required": required, "$defs": {"D": defined}})
            }),
        ]
    })
}

proptest! {
    #[test]
    fn normalizing_twice_is_normalizing_once(schema in any_schema()) {
        if let Ok(once) = normalize(&schema) {
            prop_assert_eq!(normalize(&once), Ok(once.clone()));
        }
    }
}
