//! The break table, case by case; and over arbitrary schemas: equal is clean, and every seeded change is found and named.

use proptest::prelude::*;

use super::super::normalize::normalize;
use super::super::normalize::tests::any_schema;
use super::*;

/// Compares two schemas of one parameter `p`, unnormalized; expects these changes at these paths.
#[track_caller]
fn check(live: Value, candidate: Value, expect: &[(&str, Change)]) {
    let normal = |schema: &Value| normalize(schema).expect("normal");
    let found = compare(&normal(&live), &normal(&candidate));
    let found: Vec<(&str, Change)> = found.iter().map(|found| (found.path.as_str(), found.change)).collect();
    assert_eq!(found, expect, "{live} -> {candidate}");
}

fn parameter(schema: Value) -> Value {
    json!({"type": "object", "properties": {"p": schema}})
}

#[track_caller]
fn check_parameter(live: Value, candidate: Value, expect: &[Change]) {
    let expect: Vec<(&str, Change)> = expect.iter().map(|change| ("p", *change)).collect();
    check(parameter(live), parameter(candidate), &expect);
}

#[test]
fn parameters_come_and_go() {
    let none = json!({"type": "object"});
    let optional = parameter(json!({"type": "string"}));
    let required = json!({"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"]});
    check(none.clone(), optional.clone(), &[("p", Change::OptionalParameterAdded)]);
    check(none.clone(), required.clone(), &[("p", Change::RequiredParameterAdded)]);
    check(optional.clone(), none.clone(), &[("p", Change::ParameterRemoved)]);
    check(required.clone(), none.clone(), &[("p", Change::ParameterRemoved)]);
    check(optional.clone(), required.clone(), &[("p", Change::BecameRequired)]);
    check(required, optional, &[("p", Change::BecameOptional)]);
    check(
        none.clone(),
        json!({"type": "object", "required": ["q"]}),
        &[("q", Change::RequiredParameterAdded)],
    );
}

#[test]
fn types_widen_narrow_and_change() {
    let is = |name: &str| json!({"type": name});
    check_parameter(is("integer"), is("number"), &[Change::TypeWidened]);
    check_parameter(is("number"), is("integer"), &[Change::TypeNarrowed]);
    check_parameter(is("string"), is("integer"), &[Change::TypeChanged]);
    check_parameter(is("string"), json!({}), &[Change::TypeWidened]);
    check_parameter(json!({}), is("string"), &[Change::TypeNarrowed]);
    check_parameter(is("string"), json!({"type": ["string", "integer"]}), &[Change::TypeWidened]);
}

#[test]
fn enums_widen_and_narrow() {
    let of = |values: &[&str]| json!({"enum": values});
    check_parameter(of(&["a", "b"]), of(&["a"]), &[Change::EnumNarrowed]);
    check_parameter(of(&["a"]), of(&["a", "b"]), &[Change::EnumWidened]);
    check_parameter(of(&["a", "b"]), of(&["a", "c"]), &[Change::EnumNarrowed]);
    check_parameter(json!({"type": "string"}), of(&["a"]), &[Change::EnumNarrowed]);
    check_parameter(of(&["a"]), json!({"type": "string"}), &[Change::EnumWidened]);
    check_parameter(of(&["a"]), json!({"type": "integer"}), &[Change::TypeChanged]);
}

#[test]
fn defaults_bounds_and_extras() {
    let least = |bound: i64| json!({"type": "integer", "minimum": bound});
    let most = |bound: i64| json!({"type": "string", "maxLength": bound});
    check_parameter(json!({"default": 1}), json!({"default": 2}), &[Change::DefaultChanged]);
    check_parameter(json!({"default": null}), json!({}), &[]);
    check_parameter(least(0), least(1), &[Change::BoundTightened]);
    check_parameter(least(1), json!({"type": "integer"}), &[Change::BoundLoosened]);
    check_parameter(json!({"type": "string"}), most(5), &[Change::BoundTightened]);
    check_parameter(most(5), most(6), &[Change::BoundLoosened]);
    check_parameter(json!({"pattern": "a"}), json!({"pattern": "b"}), &[Change::ConstraintChanged]);
    check_parameter(json!({"pattern": "a"}), json!({}), &[Change::ConstraintDropped]);
    check_parameter(json!({"x-mcp-header": "a"}), json!({}), &[Change::ExtensionChanged]);
    let closed = json!({"type": "object", "additionalProperties": false});
    check(json!({"type": "object"}), closed.clone(), &[("", Change::ExtraRefused)]);
    check(closed, json!({"type": "object"}), &[("", Change::ExtraAllowed)]);
}

