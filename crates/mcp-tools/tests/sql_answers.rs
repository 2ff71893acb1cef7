//! Whatever a table holds, an answer is what the database's own client prints: names, order, digits, NULL, the cut.

use std::fmt::Write;
use std::process::Command;

use indexmap::IndexMap;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::pg::Postgres;
use crate::program::{serve_on, text};

const TABLES: usize = 12;
const LIMIT: usize = 3;
/// What the clients print for NULL; no generated text is this.
const NULL: &str = "(null)";

/// A type that both databases have, as far as its values go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Numeric,
    Integer,
    Text,
    Boolean,
    Json,
}

/// Columns with awkward names, and rows of literals; `None` is NULL.
#[derive(Debug, Clone)]
struct Table {
    columns: Vec<(String, Kind)>,
    rows: Vec<Vec<Option<String>>>,
}

fn literal(kind: Kind) -> BoxedStrategy<String> {
    match kind {
        Kind::Numeric => "-?[1-9][0-9]{0,24}\\.[0-9]{1,20}".boxed(),
        Kind::Integer => prop_oneof![Just(i64::MAX), Just(i64::MIN), any::<i64>(), -9..9_i64]
            .prop_map(|number| number.to_string())
            .boxed(),
        Kind::Text => "[ -~\u{e9}\u{1F980}]{0,12}|[0-9]{1,5}|\\{\"a\": 1\\}|null|true".boxed(),
        Kind::Boolean => any::<bool>().prop_map(|truth| truth.to_string()).boxed(),
        Kind::Json => {
            "\\{\"n\": [1-9][0-9]{18,24}\\.[0-9]{3}, \"k\": \\[1\\.50, null\\]\\}|\\[\\]|\"x\"".boxed()
        }
    }
}

