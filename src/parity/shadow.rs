//! Shadow: the response that a client got beside the candidate's response to a copy of the same call.
//!
//! Judged as parity judges: handshakes by what clients rely on, tool lists by the break table, anything else as JSON by
//! path; what only says how a response travelled, in which words it failed, or what the candidate has besides, is no
//! mismatch. Must not know how calls are copied.

pub mod mismatch_log;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::finding::Severity;
use super::normalize::normalize;
use super::render::safe;
use super::schema;
use crate::parity::results;
use crate::parity::results::{IgnoreRule, comparable};
use crate::wire::Method;

/// Mismatches of one pair of responses that have an entry of their own.
const MISMATCHES_MAX: usize = 20;

/// One place where the responses differ, with the same name in every element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where.
    pub path: String,
    /// What happened there, in a few words.
    pub change: &'static str,
    /// What stable has there.
    pub live: Option<String>,
    /// What the candidate has there.
    pub candidate: Option<String>,
}

/// Where the candidate's response differs from stable's. `again` is stable's response to the same call sent once more: what
/// differs from itself there is noise.
pub fn compare(
    method: Method,
    live: &Value,
    again: Option<&Value>,
    candidate: &Value,
    ignore: &[IgnoreRule],
) -> Vec<Mismatch> {
    let mut found = match (method, tools(live), tools(candidate)) {
        (Method::ToolsList, Some(was), Some(is)) => {
            let noise = again.and_then(tools).map(|again| differing_tools(&was, &again)).unwrap_or_default();
            let mut found = differing_tools(&was, &is);
            found.retain(|one| noise.iter().all(|noisy| noisy.path != one.path));
            found
        }
        _ => {
            let mut lives = vec![relevant(method, live)];
            lives.extend(again.map(|again| relevant(method, again)));
            let compared = results::compare(&lives, &[relevant(method, candidate)], ignore);
            compared
                .differences
                .into_iter()
                .filter(|one| one.kind != results::DifferenceKind::Added)
                .map(named)
                .collect()
        }
    };
    found.dedup_by(|one, other| one.path == other.path && one.change == other.change);
    found.truncate(MISMATCHES_MAX);
    found
}

fn named(difference: results::Difference) -> Mismatch {
    Mismatch {
        path: safe(&difference.path.generalized().to_string()),
        change: difference.kind.as_str(),
        live: difference.live.as_ref().map(shown),
        candidate: difference.candidate.as_ref().map(shown),
    }
}

/// What of a JSON-RPC response clients rely on.
fn relevant(method: Method, message: &Value) -> Value {
    let Some(result) = message.get("result") else {
        // The words of a refusal depend on the library.
        return json!({"error": {"code": message.pointer("/error/code")}});
    };
    if matches!(method, Method::Initialize | Method::Discover) {
        handshake(result)
    } else if result.get("isError") == Some(&Value::Bool(true)) {
        json!({"isError": true})
    } else {
        comparable(result)
    }
}

fn handshake(result: &Value) -> Value {
    let server =
        result.get("serverInfo").or_else(|| result.get("_meta")?.get("io.modelcontextprotocol/serverInfo"));
    json!({
        "serverInfo": {"name": server.and_then(|server| server.get("name"))},
        "instructions": result.get("instructions"),
        "capabilities": {"tools": result.pointer("/capabilities/tools").is_some()},
    })
}

/// A list of tools, by name; and whether it is the whole list.
struct Tools<'a> {
    by_name: BTreeMap<&'a str, Option<&'a Value>>,
    whole: bool,
}

fn tools(message: &Value) -> Option<Tools<'_>> {
    let result = message.get("result")?;
    let list = result.get("tools")?.as_array()?;
    let mut by_name = BTreeMap::new();
    for tool in list {
        by_name.insert(tool.get("name")?.as_str()?, tool.get("inputSchema"));
    }
    Some(Tools { by_name, whole: result.get("nextCursor").is_none_or(Value::is_null) })
}

fn differing_tools(was: &Tools<'_>, is: &Tools<'_>) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let place = |name: &str| format!("tools.{}", safe(name));
    let whole = |name: &str, change| Mismatch { path: place(name), change, live: None, candidate: None };
    for (name, schema) in &was.by_name {
        match is.by_name.get(name) {
            Some(other) => found.extend(differing_schemas(&place(name), *schema, *other)),
            // A page of a list says nothing about what is on the other pages.
            None if was.whole && is.whole => found.push(whole(name, "tool missing on the candidate")),
            None => {}
        }
    }
    if was.whole && is.whole {
        let added = is.by_name.keys().filter(|name| !was.by_name.contains_key(*name));
        found.extend(added.map(|name| whole(name, "tool only on the candidate")));
    }
    found
}

fn differing_schemas(place: &str, was: Option<&Value>, is: Option<&Value>) -> Vec<Mismatch> {
    let normal = |schema: Option<&Value>| {
        let schema = schema.cloned().unwrap_or_default();
        normalize(&schema).unwrap_or(schema)
    };
    let differences = schema::compare(&normal(was), &normal(is)).into_iter();
    differences
        .filter(|difference| difference.change.severity() == Severity::Break)
        .map(|difference| Mismatch {
            path: format!("{place}({})", safe(&difference.path)),
            change: difference.change.as_str(),
            live: difference.live.as_ref().map(shown),
            candidate: difference.candidate.as_ref().map(shown),
        })
        .collect()
}

/// A value for people: bounded, and unable to drive a terminal.
fn shown(value: &Value) -> String {
    safe(&value.to_string())
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
