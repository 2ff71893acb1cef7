//! Declares `list_TABLE` and `get_TABLE` for tables.
//!
//! Every name of the database is quoted, every value bound. Must not ask the database.

use serde_json::{Map, Value, json};

use super::tables::{Column, Table, quoted};
use crate::database::Dialect;
use crate::import::draft::{Draft, Entry, InputDraft, Omitted, ToolDraft};
use crate::import::names::Names;

const PAGE_ROWS_DEFAULT: u32 = 50;
const PAGE_ROWS_MAX: u32 = 200;

/// Names of parameters that mean something else: those of a page, and what statements get by themselves.
const TAKEN: [&str; 8] = ["limit", "offset", "now", "uuid", "client", "subject", "_limit", "_offset"];

/// How a column is compared with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Integer,
    Number,
    Boolean,
    Text,
    Uuid,
    /// A date or time, for which a range is of use.
    Moment,
    /// Cannot be compared in a useful way: JSON, bytes, lists.
    None,
}

impl Use {
    fn of(column: &Column, dialect: Dialect) -> Use {
        match dialect {
            Dialect::Postgres => Use::of_postgres(column),
            Dialect::Sqlite => Use::of_sqlite(&column.base.to_ascii_uppercase()),
        }
    }

    fn of_postgres(column: &Column) -> Use {
        match column.base.as_str() {
            _ if column.labels.is_some() => Use::Text,
            "int2" | "int4" | "int8" => Use::Integer,
            "numeric" | "float4" | "float8" => Use::Number,
            "bool" => Use::Boolean,
            "text" | "varchar" | "bpchar" | "name" | "citext" | "inet" | "cidr" | "macaddr" => Use::Text,
            "uuid" => Use::Uuid,
            "date" | "timestamp" | "timestamptz" => Use::Moment,
            _ => Use::None,
        }
    }

    /// SQLite's rules of affinity, after the types that have none of their own.
    fn of_sqlite(declared: &str) -> Use {
        let holds = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        match declared {
            "" => Use::None,
            _ if holds(&["JSON", "BLOB"]) => Use::None,
            _ if holds(&["BOOL"]) => Use::Boolean,
            _ if holds(&["INT"]) => Use::Integer,
            _ if holds(&["DATE", "TIME"]) => Use::Moment,
            _ if holds(&["CHAR", "CLOB", "TEXT"]) => Use::Text,
            _ => Use::Number,
        }
    }

    fn param(self, column: &Column) -> Map<String, Value> {
        let kind = match self {
            Use::Integer => "integer",
            Use::Number => "number",
            Use::Boolean => "boolean",
            Use::Text | Use::Uuid | Use::Moment | Use::None => "string",
        };
        let mut param = Map::new();
        param.insert("type".into(), kind.into());
        if self == Use::Uuid {
            param.insert("format".into(), "uuid".into());
        }
        if let Some(labels) = &column.labels {
            param.insert("enum".into(), json!(labels));
        }
        param
    }
}

/// A value for PostgreSQL's type of the column. A cast to a text type could cut it, and none is needed there.
fn bound(param: &str, column: &Column, dialect: Dialect) -> String {
    let is_text = matches!(column.base.as_str(), "text" | "varchar" | "bpchar" | "name");
    match dialect {
        Dialect::Postgres if !is_text => format!(":{param}::{}", column.sql_type),
        Dialect::Postgres | Dialect::Sqlite => format!(":{param}"),
    }
}

/// Adds the tools of all tables.
pub(super) fn declare(tables: &[Table], dialect: Dialect, database: Option<&str>, draft: &mut Draft) {
    let mut names = Names::default();
    for table in tables {
        let maker = Maker { table, dialect, database };
        if table.broken.is_some() || table.columns.is_empty() {
            let reason = table.broken.clone().unwrap_or_else(|| "has no column".to_owned());
            draft.omitted.push(Omitted { what: table.shown(), reason });
            continue;
        }
        let word = table.shown();
        draft.tools.push(maker.list(names.tool(&format!("list_{word}"))));
        match maker.key() {
            Ok(key) => draft.tools.push(maker.get(names.tool(&format!("get_{word}")), &key)),
            Err(reason) => draft.omitted.push(Omitted { what: format!("get_{word}"), reason }),
        }
    }
}

struct Maker<'a> {
    table: &'a Table,
    dialect: Dialect,
    database: Option<&'a str>,
}

