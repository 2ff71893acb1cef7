//! Whether the columns of a statement are those that the declaration needs.
//!
//! Only a database knows the columns. Must not run anything.

use super::plan::{Query, Role, SqlTool};
use crate::catalogue::file::Shape;

/// What is wrong with the columns of `query`; nothing when they are unknown.
pub(super) fn misfits(tool: &SqlTool, query: &Query, columns: &[String]) -> Vec<String> {
    let mut reasons = Vec::new();
    if columns.is_empty() {
        return reasons;
    }
    let key = query.key();
    let has = |name: &str| columns.iter().any(|column| column == name);
    let shape = match &query.role {
        Role::Require(_) | Role::Step | Role::Count => return reasons,
        Role::Main(_) => tool.shape,
        Role::Section { shape, .. } => *shape,
    };
    if shape == Shape::Map && columns.len() != 2 {
        reasons.push(format!(
            "{key}: a map has two columns, its keys and their values; here are {}",
            columns.len()
        ));
    }
    if shape == Shape::Value && columns.len() != 1 {
        reasons.push(format!("{key}: a value is one column; here are {}", columns.len()));
    }
    for name in query.typed.json.iter().chain(&query.typed.boolean) {
        if !has(name) {
            reasons.push(format!("{key}: json and boolean: there is no column {name}"));
        }
    }
    if let Role::Main(_) = query.role {
        if let Some(cursor) = &tool.cursor
            && !has(&cursor.column)
        {
            reasons.push(format!("sql.cursor.column: there is no column {}", cursor.column));
        }
        let sections = tool.queries.iter().filter_map(|query| match &query.role {
            Role::Section { name, .. } => Some(name),
            Role::Require(_) | Role::Step | Role::Count | Role::Main(_) => None,
        });
        for name in sections.filter(|name| shape == Shape::Row && has(name)) {
            reasons.push(format!(
                "sql.section {name}: the row already has a column {name}; choose another name"
            ));
        }
    }
    reasons
}
