//! Turns rows into a result of the declared shape.
//!
//! Must not know the statements that returned the rows.

use indexmap::IndexMap;

use super::plan::{Role, SqlTool};
use super::values::Values;
use crate::catalogue::file::Shape;
use crate::database::{Row, Rows};
use crate::handler::result::{Content, ToolResult};
use crate::json::Json;

/// A JSON object under construction. A later value of a name replaces the earlier one in its place.
type Object = IndexMap<String, Json>;

pub(crate) fn shaped(tool: &SqlTool, results: Vec<Rows>, values: &Values<'_>) -> ToolResult {
    let mut total = 0;
    let mut main = Vec::new();
    let mut sections = Object::new();
    let mut read = 0;
    for (query, Rows { rows, .. }) in tool.queries.iter().zip(results) {
        match &query.role {
            Role::Require(_) | Role::Step => {}
            Role::Count => total = first_value(&rows).as_str().parse().unwrap_or_default(),
            Role::Main(_) => {
                read += rows.len();
                main = rows;
            }
            Role::Section { name, shape } => {
                read += rows.len();
                sections.insert(name.clone(), part(*shape, &rows));
            }
        }
    }
    let mut whole = match tool.shape {
        Shape::Rows => {
            let listed = main.iter().map(Row::to_json).collect();
            return ToolResult::ok(Content::JsonList(listed)).with_rows(read);
        }
        Shape::Value => return ToolResult::ok(Content::Json(first_value(&main))).with_rows(read),
        Shape::Map => map(&main),
        Shape::Row => main.first().map(object_of).unwrap_or_default(),
        Shape::Sections => Object::new(),
        Shape::Page => page(tool, &main, total, values),
    };
    whole.extend(sections);
    ToolResult::ok(Content::Json(written(&whole))).with_rows(read)
}

fn page(tool: &SqlTool, rows: &[Row], total: u64, values: &Values<'_>) -> Object {
    let seen = values.offset.saturating_add(rows.len());
    let has_more = u64::try_from(seen).is_ok_and(|seen| seen < total);
    let mut page = Object::new();
    page.insert("items".into(), listed(rows));
    page.insert("total_count".into(), Json::of(&total));
    page.insert("has_more".into(), Json::of(&has_more));
    if let Some(cursor) = &tool.cursor {
        let last = rows.last().filter(|_| has_more).and_then(|row| row.get(&cursor.column));
        page.insert(cursor.name.clone(), last.cloned().unwrap_or_else(Json::null));
    }
    page
}

fn part(shape: Shape, rows: &[Row]) -> Json {
    match shape {
        Shape::Rows | Shape::Page | Shape::Sections => listed(rows),
        Shape::Row => rows.first().map_or_else(Json::null, Row::to_json),
        Shape::Value => first_value(rows),
        Shape::Map => written(&map(rows)),
    }
}

fn object_of(row: &Row) -> Object {
    row.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn written(object: &Object) -> Json {
    Json::object(object.iter().map(|(name, value)| (name.as_str(), value)))
}

fn listed(rows: &[Row]) -> Json {
    let rows: Vec<Json> = rows.iter().map(Row::to_json).collect();
    Json::array(&rows)
}

fn first_value(rows: &[Row]) -> Json {
    let first = rows.first().and_then(|row| row.iter().next());
    first.map_or_else(Json::null, |(_, value)| value.clone())
}

/// The first column names, the second is the value.
fn map(rows: &[Row]) -> Object {
    let pairs = rows.iter().filter_map(|row| {
        let mut values = row.iter().map(|(_, value)| value);
        let key = values.next()?;
        let name = match (key.as_str(), key.string()) {
            (_, Some(text)) => text,
            ("null", None) => "unknown".to_owned(),
            (text, None) => text.to_owned(),
        };
        Some((name, values.next()?.clone()))
    });
    pairs.collect()
}