impl Maker<'_> {
    /// The columns of the primary key in its order.
    fn key(&self) -> Result<Vec<&Column>, String> {
        let mut key: Vec<&Column> = self.table.columns.iter().filter(|column| column.key.is_some()).collect();
        key.sort_by_key(|column| column.key);
        if key.is_empty() {
            return Err("there is no primary key".to_owned());
        }
        match key.iter().find(|column| Use::of(column, self.dialect) == Use::None) {
            Some(column) => Err(format!("the key's column {} has the type {}", column.name, column.sql_type)),
            None => Ok(key),
        }
    }

    fn list(&self, name: String) -> ToolDraft {
        let mut names = Names::beside(&TAKEN);
        let mut params: Vec<(String, Map<String, Value>)> = Vec::new();
        let mut conditions: Vec<String> = Vec::new();
        for column in &self.table.columns {
            let how = Use::of(column, self.dialect);
            let comparisons: &[(&str, &str, &str)] = match how {
                Use::None => continue,
                Use::Moment => &[("_from", ">=", "At or after this"), ("_before", "<", "Before this")],
                Use::Integer | Use::Number | Use::Boolean | Use::Text | Use::Uuid => {
                    &[("", "=", "Equals this")]
                }
            };
            for (suffix, operator, meaning) in comparisons {
                let param = names.param(&format!("{}{suffix}", column.name));
                let mut keys = how.param(column);
                keys.insert("description".into(), described(column, &param, Some(meaning)).into());
                let value = bound(&param, column, self.dialect);
                let quoted = quoted(&column.name);
                conditions.push(format!("(:{param} IS NULL OR {quoted} {operator} {value})"));
                params.push((param, keys));
            }
        }
        let number = |default: u32, minimum: u32| {
            let mut keys = Map::new();
            keys.insert("type".into(), "integer".into());
            keys.insert("default".into(), default.into());
            keys.insert("minimum".into(), minimum.into());
            keys
        };
        let mut limit = number(PAGE_ROWS_DEFAULT, 1);
        limit.insert("maximum".into(), PAGE_ROWS_MAX.into());
        params.push(("limit".into(), limit));
        params.push(("offset".into(), number(0, 0)));
        let filters = conditions.join("\n  AND ");
        let filters = if filters.is_empty() { filters } else { format!("\nWHERE {filters}") };
        let mut entries = vec![
            Entry::new("shape", "page"),
            Entry::new("limit", PAGE_ROWS_MAX),
            Entry::new("limit_from", "limit"),
            Entry::new("offset_from", "offset"),
        ];
        entries.push(Entry::new("query", format!("{}{filters}{}", self.select(), self.order())));
        let first =
            format!("Lists rows of {}; without arguments all of them, a page at a time.", self.table.shown());
        self.tool(name, &first, params, entries)
    }

    fn get(&self, name: String, key: &[&Column]) -> ToolDraft {
        let mut names = Names::beside(&TAKEN);
        let mut params: Vec<(String, Map<String, Value>)> = Vec::new();
        let (mut conditions, mut shown) = (Vec::new(), Vec::new());
        for column in key {
            let param = names.param(&column.name);
            let mut keys = Use::of(column, self.dialect).param(column);
            keys.insert("required".into(), true.into());
            let description = described(column, &param, None);
            if !description.is_empty() {
                keys.insert("description".into(), description.into());
            }
            conditions.push(format!("{} = {}", quoted(&column.name), bound(&param, column, self.dialect)));
            shown.push(format!("{} {{{param}}}", braced(&column.name)));
            params.push((param, keys));
        }
        let query = format!("{}\nWHERE {}", self.select(), conditions.join("\n  AND "));
        let message = format!("No row of {} with {}.", braced(&self.table.shown()), shown.join(", "));
        let entries =
            vec![Entry::new("shape", "row"), Entry::new("not_found", message), Entry::new("query", query)];
        let first = format!("Gets one row of {} by its primary key.", self.table.shown());
        self.tool(name, &first, params, entries)
    }

    fn tool(
        &self,
        name: String,
        first: &str,
        params: Vec<(String, Map<String, Value>)>,
        mut entries: Vec<Entry>,
    ) -> ToolDraft {
        let comment = self.table.comment.as_deref().map(str::trim).filter(|comment| !comment.is_empty());
        let description = comment.map_or_else(|| first.to_owned(), |comment| format!("{first} {comment}"));
        let is_json = |column: &&Column| column.base.to_ascii_uppercase().contains("JSON");
        let json: Vec<&str> = match self.dialect {
            Dialect::Sqlite => {
                self.table.columns.iter().filter(is_json).map(|column| column.name.as_str()).collect()
            }
            Dialect::Postgres => Vec::new(),
        };
        if !json.is_empty() {
            entries.insert(1, Entry::new("json", json!(json)));
        }
        if let Some(database) = self.database {
            entries.insert(0, Entry::new("database", database));
        }
        ToolDraft {
            notes: Vec::new(),
            name,
            title: None,
            description,
            read_only: true,
            annotations: Map::new(),
            input: InputDraft::Params(params),
            output_schema: None,
            handler: ("sql", entries),
        }
    }

    fn select(&self) -> String {
        let columns: Vec<String> = self.table.columns.iter().map(|column| quoted(&column.name)).collect();
        let (schema, name) = (quoted(&self.table.schema), quoted(&self.table.name));
        format!("SELECT {}\nFROM {schema}.{name}", columns.join(", "))
    }

    /// Pages need an order: that of the key, else that of every column that has one.
    fn order(&self) -> String {
        let key = self.key().unwrap_or_default();
        let has_order = |column: &&Column| Use::of(column, self.dialect) != Use::None;
        let columns: Vec<&Column> =
            if key.is_empty() { self.table.columns.iter().filter(has_order).collect() } else { key };
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        if names.is_empty() { String::new() } else { format!("\nORDER BY {}", names.join(", ")) }
    }
}

fn described(column: &Column, param: &str, meaning: Option<&str>) -> String {
    let comment = column.comment.as_deref().map(str::trim).filter(|comment| !comment.is_empty());
    let meaning = match meaning {
        Some(meaning) if param == column.name => Some(format!("{meaning}.")),
        Some(meaning) => Some(format!("{meaning}: the column {}.", column.name)),
        None => (param != column.name).then(|| format!("The column {}.", column.name)),
    };
    meaning.into_iter().chain(comment.map(str::to_owned)).collect::<Vec<_>>().join(" ")
}

/// A name in a template.
fn braced(name: &str) -> String {
    name.replace('{', "{{").replace('}', "}}")
}
