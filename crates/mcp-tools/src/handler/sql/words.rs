//! What a caller is told when a database did not accept its values.
//!
//! Names of constraints, columns and types, never a value of a row. Must not know which database it is.

use super::plan::SqlTool;
use super::values::Values;
use crate::database::{CallerFault, CallerFaultKind, Dialect};

/// The tool's own text for a fault, else ours.
pub(super) fn of_fault(fault: &CallerFault, tool: &SqlTool, values: &Values<'_>) -> String {
    if let Some(text) = keys(fault).iter().find_map(|key| tool.options.errors.get(key)) {
        return values.filled(text);
    }
    if let (true, CallerFaultKind::Raised, Some(message)) =
        (tool.options.tell_reason, fault.kind, &fault.message)
    {
        return message.clone();
    }
    match parameters(fault, tool).as_slice() {
        [] => fault.to_string(),
        [only] => format!("{fault}; see the argument {only}"),
        several => format!("{fault}; see the arguments {}", several.join(", ")),
    }
}

/// The keys of `[tool.sql.errors]` that fit, the most specific first. SQLite names no unique constraint but its columns.
fn keys(fault: &CallerFault) -> Vec<String> {
    // The same column can lack a value: that is another fault.
    let column = fault.column.as_deref().filter(|_| fault.kind == CallerFaultKind::Unique);
    let columns = column.map(|column| match &fault.table {
        Some(table) => format!("{table}.{column}"),
        None => column.to_owned(),
    });
    fault.constraint.iter().cloned().chain(columns).chain([fault.code.clone()]).collect()
}

/// The parameter whose value could not be read, else those that have the name of a column of the fault.
fn parameters<'a>(fault: &'a CallerFault, tool: &'a SqlTool) -> Vec<&'a str> {
    let query = fault.statement.and_then(|index| tool.queries.get(index));
    let rendered = query.and_then(|query| query.rendered(Dialect::Postgres).ok());
    if let (Some(rendered), Some(number)) = (rendered, fault.parameter) {
        let name = number.checked_sub(1).and_then(|place| rendered.names.get(place));
        return name.map(String::as_str).filter(|name| tool.values.has_param(name)).into_iter().collect();
    }
    let columns = fault.column.as_deref().unwrap_or_default().split(',').map(str::trim);
    columns.filter(|column| tool.values.has_param(column)).collect()
}
