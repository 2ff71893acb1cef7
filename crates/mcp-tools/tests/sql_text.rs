//! The text of a statement means to mcp-tools what it means to PostgreSQL.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::pg::Postgres;
use crate::program::{serve_on, text};

const STATEMENTS: usize = 60;
const VALUE: &str = "it's :a";

/// One expression, as a declaration writes it and as psql gets it: `:a` is a value in the first only.
#[derive(Debug, Clone)]
struct Expression {
    declared: String,
    plain: String,
}

fn same(sql: String) -> Expression {
    Expression { declared: sql.clone(), plain: sql }
}

/// Expressions of every form that hides or shows a colon.
fn expression() -> impl Strategy<Value = Expression> {
    let inner = "([ -&(-~]|:a|;|--|/|\u{e9}){0,8}";
    let quoted = move || inner.prop_map(|inner| inner.replace('\\', "/"));
    prop_oneof![
        3 => Just(Expression { declared: ":a".to_owned(), plain: "'it''s :a'::text".to_owned() }),
        1 => Just(Expression { declared: ":a::text".to_owned(), plain: "'it''s :a'::text".to_owned() }),
        2 => quoted().prop_map(|inner| same(format!("'{inner}'::text"))),
        1 => quoted().prop_map(|inner| same(format!("E'\\'{inner}\\\\'::text"))),
        1 => quoted().prop_map(|inner| same(format!("E'x'\n -- :a '\n'\\'{inner}'::text"))),
        1 => quoted().prop_map(|inner| same(format!("$${}$$", inner.replace('$', "")))),
        1 => quoted().prop_map(|inner| same(format!("$q${inner}$q$ || $_1$ $q$ :a $_1$"))),
        1 => quoted().prop_map(|inner| same(format!("U&'\\0061{inner}'"))),
        1 => quoted().prop_map(|inner| same(format!("1 /* /* {} */ :a ' */ + 1", inner.replace(['/', '*'], "")))),
        1 => quoted().prop_map(|inner| same(format!("1 + -- {inner} :a\n1"))),
        1 => quoted().prop_map(|inner| same(format!("1 AS \"{}:a\"", inner.replace('"', "")))),
        1 => Just(same("(ARRAY[1,2,3])[1:2]".to_owned())),
        1 => Just(same("(ARRAY[1,2,3])[:2]".to_owned())),
        1 => Just(same("'{\"a\": 1}'::jsonb ? 'a'".to_owned())),
        1 => Just(same("'{\"a\": 1}'::jsonb ?| array['b', 'a']".to_owned())),
        1 => Just(same("make_interval(days := 3)".to_owned())),
        1 => Just(same("to_char(date '2026-01-02', 'HH24:MI:SS')".to_owned())),
        1 => Just(same("x'1F'::int".to_owned())),
    ]
}

/// What stands between two expressions.
fn between() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(","), Just(" ,\n"), Just(", -- :a ' $$\n"), Just(",/* :a /* */ \" */")]
}

#[test]
fn sql_text_means_what_it_means_to_postgresql() {
    let mut runner = TestRunner::default();
    let strategy = prop::collection::vec((expression(), between()), 1..6);
    let statements: Vec<_> =
        (0..STATEMENTS).map(|_| strategy.new_tree(&mut runner).expect("a statement").current()).collect();
    let joined = |parts: &[(Expression, &str)], form: fn(&Expression) -> &str| {
        let mut sql = String::from("SELECT ");
        for (place, (expression, between)) in parts.iter().enumerate() {
            if place > 0 {
                sql.push_str(between);
            }
            let item = form(expression);
            let named = if item.contains(" AS ") { String::new() } else { format!(" AS c{place}") };
            let _ = write!(sql, "{item}{named}");
        }
        sql
    };
    let postgres = Postgres::start();
    let mut catalogue = String::new();
    for (number, parts) in statements.iter().enumerate() {
        let query = serde_json::to_string(&joined(parts, |part| &part.declared)).expect("a text");
        let _ = write!(
            catalogue,
            "[[tool]]\nname = \"t{number}\"\ndescription = \"d\"\nread_only = true\nparams.a = {{ type = \"string\" }}\n\
             [tool.sql]\nshape = \"row\"\nunused = [\"a\"]\nquery = {query}\n"
        );
    }
    let server = serve_on(&postgres.url(), &catalogue);
    let mut answered = 0;
    for (number, parts) in statements.iter().enumerate() {
        let plain = joined(parts, |part| &part.plain);
        let printed = postgres.command(&format!("SELECT row_to_json(r) FROM (\n{plain}\n) AS r"));
        let result = server.call(&format!("t{number}"), json!({ "a": VALUE }));
        if !printed.status.success() {
            // Two columns have one name, mostly.
            assert_eq!(result["isError"], json!(true), "{plain}: {result}");
            continue;
        }
        let expected = text(&printed.stdout);
        let expected: Value =
            serde_json::from_str(expected.trim()).unwrap_or_else(|error| panic!("{expected}: {error}"));
        if result["isError"] == json!(true) {
            // row_to_json repeats a name; an answer would lose one of the two columns.
            assert!(expected.as_object().expect("a row").len() < parts.len(), "{plain}: {result}");
            continue;
        }
        let got: Value =
            serde_json::from_str(result["content"][0]["text"].as_str().expect("a text")).expect("JSON");
        assert_eq!(got, expected, "{plain}");
        answered += 1;
    }
    assert!(answered > STATEMENTS / 2, "nothing would be proved: {answered}");
}
