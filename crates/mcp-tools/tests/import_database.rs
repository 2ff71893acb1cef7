//! `mcp-tools import --database`: tables become tools that work on them.

use serde_json::{Value, json};

use crate::import::done;
use crate::pg::Postgres;
use crate::program::{program, run, start, text};
use crate::surface::block;

/// Fifteen tables that are alike, and the odd ones.
fn schema() -> String {
    let alike = (1..=15).map(|number| {
        format!(
            "CREATE TABLE plain_{number} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, made timestamptz);
             INSERT INTO plain_{number} (name, made) VALUES ('first', '2026-01-01T00:00:00Z'), ('second', '2026-02-01T00:00:00Z');\n"
        )
    });
    alike.collect::<String>() + ODD
}

const ODD: &str = r#"
CREATE TYPE mood AS ENUM ('glad', 'it''s "so so"');
CREATE DOMAIN quantity AS integer CHECK (VALUE > 0);
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
  tenant uuid, number integer, mood mood NOT NULL, amount quantity, price numeric(12,2), tags text[], doc jsonb,
  code char(8), note varchar(40), paid boolean, "limit" integer, "Odd: ""name""" text, made date, PRIMARY KEY (tenant, number));
COMMENT ON TABLE shop.orders IS 'What customers ordered.';
COMMENT ON COLUMN shop.orders.price IS 'In euros.';
INSERT INTO shop.orders VALUES ('0191d0a0-0000-7000-8000-000000000001', 1, 'glad', 3, 9.50, '{a,b}', '{"k": 1}', 'AB', 'n', true, 7, 'odd', '2026-03-01'),
  ('0191d0a0-0000-7000-8000-000000000001', 2, 'it''s "so so"', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE VIEW shop.paid AS SELECT tenant, number, price FROM shop.orders WHERE paid;
CREATE TABLE "Weird {Table}" (k bytea PRIMARY KEY, v json);
INSERT INTO "Weird {Table}" VALUES ('\x01', '{"a": 1}');
CREATE TABLE plain (id text PRIMARY KEY);
INSERT INTO plain VALUES ('x');
CREATE TABLE shop.plain (id text PRIMARY KEY);
CREATE TABLE nothing ();
"#;

// Requirement: a PostgreSQL schema of 20 tables becomes a catalogue that `check` accepts and whose tools work.
#[test]
fn import_of_postgresql_tables_gives_tools_that_all_work() {
    let postgres = Postgres::start();
    postgres.load(&schema());
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml").display().to_string();
    let url = postgres.url();
    let output = run(&["import", "--database", &url, "--output", &file]);
    let told = text(&output.stderr).replace(&file, "c.toml");
    let expected = "\
mcp-tools: 38 tools in c.toml
mcp-tools: not imported: get_Weird {Table}: the key's column k has the type bytea
mcp-tools: not imported: nothing: has no column
mcp-tools: not imported: get_shop.paid: there is no primary key
";
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&told), lines(expected));
    assert_eq!(done(&["check", &file, "--database", &url]), "OK: 38 tools\n");

    let server = start(&["--catalog", &file, "--database", &url]);
    let listed = server.request("tools/list", json!({}))["result"]["tools"].clone();
    for tool in listed.as_array().expect("a list") {
        let name = tool["name"].as_str().expect("a name");
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{name}");
        let arguments = match name {
            "get_shop_orders" => json!({ "tenant": "0191d0a0-0000-7000-8000-000000000001", "number": 1 }),
            "get_plain" | "get_shop_plain" => json!({ "id": "x" }),
            name if name.starts_with("get_") => json!({ "id": 1 }),
            _ => json!({}),
        };
        let result = server.call(name, arguments);
        assert_eq!(result["isError"], false, "{name}: {result}");
        let row = block(&result);
        match name {
            "get_shop_plain" => assert_eq!(row["error"], "No row of shop.plain with id x."),
            name if name.starts_with("get_") => assert!(row.get("error").is_none(), "{name}: {row}"),
            name => assert!(row["total_count"].is_u64(), "{name}: {row}"),
        }
    }
    let total = |name: &str, arguments: Value| block(&server.call(name, arguments))["total_count"].clone();
    assert_eq!(total("list_plain_3", json!({ "made_from": "2026-01-15T00:00:00Z" })), 1);
    assert_eq!(total("list_plain_3", json!({ "made_before": "2026-01-15T00:00:00Z", "name": "second" })), 0);
    let orders = |arguments: Value| total("list_shop_orders", arguments);
    assert_eq!(orders(json!({})), 2);
    for filter in [
        json!({ "mood": "it's \"so so\"" }),
        json!({ "tenant": "0191d0a0-0000-7000-8000-000000000001", "number": 1 }),
        json!({ "amount": 3 }),
        json!({ "price": 9.5 }),
        json!({ "code": "AB" }),
        json!({ "note": "n" }),
        json!({ "paid": true }),
        json!({ "limit_2": 7 }),
        json!({ "Odd_name": "odd" }),
        json!({ "made_from": "2026-03-01", "made_before": "2026-03-02" }),
    ] {
        assert_eq!(orders(filter.clone()), 1, "{filter}");
    }
    let page = block(&server.call("list_shop_orders", json!({ "limit": 1, "offset": 1 })));
    assert_eq!(page["items"][0]["number"], 2);
    assert_eq!(page["has_more"], false);
    let refused = server.call("list_shop_orders", json!({ "mood": "sad" }));
    assert_eq!(refused["isError"], true, "{refused}");
    let described =
        listed.as_array().and_then(|tools| tools.iter().find(|tool| tool["name"] == "list_shop_orders"));
    let described = described.expect("listed");
    assert!(described["description"].as_str().is_some_and(|text| text.ends_with("What customers ordered.")));
    assert_eq!(described["inputSchema"]["properties"]["price"]["description"], "Equals this. In euros.");
}

