//! Collects of one server all that parity compares, in both eras. A request without a response is a fact, not an error.
//!
//! Calls only tools that are declared read-only: the two self-describing ones and the recorded calls.

use serde_json::{Value, json};

use crate::client::Client;
use crate::client::Error;
use crate::client::{RpcResponse, Session};
use crate::parity::expectations::{Expectations, RecordedCall};
use crate::parity::facts::{EraFacts, Facts, Listed, Observed};
use crate::parity::results::comparable;
use crate::wire::declaration::Tool;
use crate::wire::{Era, bounded};

/// The responses to recorded calls that are kept of one server in one era.
const ANSWERS_BYTES_MAX: usize = 6 << 20;
/// Tools that a self-describing tool may name: more than a list may have.
const LISTED_MAX: usize = 20_000;

/// What is observed about the server in both eras. The auth matrix and the times are collected elsewhere.
pub(crate) async fn survey(client: &Client, expected: &Expectations) -> Facts {
    Facts {
        at: client.target().to_string(),
        legacy: era(client, Era::Legacy, expected).await,
        modern: era(client, Era::Modern, expected).await,
        auth: Observed::Absent("not asked".to_owned()),
        timings: Vec::new(),
    }
}

async fn era(client: &Client, era: Era, expected: &Expectations) -> Observed<EraFacts> {
    let opened = match era {
        Era::Legacy => Session::legacy(client).await,
        Era::Modern => Session::modern(client).await,
    };
    match opened {
        Ok(session) => {
            let facts = era_facts(&session, expected).await;
            session.close().await;
            Observed::Known(facts)
        }
        Err(error) if says_not_spoken(&error) => Observed::Absent(error.to_string()),
        Err(error) => Observed::Failed(error.to_string()),
    }
}

/// Whether the server understood the request and does not speak this era; anything else is a failure to respond.
fn says_not_spoken(error: &Error) -> bool {
    match error {
        Error::Rpc { code, status, .. } => *code != -32603 && *status < 500,
        Error::Status { status, .. } => (400..500).contains(status) && ![401, 403, 408, 429].contains(status),
        Error::Connect { .. }
        | Error::ConnectTimeout { .. }
        | Error::Authorities { .. }
        | Error::Timeout { .. }
        | Error::Broken { .. }
        | Error::Request { .. }
        | Error::TooLarge { .. }
        | Error::TooHeavy { .. }
        | Error::TooMany { .. }
        | Error::NotRpc { .. }
        | Error::Shape { .. }
        | Error::Pages { .. } => false,
    }
}

async fn era_facts(session: &Session<'_>, expected: &Expectations) -> EraFacts {
    let tools = listed(session).await;
    let relisted = listed(session).await;
    let known = tools.known().map(Vec::as_slice).unwrap_or_default();
    let instructions_tool = match text_of(session, known, &expected.instructions_tool).await {
        Observed::Known(blocks) => Observed::Known(blocks.concat()),
        Observed::Absent(why) => Observed::Absent(why),
        Observed::Failed(why) => Observed::Failed(why),
    };
    let discoverer = match text_of(session, known, &expected.self_description).await {
        Observed::Known(blocks) => described(&blocks),
        Observed::Absent(why) => Observed::Absent(why),
        Observed::Failed(why) => Observed::Failed(why),
    };
    let (mut calls, mut room) = (Vec::with_capacity(expected.calls.len()), ANSWERS_BYTES_MAX);
    for call in &expected.calls {
        calls.push(recorded(session, known, call, &mut room).await);
    }
    let handshake = session.handshake.clone();
    EraFacts { handshake, tools, relisted, instructions_tool, discoverer, calls }
}

async fn listed(session: &Session<'_>) -> Observed<Vec<Tool>> {
    match session.list_tools().await {
        Ok((tools, _)) => Observed::Known(tools),
        Err(error) => Observed::Failed(error.to_string()),
    }
}

/// The text blocks that a tool without arguments returns.
async fn text_of(session: &Session<'_>, tools: &[Tool], name: &str) -> Observed<Vec<String>> {
    if !tools.iter().any(|tool| tool.name == name) {
        return Observed::Absent("the tool is not listed".to_owned());
    }
    let answered = match session.call_tool(name, &json!({})).await {
        Ok(answered) => answered,
        Err(error) => return Observed::Failed(error.to_string()),
    };
    match session.result_of(name, answered) {
        Err(error) => Observed::Failed(error.to_string()),
        Ok(result) if result.get("isError") == Some(&Value::Bool(true)) => {
            Observed::Failed(format!("the tool reports an error: {}", text_blocks(&result).concat()))
        }
        Ok(result) => Observed::Known(text_blocks(&result)),
    }
}

fn text_blocks(result: &Value) -> Vec<String> {
    let blocks = result.get("content").and_then(Value::as_array).into_iter().flatten();
    blocks.filter_map(|block| block.get("text")?.as_str().map(str::to_owned)).collect()
}

/// The tools named in the blocks: one object a block, a list of objects, or a list inside an object.
fn described(blocks: &[String]) -> Observed<Vec<Listed>> {
    let mut found = Vec::new();
    for block in blocks {
        if let Ok(value) = bounded::parse(block.as_bytes()) {
            collect(&mut found, &value);
        }
    }
    if found.is_empty() {
        Observed::Failed("no tool is named in its answer".to_owned())
    } else {
        Observed::Known(found)
    }
}

fn collect(found: &mut Vec<Listed>, value: &Value) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| collect_object(found, value)),
        Value::Object(_) => collect_object(found, value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn collect_object(found: &mut Vec<Listed>, value: &Value) {
    if found.len() >= LISTED_MAX {
        return;
    }
    if let Some(name) = value.get("name").and_then(Value::as_str) {
        let parameters = value
            .get("parameters")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(|parameter| parameter.as_str().map(str::to_owned)).collect());
        found.push(Listed { name: name.to_owned(), parameters });
        return;
    }
    for key in ["tools", "items", "result"] {
        for inner in value.get(key).and_then(Value::as_array).into_iter().flatten() {
            if inner.get("name").is_some() {
                collect_object(found, inner);
            }
        }
    }
}

/// A recorded call, made twice to separate noise from differences.
async fn recorded(
    session: &Session<'_>,
    tools: &[Tool],
    call: &RecordedCall,
    room: &mut usize,
) -> Observed<Vec<Box<str>>> {
    let Some(tool) = tools.iter().find(|tool| tool.name == call.tool) else {
        return Observed::Absent("the tool is not listed".to_owned());
    };
    let annotations = tool.annotations.as_ref().and_then(|annotations| annotations.value().ok());
    if annotations.is_some_and(|annotations| annotations.get("readOnlyHint") == Some(&Value::Bool(false))) {
        return Observed::Absent("not called: the server declares that the tool writes".to_owned());
    }
    let mut answers = Vec::with_capacity(2);
    for _ in 0..2 {
        let answered = match session.call_tool(&call.tool, &call.arguments).await {
            Ok(answered) => answered,
            Err(error) => return Observed::Failed(error.to_string()),
        };
        let answer = match answered.answer {
            RpcResponse::Result(result) => comparable(&result).to_string(),
            RpcResponse::Error { code, message } => {
                json!({"error": {"code": code, "message": message}}).to_string()
            }
        };
        let Some(left) = room.checked_sub(answer.len()) else {
            let why = format!("the answers so far and this one have more than {ANSWERS_BYTES_MAX} bytes");
            return Observed::Failed(why);
        };
        *room = left;
        answers.push(answer.into());
    }
    Observed::Known(answers)
}
