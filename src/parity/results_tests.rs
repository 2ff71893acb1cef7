//! Results: equal is clean, noise is subtracted, rules are obeyed, and every seeded difference is found at its path.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Compares single results; expects these kinds at these paths.
#[track_caller]
fn check(live: Value, candidate: Value, expect: &[(&str, DifferenceKind)]) {
    let found: Vec<(String, DifferenceKind)> =
        diff(&live, &candidate).into_iter().map(|found| (found.path.to_string(), found.kind)).collect();
    let expect: Vec<(String, DifferenceKind)> =
        expect.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect();
    assert_eq!(found, expect);
}

fn text(json: &Value) -> Value {
    json!({"content": [{"type": "text", "text": json.to_string()}]})
}

#[test]
fn says_what_happened_and_where() {
    check(json!({"a": 1}), json!({"a": 2}), &[("a", DifferenceKind::ValueDiffers)]);
    check(json!({"a": 1}), json!({"a": "1"}), &[("a", DifferenceKind::TypeDiffers)]);
    check(json!({"a": 1}), json!({}), &[("a", DifferenceKind::Missing)]);
    check(json!({}), json!({"a": {"b": 1}}), &[("a", DifferenceKind::Added)]);
    check(json!({"a": [1, 2]}), json!({"a": [1]}), &[("a", DifferenceKind::LengthDiffers)]);
    check(json!({"a": [1, 2, 3]}), json!({"a": [3, 1, 2]}), &[("a", DifferenceKind::OrderDiffers)]);
    check(json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2}]}), &[("a[0].b", DifferenceKind::ValueDiffers)]);
    check(json!(1), json!(1.0), &[]);
    check(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), &[]);
}

#[test]
fn a_text_that_holds_json_is_compared_as_json() {
    let live = json!({"content": [{"text": "{\n  \"n\": 1,\n  \"ok\": true\n}"}]});
    check(live.clone(), json!({"content": [{"text": "{\"ok\":true,\"n\":1}"}]}), &[]);
    check(
        live,
        json!({"content": [{"text": "{\"ok\":true,\"n\":2}"}]}),
        &[("content[0].text.n", DifferenceKind::ValueDiffers)],
    );
    check(json!({"t": "{a"}), json!({"t": "{b"}), &[("t", DifferenceKind::ValueDiffers)]);
}

#[test]
fn what_differs_from_itself_is_no_difference() {
    let answer = |time: u32, name: &str| {
        text(&json!({"items": [{"time": time, "name": name}, {"time": 0, "name": "b"}]}))
    };
    let live = [answer(1, "a"), answer(2, "a")];
    let found = compare(&live, &[answer(7, "a"), answer(8, "a")], &[]);
    assert_eq!(found.differences, vec![]);
    assert_eq!(
        found.noise.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["content[*].text.items[*].time"]
    );
    let found = compare(&live, &[answer(7, "x"), answer(8, "x")], &[]);
    assert_eq!(found.differences.len(), 1);
    assert_eq!(found.differences[0].path.to_string(), "content[0].text.items[0].name");
}

#[test]
fn a_field_that_only_the_candidate_changes_is_unstable() {
    let answer = |salt: u32| text(&json!({"salt": salt, "n": 1}));
    let found = compare(&[answer(1), answer(1)], &[answer(1), answer(2)], &[]);
    assert_eq!(found.differences.len(), 1);
    assert_eq!(found.differences[0].kind, DifferenceKind::Unstable);
    assert_eq!(found.differences[0].path.to_string(), "content[0].text.salt");
}

#[test]
fn a_list_whose_length_is_noise_is_not_looked_into() {
    let list = |length: usize| json!({"items": vec![json!({"n": length}); length], "ok": true});
    assert_eq!(compare(&[list(1), list(2)], &[list(3), list(4)], &[]).differences, vec![]);
}

#[test]
fn rules_name_what_to_ignore() {
    let (live, candidate) = (json!({"a": [{"t": 1, "n": 1}]}), json!({"a": [{"t": 2, "n": 2}]}));
    let left = |rule: &str| {
        let rule = IgnoreRule::parse(rule).expect("a rule");
        let found = compare(std::slice::from_ref(&live), std::slice::from_ref(&candidate), &[rule]);
        found.differences.iter().map(|found| found.path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(left("a[*].t"), ["a[0].n"]);
    assert_eq!(left("**.t"), ["a[0].n"]);
    assert_eq!(left("a[1].t"), ["a[0].t", "a[0].n"]);
    assert_eq!(left("a"), Vec::<String>::new());
    assert_eq!(left("*[0].n"), ["a[0].t"]);
    for ill in ["", ".a", "a[", "a[x]", "a..b", "**."] {
        assert_eq!(IgnoreRule::parse(ill), None, "{ill}");
    }
}

#[test]
fn how_a_result_travelled_is_not_compared() {
    let modern = json!({"content": [], "_meta": {"x": 1}, "resultType": "complete", "ttlMs": 0, "cacheScope": "public"});
    assert_eq!(comparable(&modern), comparable(&json!({"content": [], "isError": false})));
}

#[test]
fn a_flood_of_differences_is_bounded_and_counted() {
    let numbers = |from: usize| Value::from((from..from + 1_000).collect::<Vec<_>>());
    let found = compare(&[numbers(0)], &[numbers(5_000)], &[]);
    assert_eq!((found.differences.len(), found.unlisted), (200, 800));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c{\\[\"]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner.clone(), 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

proptest! {
    #[test]
    fn a_result_equals_itself(value in any_json()) {
        let twice = [value.clone(), value];
        prop_assert_eq!(compare(&twice, &twice, &[]), Comparison::default());
    }

    #[test]
    fn different_results_differ(one in any_json(), two in any_json()) {
        let wrap = |value: &Value| json!({"v": value, "seeded": 1});
        let mut other = wrap(&one);
        other["seeded"] = json!(2);
        let found = diff(&wrap(&one), &other);
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].path.to_string(), "seeded");
        prop_assert_eq!(diff(&one, &two).is_empty(), diff(&two, &one).is_empty());
    }
}