#[test]
fn import_of_chosen_tables_says_which_there_are() {
    let postgres = Postgres::start();
    postgres.load(ODD);
    let url = postgres.url();
    let import = |tables: &[&str]| {
        let mut arguments = vec!["import", "--database", url.as_str()];
        tables.iter().for_each(|table| arguments.extend(["--table", table]));
        let output = run(&arguments);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, catalogue, told) = import(&["plain", "shop.plain", "orders", "plain"]);
    assert_eq!((code, told.as_str()), (Some(0), "mcp-tools: 6 tools\n"));
    let names: Vec<&str> = catalogue.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    let expected = [
        "list_plain",
        "get_plain",
        "list_shop_plain",
        "get_shop_plain",
        "list_shop_orders",
        "get_shop_orders",
    ];
    assert_eq!(names, expected.map(|name| format!("\"{name}\"")));
    let (code, _, told) = import(&["ordrs"]);
    assert!(told.contains("--table ordrs: there is no such table or view"), "{told}");
    assert!(
        told.contains("there is Weird {Table}, nothing, plain, shop.orders, shop.paid, shop.plain"),
        "{told}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn import_of_sqlite_tables_gives_tools_that_work() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("app.db").display().to_string();
    let database = rusqlite::Connection::open(&path).expect("opens");
    let script = r#"
        CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, weight REAL, alive BOOLEAN, doc JSON, raw BLOB, made DATETIME);
        INSERT INTO things VALUES (1, 'first', 1.5, 1, '{"a": [1]}', x'00', '2026-01-01'), (2, NULL, NULL, 0, NULL, NULL, NULL);
        CREATE TABLE pairs (a TEXT, b INT, PRIMARY KEY (b, a)) WITHOUT ROWID;
        INSERT INTO pairs VALUES ('x', 1);
        CREATE TABLE "select" (note);
        CREATE VIEW names AS SELECT name FROM things;"#;
    database.execute_batch(script).expect("runs");
    let (url, file) = (format!("app=sqlite:{path}"), home.path().join("c.toml").display().to_string());
    done(&["import", "--database", &url, "--output", &file]);
    // The catalogue names its database.
    assert_eq!(done(&["check", &file]), "OK: 6 tools\n");
    let call = |name: &str, arguments: &str| -> Value {
        let printed = done(&["call", name, arguments, "--catalog", &file]);
        serde_json::from_str(&printed).expect("JSON")
    };
    let thing = call("get_things", r#"{"id": 1}"#);
    assert_eq!(thing["doc"], json!({ "a": [1] }));
    assert_eq!(thing["alive"], true);
    assert_eq!(call("get_pairs", r#"{"a": "x", "b": 1}"#), json!({ "a": "x", "b": 1 }));
    for (name, arguments, total) in [
        ("list_things", "{}", 2),
        ("list_things", r#"{"alive": false}"#, 1),
        ("list_things", r#"{"weight": 1.5, "made_from": "2026-01-01", "made_before": "2026-01-02"}"#, 1),
        ("list_names", r#"{"name": "first"}"#, 1),
        ("list_select", "{}", 0),
    ] {
        assert_eq!(call(name, arguments)["total_count"], total, "{name} {arguments}");
    }
    let written = std::fs::read_to_string(&file).expect("reads");
    assert!(written.contains("database = \"app\"\n"), "{written}");
}

#[test]
fn import_of_a_relative_path_gives_a_catalogue_that_works_in_any_folder() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("conf")).expect("a folder");
    let database = rusqlite::Connection::open(home.path().join("shop.db")).expect("opens");
    database.execute_batch("CREATE TABLE things (id INTEGER PRIMARY KEY)").expect("runs");
    std::fs::write(home.path().join("shop.more.db"), "").expect("writes");
    for (url, file) in [
        ("sqlite:shop.db", "conf/app.toml"),
        ("sqlite://shop.db", "conf/app2.toml"),
        ("shop=sqlite:./shop.db?attach=siblings", "conf/app3.toml"),
    ] {
        let arguments = ["import", "--database", url, "--output", file];
        let output = program().args(arguments).current_dir(&home).output().expect("mcp-tools runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let output = program().args(["check", file]).current_dir(&home).output().expect("mcp-tools runs");
        assert_eq!(text(&output.stdout), "OK: 2 tools\n", "{url}: {}", text(&output.stderr));
    }
}

// Requirement: what cannot be read is named with the reason, and the rest is imported.
#[test]
fn import_of_sqlite_tables_passes_over_a_broken_view() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("app.db").display().to_string();
    let database = rusqlite::Connection::open(&path).expect("opens");
    let script = "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIEW broken AS SELECT * FROM nosuch;";
    database.execute_batch(script).expect("runs");
    let url = format!("sqlite:{path}");
    let import = |more: &[&str]| {
        let output = run(&[&["import", "--database", &url], more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, catalogue, told) = import(&[]);
    let reason = "broken: no such table: main.nosuch";
    assert_eq!((code, told), (Some(0), format!("mcp-tools: 2 tools\nmcp-tools: not imported: {reason}\n")));
    assert!(catalogue.contains(&format!("# Not imported:\n#   {reason}\n")), "{catalogue}");
    let (code, _, told) = import(&["--table", "t"]);
    assert_eq!((code, told.as_str()), (Some(0), "mcp-tools: 2 tools\n"));
    let (code, _, told) = import(&["--table", "broken"]);
    assert_eq!(code, Some(2));
    assert!(told.contains(&format!("nothing can be imported: {reason}")), "{told}");
}
