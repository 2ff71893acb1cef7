//! Turns rows into a result of the declared shape.
//!
//! Must not know the statements that returned the rows.

use serde_json::{Map, Value, json};

use super::plan::{Role, SqlTool};
use super::values::Values;
use crate::catalogue::file::Shape;
use crate::database::Row;
use crate::handler::result::{Content, ToolResult};

pub(crate) fn shaped(tool: &SqlTool, rows: Vec<Vec<Row>>, values: &Values<'_>) -> ToolResult {
    let mut total = 0;
    let mut main = Vec::new();
    let mut sections = Map::new();
    let mut read = 0;
    for (query, rows) in tool.queries.iter().zip(rows) {
        match &query.role {
            Role::Require(_) | Role::Step => {}
            Role::Count => total = first_value(rows).as_u64().unwrap_or_default(),
            Role::Main(_) => {
                read += rows.len();
                main = rows;
            }
            Role::Section { name, shape } => {
                read += rows.len();
                sections.insert(name.clone(), part(*shape, rows));
            }
        }
    }
    let mut whole = match tool.shape {
        Shape::Rows => {
            let listed = main.into_iter().map(Value::Object).collect();
            return ToolResult::ok(Content::List(listed)).with_rows(read);
        }
        Shape::Value => return ToolResult::ok(Content::Value(first_value(main))).with_rows(read),
        Shape::Map => map(main),
        Shape::Row => main.into_iter().next().unwrap_or_default(),
        Shape::Sections => Map::new(),
        Shape::Page => page(tool, main, total, values),
    };
    whole.extend(sections);
    ToolResult::ok(Content::Value(Value::Object(whole))).with_rows(read)
}

fn page(tool: &SqlTool, rows: Vec<Row>, total: u64, values: &Values<'_>) -> Row {
    let seen = values.offset.saturating_add(rows.len());
    let has_more = u64::try_from(seen).is_ok_and(|seen| seen < total);
    let next = tool.cursor.as_ref().map(|cursor| {
        let last = rows.last().filter(|_| has_more).and_then(|row| row.get(&cursor.column));
        (cursor.name.clone(), last.cloned().unwrap_or_default())
    });
    let mut page = Map::new();
    page.insert("items".into(), rows.into_iter().map(Value::Object).collect());
    page.insert("total_count".into(), json!(total));
    page.insert("has_more".into(), json!(has_more));
    page.extend(next);
    page
}

fn part(shape: Shape, rows: Vec<Row>) -> Value {
    match shape {
        Shape::Rows | Shape::Page | Shape::Sections => rows.into_iter().map(Value::Object).collect(),
        Shape::Row => rows.into_iter().next().map_or(Value::Null, Value::Object),
        Shape::Value => first_value(rows),
        Shape::Map => Value::Object(map(rows)),
    }
}

fn first_value(rows: Vec<Row>) -> Value {
    let row = rows.into_iter().next().unwrap_or_default();
    row.into_iter().next().map_or(Value::Null, |(_, value)| value)
}

/// The first column names, the second is the value.
fn map(rows: Vec<Row>) -> Row {
    let pairs = rows.into_iter().filter_map(|row| {
        let mut values = row.into_iter().map(|(_, value)| value);
        let key = match values.next()? {
            Value::String(text) => text,
            Value::Null => "unknown".to_owned(),
            key @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => key.to_string(),
        };
        Some((key, values.next()?))
    });
    pairs.collect()
}