#[test]
fn what_is_inside_is_found_where_it_is() {
    let list = |items: Value| json!({"type": "array", "items": items});
    let object = |inner: Value| json!({"type": "object", "properties": {"q": inner}});
    check(
        parameter(list(object(json!({"type": "string"})))),
        parameter(list(object(json!({"type": "integer"})))),
        &[("p[].q", Change::TypeChanged)],
    );
}

#[test]
fn variants_are_judged_by_what_they_accept() {
    let text = json!({"type": "string", "minLength": 1});
    let list = json!({"type": "array", "items": {"type": "string"}});
    let either = json!({"anyOf": [text, list]});
    check_parameter(text.clone(), either.clone(), &[Change::VariantAdded]);
    check_parameter(either.clone(), text.clone(), &[Change::VariantRemoved]);
    check_parameter(
        either.clone(),
        json!({"anyOf": [text, {"type": "array", "items": {"type": "integer"}}]}),
        &[Change::VariantRemoved],
    );
    check_parameter(either, json!({}), &[Change::VariantAdded]);
}

#[test]
fn every_change_has_words_of_its_own() {
    let words: BTreeSet<&str> = Change::ALL.iter().map(|change| change.as_str()).collect();
    assert_eq!(words.len(), Change::ALL.len());
}

/// What a release may do to a parameter, and what that is called.
fn mutation() -> impl Strategy<Value = (Value, Value, bool, Change)> {
    let text = || json!({"type": "string"});
    prop_oneof![
        Just((text(), json!({"type": "integer"}), false, Change::TypeChanged)),
        Just((text(), json!({"enum": ["a"]}), false, Change::EnumNarrowed)),
        Just((text(), text(), true, Change::BecameRequired)),
        Just((json!({"default": "a"}), json!({"default": "b"}), false, Change::DefaultChanged)),
        Just((text(), json!({"type": "string", "maxLength": 3}), false, Change::BoundTightened)),
        Just((json!({"type": ["string", "integer"]}), text(), false, Change::TypeNarrowed)),
        Just((
            json!({"items": {"enum": ["a", "b"]}}),
            json!({"items": {"enum": ["a"]}}),
            false,
            Change::EnumNarrowed
        )),
    ]
}

proptest! {
    #[test]
    fn a_schema_is_equal_to_itself(schema in any_schema()) {
        if let Ok(normal) = normalize(&schema) {
            prop_assert_eq!(compare(&normal, &normal), vec![]);
        }
    }

    #[test]
    fn a_seeded_change_is_found_among_any_others(
        others in proptest::collection::btree_map("[a-d]", any_schema(), 0..4),
        (before, after, required, expect) in mutation(),
    ) {
        let with = |schema: &Value, required: bool| {
            let mut properties: Map<String, Value> = others.clone().into_iter().collect();
            properties.insert("seeded".to_owned(), schema.clone());
            let required: &[&str] = if required { &["seeded"] } else { &[] };
            normalize(&json!({"type": "object", "properties": properties, "required": required}))
        };
        if let (Ok(live), Ok(candidate)) = (with(&before, false), with(&after, required)) {
            let found = compare(&live, &candidate);
            prop_assert_eq!(found.len(), 1, "{:?}", found);
            prop_assert_eq!(found[0].change, expect);
            prop_assert!(found[0].path.starts_with("seeded"));
        }
    }
}

#[test]
fn the_break_table_in_the_documentation_is_this_one() {
    let document = include_str!("../../docs/parity.md");
    for change in Change::ALL {
        let row = format!("| {} | {} |", change.as_str(), change.severity().code());
        assert!(document.contains(&row), "docs/parity.md lacks `{row}`");
    }
    for id in super::super::report::CheckId::ALL {
        let row = format!("| {} | {} |", id.number(), id.code());
        assert!(document.contains(&row), "docs/parity.md lacks `{row}`");
    }
}
