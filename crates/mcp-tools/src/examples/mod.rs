//! Runs the examples that are written beside tools, and compares each result with what the example expects.
//!
//! Must not print: the command line does.

mod compare;

use std::time::{Duration, Instant};

use rmcp::model::CallToolResult;

use crate::catalogue::Example;
use crate::exact::Exact;
use crate::handler::{CallInfo, Caller, Context};
use crate::json::Json;
use crate::protocol::call_result::call_tool_result;
use crate::registry::{Registry, Tool};
use compare::difference;

/// How much of a result a failure shows.
const SHOWN_LETTERS_MAX: usize = 300;

/// What became of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExampleResult {
    Passed,
    /// Why not.
    Failed(String),
    /// Why it was not run.
    Skipped(&'static str),
}

/// One example that was run or skipped.
pub(crate) struct Finished<'a> {
    pub(crate) tool: &'a str,
    /// Its place among the examples of its tool, from one.
    pub(crate) place: usize,
    pub(crate) took: Duration,
    pub(crate) result: ExampleResult,
}

/// What happens to the changes that an example makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    Keep,
    Undo,
}

/// Runs every example in the order of declaration; `report` gets each as it ends.
pub(crate) async fn run<'a>(
    registry: &'a Registry,
    context: &Context,
    changes: Changes,
    mut report: impl FnMut(Finished<'a>),
) {
    for tool in registry.tools() {
        for (place, example) in tool.examples().iter().enumerate() {
            let begun = Instant::now();
            let result = run_one(registry, context, tool, example, changes).await;
            report(Finished { tool: tool.name(), place: place + 1, took: begun.elapsed(), result });
        }
    }
}

async fn run_one(
    registry: &Registry,
    context: &Context,
    tool: &Tool,
    example: &Example,
    changes: Changes,
) -> ExampleResult {
    let dry_run = changes == Changes::Undo && !tool.read_only();
    if dry_run && !tool.handler().can_be_undone() {
        return ExampleResult::Skipped("the tool acts outside of a database (hint: --write)");
    }
    let caller = Caller { client: example.client.clone(), subject: example.subject.clone() };
    let call = CallInfo { caller, dry_run, ..CallInfo::of_tool(tool.shared_name()) };
    let result = match tool.accept(example.arguments.clone()) {
        Ok(arguments) => tool.run(&arguments, context, &call, registry.self_description()).await,
        Err(refused) => refused,
    };
    let notices = result.notices.len();
    match misfit(example, &call_tool_result(result, tool.structured()), notices) {
        None => ExampleResult::Passed,
        Some(reason) => ExampleResult::Failed(reason),
    }
}

/// Why a result is not what the example expects. Its last blocks are `notices` that are no part of the value.
fn misfit(example: &Example, result: &CallToolResult, notices: usize) -> Option<String> {
    let texts: Vec<&str> =
        result.content.iter().filter_map(|block| Some(block.as_text()?.text.as_str())).collect();
    let is_error = result.is_error == Some(true);
    if is_error != example.is_error {
        let expected = if example.is_error { "an error" } else { "a result" };
        let got = if is_error { "an error" } else { "a result" };
        return Some(format!("expected {expected}, got {got}: {}", shown(&texts.join("\n"))));
    }
    if let Some(part) = &example.text
        && !texts.iter().any(|text| text.contains(part.as_str()))
    {
        return Some(format!("{part:?} is not in {}", shown(&texts.join("\n"))));
    }
    let Some(expected) = Exact::of(example.value.as_ref()?) else {
        return Some("what the example expects is nested too deeply".to_owned());
    };
    let structured = result.structured_content.as_ref().and_then(|value| Exact::of(&Json::of(value)));
    let got = structured.unwrap_or_else(|| {
        let end = if is_error { texts.len() } else { texts.len().saturating_sub(notices) };
        value_of(texts.get(..end).unwrap_or_default())
    });
    difference(&expected, &got)
}

/// The JSON of one block, or the list that several blocks are; a text that is no JSON is itself.
fn value_of(texts: &[&str]) -> Exact {
    let read = |text: &&str| {
        Json::parse(text).and_then(|json| Exact::of(&json)).unwrap_or_else(|| Exact::text(text))
    };
    match texts {
        [only] => read(only),
        several => Exact::List(several.iter().map(read).collect()),
    }
}

fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_LETTERS_MAX) {
        Some((end, _)) => format!("{} ...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
