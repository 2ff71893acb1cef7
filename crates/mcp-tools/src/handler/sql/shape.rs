//! Turns rows into a result of the declared shape.
//!
//! Must not know the statements that returned the rows.

use indexmap::IndexMap;

use super::plan::{Role, SqlTool};
use super::values::Values;
use crate::catalogue::RESULT;
use crate::catalogue::file::Shape;
use crate::database::{Row, Rows};
use crate::handler::result::{Content, Notice, ToolResult};
use crate::json::Json;

/// A JSON object under construction. A later value of a name replaces the earlier one in its place.
type Object = IndexMap<String, Json>;

pub(crate) fn shaped(tool: &SqlTool, results: Vec<Rows>, values: &Values<'_>) -> ToolResult {
    let mut total = None;
    let mut main = Rows::default();
    let mut sections = Object::new();
    let mut read = 0;
    let mut notices = Notices::default();
    for (query, rows) in tool.queries.iter().zip(results) {
        match &query.role {
            Role::Require(_) | Role::Step => {}
            Role::Count => total = Some(first_value(&rows.rows).as_str().parse().unwrap_or_default()),
            Role::Main(_) => {
                notices.note(None, tool.shape, query.rows_max, &rows);
                read += rows.rows.len();
                main = rows;
            }
            Role::Section { name, shape } => {
                notices.note(Some(name), *shape, query.rows_max, &rows);
                read += rows.rows.len();
                sections.insert(name.clone(), part(*shape, &rows));
            }
        }
    }
    let content = match tool.shape {
        Shape::Rows => match main.affected {
            Some(affected) => Content::Json(written(&changed(affected))),
            None => Content::Rows(main.rows),
        },
        Shape::Value => Content::Json(value(&main)),
        Shape::Map | Shape::Row | Shape::Sections | Shape::Page => {
            let mut whole = match (tool.shape, main.affected) {
                (Shape::Page, _) => page(tool, main.rows, total, values),
                (_, Some(affected)) => changed(affected),
                (Shape::Map, None) => map(&main.rows),
                (_, None) => main.rows.first().map(object_of).unwrap_or_default(),
            };
            whole.extend(sections);
            Content::Json(written(&whole))
        }
    };
    ToolResult { notices: notices.0, ..ToolResult::ok(content).with_rows(read) }
}

/// What a result does not show.
#[derive(Default)]
struct Notices(Vec<Notice>);

impl Notices {
    fn note(&mut self, section: Option<&str>, shape: Shape, rows_max: usize, rows: &Rows) {
        let (of, place) = match section {
            Some(name) => (format!("{name}: "), name),
            None => (String::new(), RESULT),
        };
        let is_list = match shape {
            Shape::Rows | Shape::Map => true,
            // A page says itself that there is more, and the others are declared to be one row.
            Shape::Page | Shape::Row | Shape::Value | Shape::Sections => false,
        };
        if is_list && rows.cut {
            let text = format!(
                "{of}only the first {rows_max} rows are shown, and there are more; narrow the arguments to see the rest"
            );
            self.0.push(Notice { key: "cut", place: place.to_owned(), text });
        }
        if shape == Shape::Map && map(&rows.rows).len() < rows.rows.len() {
            let text = format!("{of}some rows have the same key; the last of them is shown");
            self.0.push(Notice { key: "replaced", place: place.to_owned(), text });
        }
    }
}

fn page(tool: &SqlTool, mut rows: Vec<Row>, total: Option<u64>, values: &Values<'_>) -> Object {
    let has_more = match total {
        Some(total) => {
            let seen = values.offset.saturating_add(rows.len());
            u64::try_from(seen).is_ok_and(|seen| seen < total)
        }
        None => rows.len() > values.limit,
    };
    rows.truncate(values.limit);
    let mut page = Object::new();
    page.insert("items".into(), listed(&rows));
    if let Some(total) = total {
        page.insert("total_count".into(), Json::of(&total));
    }
    page.insert("has_more".into(), Json::of(&has_more));
    if let Some(cursor) = &tool.cursor {
        let last = rows.last().filter(|_| has_more).and_then(|row| row.get(&cursor.column));
        page.insert(cursor.name.clone(), last.unwrap_or_else(Json::null));
    }
    page
}

/// The result of a statement without columns.
fn changed(affected: u64) -> Object {
    Object::from([("affected".to_owned(), Json::of(&affected))])
}

fn value(rows: &Rows) -> Json {
    rows.affected.map_or_else(|| first_value(&rows.rows), |affected| Json::of(&affected))
}

fn part(shape: Shape, rows: &Rows) -> Json {
    match (shape, rows.affected) {
        (Shape::Value, _) => value(rows),
        (_, Some(affected)) => written(&changed(affected)),
        (Shape::Rows | Shape::Page | Shape::Sections, None) => listed(&rows.rows),
        (Shape::Row, None) => rows.rows.first().map_or_else(Json::null, Row::to_json),
        (Shape::Map, None) => written(&map(&rows.rows)),
    }
}

fn object_of(row: &Row) -> Object {
    row.iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
    first.map_or_else(Json::null, |(_, value)| value)
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
        Some((name, values.next()?))
    });
    pairs.collect()
}
