//! What `check` refuses of `[tool.sql]` because a call would silently return something else.

use crate::catalogue::check;
use crate::program::{run, text};

// A parameter of such a name would be replaced in silence.
#[test]
fn names_that_statements_have_anyway_are_refused() {
    let named = |name: &str| {
        format!(
            "[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = true\nparams.p = {{ type = \"string\" }}\nparams.{name} = {{ type = \"string\" }}\n\
             [tool.sql]\nshape = \"row\"\nquery = \"SELECT :p, :{name}\"\n"
        )
    };
    for (name, what) in [
        ("now", "the time of the call"),
        ("uuid", "a random identifier"),
        ("_limit", "the bounds of a page"),
        ("_offset", "the bounds of a page"),
        ("client", "the identity of the caller"),
        ("subject", "the identity of the caller"),
    ] {
        let told = format!("statements have a :{name} of their own, {what}; choose another name");
        check(&named(name), &[&format!("c.toml:1: tool.t: params.{name}: {told}")]);
        let computed = named("q").replace(":q", &format!(":{name}, :q"));
        let computed = format!("{computed}let.{name} = {{ contains = \"p\" }}\n");
        check(&computed, &[&format!("c.toml:1: tool.t: sql.let.{name}: {told}")]);
    }
}

#[test]
fn keys_of_a_result_that_would_replace_each_other_are_refused() {
    let page = "[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = true\n[tool.sql]\nshape = \"page\"\nquery = \"SELECT 1 AS a LIMIT 3\"\n\
        cursor = { column = \"a\", name = \"items\" }\n";
    let section = |name: &str| {
        format!("[[tool.sql.section]]\nname = \"{name}\"\nshape = \"row\"\nquery = \"SELECT 1 AS b\"\n")
    };
    check(
        &[page, &section("has_more"), &section("more"), &section("more")].concat(),
        &[
            "c.toml:1: tool.t: sql.cursor.name: the result already has a key items; choose another name",
            "c.toml:1: tool.t: sql.section has_more: the result already has a key has_more; choose another name",
            "c.toml:1: tool.t: sql.section more: the result already has a key more; choose another name",
            "c.toml:1: tool.t: sql.query: a page limits its rows itself; leave LIMIT out (hint: limit, limit_from, offset_from)",
        ],
    );
    let rows = page.replace("page", "rows").replace("cursor", "#");
    check(
        &[&rows, &*section("more")].concat(),
        &[
            "c.toml:1: tool.t: sql.section: the shapes rows and value have no place for sections (hint: shape = \"sections\")",
        ],
    );
}

const MISFITS: &str = r#"
[[tool]]
name = "pairs"
description = "d"
read_only = true
sql = { shape = "map", query = "SELECT 1 AS k, 2 AS v, 3 AS lost" }

[[tool]]
name = "single"
description = "d"
read_only = true
sql = { shape = "value", query = "SELECT 1 AS v, 2 AS lost" }

[[tool]]
name = "list"
description = "d"
read_only = true
sql = { shape = "page", query = "SELECT 1 AS n", cursor = { column = "m", name = "next" }, json = ["doc"] }

[[tool]]
name = "whole"
description = "d"
read_only = true
[tool.sql]
shape = "row"
query = "SELECT 1 AS part"
[[tool.sql.section]]
name = "part"
shape = "row"
query = "SELECT 2 AS n"
"#;

// Requirement: what check accepts is what runs, and no column is lost in silence.
#[test]
fn columns_that_do_not_fit_the_declaration_are_refused_by_a_check_with_a_database() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, MISFITS).expect("writes");
    let output = run(&["check", &file.display().to_string(), "--database", "sqlite::memory:"]);
    let told = text(&output.stdout);
    let at = |line: usize, rest: &str| format!("{}:{line}: {rest}", file.display());
    let expected = [
        at(2, "tool.pairs: sql.query: a map has two columns, its keys and their values; here are 3"),
        at(8, "tool.single: sql.query: a value is one column; here are 2"),
        at(14, "tool.list: sql.query: json and boolean: there is no column doc"),
        at(14, "tool.list: sql.cursor.column: there is no column m"),
        at(20, "tool.whole: sql.section part: the row already has a column part; choose another name"),
        "5 problems".to_owned(),
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}
