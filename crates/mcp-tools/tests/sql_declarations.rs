//! What `check` refuses of `[tool.sql]` because a call would silently return something else.

use crate::catalogue::check;

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