fn tables(kinds: &'static [Kind]) -> impl Strategy<Value = Table> {
    const NAMES: &[&str] =
        &["a", "B c", "gr\u{f6}\u{df}e", "select", "x\"y", "_row", "_mcp_row", "n", "count", "it's", "a:b"];
    let columns = prop::sample::subsequence(NAMES, 1..6).prop_shuffle();
    columns
        .prop_flat_map(move |names| {
            let count = names.len();
            (Just(names), prop::collection::vec(prop::sample::select(kinds), count))
        })
        .prop_flat_map(|(names, kinds)| {
            let row: Vec<_> = kinds.iter().map(|kind| prop::option::weighted(0.8, literal(*kind))).collect();
            let columns: Vec<_> = names.iter().map(|name| (*name).to_owned()).zip(kinds).collect();
            (Just(columns), prop::collection::vec(row, 0..6))
        })
        .prop_map(|(columns, rows)| Table { columns, rows })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn script(number: usize, table: &Table, type_of: impl Fn(Kind) -> &'static str) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|(name, kind)| format!("{} {}", quoted(name), type_of(*kind))).collect();
    let mut script = format!("CREATE TABLE t{number} (k_ integer, {});\n", columns.join(", "));
    for (place, row) in table.rows.iter().enumerate() {
        let values = row.iter().zip(&table.columns).map(|(value, (_, kind))| match (value, kind) {
            (None, _) => "NULL".to_owned(),
            (Some(text), Kind::Numeric | Kind::Integer | Kind::Boolean) => text.clone(),
            (Some(text), Kind::Text | Kind::Json) => format!("'{}'", text.replace('\'', "''")),
        });
        let values: Vec<String> = values.collect();
        let _ = writeln!(script, "INSERT INTO t{number} VALUES ({place}, {});", values.join(", "));
    }
    script
}

/// `SELECT` of the table's columns in the order of its rows.
fn select(number: usize, table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
    format!("SELECT {} FROM t{number} ORDER BY k_", columns.join(", "))
}

fn catalogue(tables: &[Table]) -> String {
    let mut made = String::new();
    for (number, table) in tables.iter().enumerate() {
        let json: Vec<&str> = of_kind(table, Kind::Json);
        let boolean: Vec<&str> = of_kind(table, Kind::Boolean);
        for shape in ["rows", "page", "row", "value"] {
            let query = serde_json::to_string(&select(number, table)).expect("a text");
            let _ = write!(
                made,
                "[[tool]]\nname = \"{shape}_{number}\"\ndescription = \"d\"\nread_only = true\n[tool.sql]\nshape = \"{shape}\"\nlimit = {LIMIT}\n\
                 json = {}\nboolean = {}\nquery = {query}\n",
                json!(json),
                json!(boolean),
            );
        }
    }
    made
}

fn of_kind(table: &Table, wanted: Kind) -> Vec<&str> {
    table.columns.iter().filter(|(_, kind)| *kind == wanted).map(|(name, _)| name.as_str()).collect()
}

/// The rows of a client's CSV, below its header.
fn csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut letters = text.chars().peekable();
    let mut inside = false;
    while let Some(letter) = letters.next() {
        let row = rows.last_mut().expect("a row");
        match letter {
            '"' if inside && letters.peek() == Some(&'"') => {
                letters.next();
                row.last_mut().expect("a field").push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => row.push(String::new()),
            '\r' if !inside => {}
            '\n' if !inside => rows.push(vec![String::new()]),
            other => row.last_mut().expect("a field").push(other),
        }
    }
    rows.pop();
    rows
}

/// One value of an answer as the client prints it.
fn printed(raw: &RawValue, kind: Kind) -> String {
    let value: Value = serde_json::from_str(raw.get()).expect("JSON");
    match (value, kind) {
        (Value::Null, _) => NULL.to_owned(),
        (Value::Bool(truth), Kind::Boolean) => if truth { "t" } else { "f" }.to_owned(),
        (Value::String(text), Kind::Text) => text,
        // Digits as they are, and JSON without its layout.
        (_, Kind::Numeric | Kind::Integer) => raw.get().to_owned(),
        (_, Kind::Json) => compact(raw.get()),
        (other, kind) => panic!("{other} of {kind:?}"),
    }
}

fn compact(json: &str) -> String {
    json.chars().filter(|letter| !letter.is_whitespace()).collect()
}

type Record = IndexMap<String, Box<RawValue>>;

fn records(blocks: &Value) -> Vec<Record> {
    let blocks = blocks.as_array().expect("blocks").iter();
    blocks
        .map(|block| serde_json::from_str(block["text"].as_str().expect("a text")).expect("an object"))
        .collect()
}

#[track_caller]
fn check_table(server: &ToolServer, number: usize, table: &Table, expected: &[Vec<String>]) {
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let rows_of = |records: &[Record]| -> Vec<Vec<String>> {
        let row = |record: &Record| {
            assert_eq!(record.keys().collect::<Vec<_>>(), names, "{table:?}");
            record.values().zip(&table.columns).map(|(raw, (_, kind))| printed(raw, *kind)).collect()
        };
        records.iter().map(row).collect()
    };
    let shown = &expected[..expected.len().min(LIMIT)];
    let is_cut = expected.len() > LIMIT;

    let mut rows = server.call(&format!("rows_{number}"), json!({}));
    assert_eq!(rows["isError"], json!(false), "{table:?} {rows}");
    let meta = if is_cut { json!({ "mcp-tools/cut": ["result"] }) } else { Value::Null };
    assert_eq!(rows["_meta"], meta, "{table:?}");
    if is_cut {
        let said = rows["content"].as_array_mut().expect("blocks").pop().expect("a block");
        assert!(said["text"].as_str().expect("a text").contains("only the first 3 rows"), "{said}");
    }
    assert_eq!(rows_of(&records(&rows["content"])), shown, "{table:?}");

    let page = server.call(&format!("page_{number}"), json!({}));
    let whole: Record =
        serde_json::from_str(page["content"][0]["text"].as_str().expect("a text")).expect("a page");
    let items: Vec<Record> = serde_json::from_str(whole["items"].get()).expect("items");
    assert_eq!(rows_of(&items), shown, "{table:?}");
    assert_eq!(whole["total_count"].get(), expected.len().to_string());
    assert_eq!(whole["has_more"].get(), is_cut.to_string());

    let row = server.call(&format!("row_{number}"), json!({}));
    let value = server.call(&format!("value_{number}"), json!({}));
    let value: Box<RawValue> =
        serde_json::from_str(value["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    match expected.first() {
        Some(first) => {
            assert_eq!(rows_of(&records(&row["content"])), std::slice::from_ref(first), "{table:?}");
            assert_eq!(printed(&value, table.columns[0].1), first[0], "{table:?}");
        }
        None => {
            assert!(row["content"][0]["text"].as_str().expect("a text").contains("Nothing found."), "{row}");
            assert_eq!(value.get(), "null");
        }
    }
}

fn generated(kinds: &'static [Kind]) -> Vec<Table> {
    let mut runner = TestRunner::default();
    let strategy = tables(kinds);
    let mut tables = Vec::<Table>::new();
    // Without a list that is cut, and a NULL, less would be compared.
    let is_enough = |tables: &[Table]| {
        let mut values = tables.iter().flat_map(|table| &table.rows).flatten();
        tables.len() >= TABLES
            && tables.iter().any(|table| table.rows.len() > LIMIT)
            && values.any(Option::is_none)
    };
    while !is_enough(&tables) {
        assert!(tables.len() < 100 * TABLES, "no table has more than {LIMIT} rows, or no row a NULL");
        tables.push(strategy.new_tree(&mut runner).expect("a table").current());
    }
    tables
}

#[test]
fn answers_are_what_psql_prints() {
    let tables = generated(&[Kind::Numeric, Kind::Integer, Kind::Text, Kind::Boolean, Kind::Json]);
    let postgres = Postgres::start();
    for (number, table) in tables.iter().enumerate() {
        postgres.load(&script(number, table, |kind| match kind {
            Kind::Numeric => "numeric",
            Kind::Integer => "bigint",
            Kind::Text => "text",
            Kind::Boolean => "boolean",
            Kind::Json => "json",
        }));
    }
    let server = serve_on(&postgres.url(), &catalogue(&tables));
    for (number, table) in tables.iter().enumerate() {
        let printed = postgres.print(&select(number, table), NULL);
        let mut rows = csv(&printed);
        let header = rows.remove(0);
        assert_eq!(header, table.columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        compact_json(&mut rows, table);
        check_table(&server, number, table, &rows);
    }
}

#[test]
fn answers_are_what_sqlite3_prints() {
    let tables = generated(&[Kind::Integer, Kind::Text, Kind::Boolean, Kind::Json]);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("t.db");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    for (number, table) in tables.iter().enumerate() {
        let made = connection.execute_batch(&script(number, table, |kind| match kind {
            Kind::Numeric | Kind::Integer => "INTEGER",
            Kind::Text | Kind::Json => "TEXT",
            Kind::Boolean => "BOOLEAN",
        }));
        made.unwrap_or_else(|error| panic!("{table:?}: {error}"));
    }
    let server = serve_on(&format!("sqlite:{}", file.display()), &catalogue(&tables));
    for (number, table) in tables.iter().enumerate() {
        let mut client = Command::new("sqlite3");
        client.args(["-csv", "-header", "-nullvalue", NULL]).arg(&file).arg(select(number, table));
        let output = client.output().expect("sqlite3 runs; `apt-get install sqlite3` brings it");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut rows = csv(&text(&output.stdout));
        if !rows.is_empty() {
            let header = rows.remove(0);
            assert_eq!(header, table.columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        }
        for (row, (place, (_, kind))) in
            rows.iter_mut().flat_map(|row| row.iter_mut().zip(table.columns.iter().enumerate()))
        {
            let _ = place;
            if *kind == Kind::Boolean && row != NULL {
                *row = if row == "1" { "t" } else { "f" }.to_owned();
            }
        }
        compact_json(&mut rows, table);
        check_table(&server, number, table, &rows);
    }
}

/// Blanks inside JSON mean nothing.
fn compact_json(rows: &mut [Vec<String>], table: &Table) {
    for row in rows {
        for (value, (_, kind)) in row.iter_mut().zip(&table.columns) {
            if *kind == Kind::Json && value != NULL {
                *value = compact(value);
            }
        }
    }
}
