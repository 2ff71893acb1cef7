//! What a server's responses show: the self-describing tools, the auth matrix, recorded calls, and how fast.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::surface::text_difference;
use crate::parity::expectations::{Expectations, RecordedCall};
use crate::parity::facts::{AuthFacts, Facts, HttpFacts, Observed, Pair, Timings};
use crate::parity::finding::{Finding, Severity, value_text};
use crate::parity::report::{Check, CheckId, Latency, Percentiles};
use crate::parity::results;
use crate::parity::results::{Comparison, DifferenceKind};
use crate::wire::bounded;
use crate::wire::declaration::Tool;

/// Check 5: the tool that returns the instructions returns those of the handshake, byte for byte.
pub(super) fn instructions_tool(pair: &Pair<'_>, expected: &Expectations) -> Check {
    let id = CheckId::InstructionsTool;
    let tool = &expected.instructions_tool;
    let made = |summary: String, findings| Check::made(id, Some(pair.era), summary, findings);
    match (&pair.live.instructions_tool, &pair.candidate.instructions_tool) {
        (Observed::Absent(_), Observed::Absent(_)) => {
            Check::skipped(id, Some(pair.era), format!("neither server has the tool `{tool}`"))
        }
        (Observed::Known(_) | Observed::Failed(_), Observed::Absent(why)) | (_, Observed::Failed(why)) => {
            let change = format!("the tool does not return the instructions: {why}");
            made("no text".to_owned(), vec![Finding::new(Severity::Break, change).about(tool)])
        }
        (live, Observed::Known(is)) => {
            let wanted = expected.instructions.as_ref().or(pair.candidate.handshake.instructions.as_ref());
            let mut findings = Vec::new();
            match wanted {
                Some(wanted) => findings.extend(text_difference(wanted, is).map(|found| found.about(tool))),
                None => findings.extend(live.known().and_then(|was| text_difference(was, is))),
            }
            if let Some(was) = live.known().filter(|was| *was != is && findings.is_empty()) {
                let found = text_difference(was, is).map(|found| Finding {
                    severity: Severity::Note,
                    change: "the live server's tool returns another text".to_owned(),
                    ..found
                });
                findings.extend(found.map(|found| found.about(tool)));
            }
            made(format!("{} bytes from `{tool}`", is.len()), findings)
        }
    }
}

/// Check 6: a client without rights does not pass, and `/health` needs no token.
pub(super) fn auth_matrix(observed: &Observed<AuthFacts>, expected: &Expectations) -> Check {
    let id = CheckId::AuthMatrix;
    let facts = match observed {
        Observed::Known(facts) => facts,
        Observed::Absent(why) | Observed::Failed(why) => return Check::skipped(id, None, why),
    };
    let wrong = expected.wrong_token_status;
    let (mut findings, mut seen) = (Vec::new(), Vec::new());
    let mut judge = |asked: &str, wanted: u16, observed: &Observed<HttpFacts>| match observed {
        Observed::Known(http) => {
            seen.push(format!("{asked} {}", http.status));
            if http.status != wanted {
                let finding = Finding::new(Severity::Break, "another status than required").about(asked);
                let values = (Some(format!("{wanted} required")), Some(http.status.to_string()));
                findings.push(finding.values(values.0, values.1));
            }
        }
        Observed::Absent(why) => seen.push(format!("{asked} not asked ({why})")),
        Observed::Failed(why) => findings.push(Finding::new(Severity::Break, why).about(asked)),
    };
    judge("no token", 401, &facts.no_token);
    judge("wrong token", wrong, &facts.wrong_token);
    judge("GET", 405, &facts.get);
    judge("/health", 200, &facts.health);
    judge("unconfigured", 503, &facts.unconfigured);
    if let Observed::Known(http) = &facts.get
        && http.status == 405
        && http.allow.as_deref() != Some("POST")
    {
        let finding = Finding::new(Severity::Break, "Allow is not POST").about("GET");
        findings.push(finding.values(Some("POST".to_owned()), http.allow.clone()));
    }
    if let Observed::Known(http) = &facts.health
        && http.status == 200
        && !says_healthy(http.body.as_ref())
    {
        let finding =
            Finding::new(Severity::Break, "neither {\"status\":\"ok\"} nor {\"ok\":true}").about("/health");
        findings.push(finding.values(None, http.body.as_ref().map(|body| value_text(&body.to_string()))));
    }
    Check::made(id, None, seen.join(", "), findings)
}

/// Whether a health body says that all is well, in either of the two forms in use.
pub fn says_healthy(body: Option<&Value>) -> bool {
    body.is_some_and(|body| {
        body.get("status").and_then(Value::as_str) == Some("ok")
            || body.get("ok").and_then(Value::as_bool) == Some(true)
    })
}

/// Check 7: what a server says of its own tools is what it lists.
pub(super) fn self_description(pair: &Pair<'_>, expected: &Expectations) -> Check {
    let id = CheckId::SelfDescription;
    let tool = &expected.self_description;
    let listed = match (&pair.live.discoverer, &pair.candidate.discoverer) {
        (_, Observed::Known(listed)) => listed,
        (Observed::Absent(_), Observed::Absent(_)) => {
            return Check::skipped(id, Some(pair.era), format!("neither server has the tool `{tool}`"));
        }
        (_, Observed::Absent(why) | Observed::Failed(why)) => {
            let finding = Finding::new(Severity::Break, format!("no list of tools: {why}")).about(tool);
            return Check::made(id, Some(pair.era), "no list", vec![finding]);
        }
    };
    let Some(tools) = pair.candidate.tools.known() else {
        return Check::skipped(id, Some(pair.era), "the candidate's tools are not known");
    };
    let said: BTreeSet<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
    let real: BTreeSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut findings = Vec::new();
    for name in real.difference(&said) {
        let change = format!("in tools/list, but not named by {tool}");
        findings.push(Finding::new(Severity::Break, change).about(*name));
    }
    for name in said.difference(&real) {
        let change = format!("named by {tool}, but not in tools/list");
        findings.push(Finding::new(Severity::Break, change).about(*name));
    }
    let by_name: BTreeMap<&str, &Tool> = tools.iter().map(|tool| (tool.name.as_str(), tool)).collect();
    for listed in listed {
        let Some(said) = &listed.parameters else { continue };
        if let Some(declared) = by_name.get(listed.name.as_str()).map(|tool| parameters(tool)) {
            let said: BTreeSet<String> = said.iter().cloned().collect();
            if said != declared {
                let shown = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
                let finding =
                    Finding::new(Severity::Note, format!("{tool} names other parameters than the schema"));
                findings.push(finding.about(&listed.name).values(Some(shown(&declared)), Some(shown(&said))));
            }
        }
    }
    Check::made(id, Some(pair.era), format!("{} named, {} listed", said.len(), real.len()), findings)
}

fn parameters(tool: &Tool) -> BTreeSet<String> {
    let schema = tool.input_schema.as_ref().and_then(|schema| schema.value().ok());
    let properties = schema.as_ref().and_then(|schema| schema.get("properties"));
    properties.and_then(Value::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// The recorded calls, result by result.
pub(super) fn calls(pair: &Pair<'_>, expected: &Expectations) -> Check {
    let id = CheckId::Calls;
    if expected.calls.is_empty() {
        return Check::skipped(id, Some(pair.era), "no recorded calls given (--calls FILE)");
    }
    let (mut findings, mut compared, mut noisy) = (Vec::new(), 0, 0);
    for (position, call) in expected.calls.iter().enumerate() {
        match (pair.live.calls.get(position), pair.candidate.calls.get(position)) {
            (Some(Observed::Known(was)), Some(Observed::Known(is))) => {
                compared += 1;
                let (was, is) = (trees(was), trees(is));
                let comparison = results::compare(&was, &is, &call.ignore);
                noisy += usize::from(!comparison.noise.is_empty());
                call_findings(&mut findings, call, &comparison, failed_alike(&was, &is));
            }
            (was, is) => {
                for (side, observed) in [("live server", was), ("candidate", is)] {
                    let (severity, why) = match observed {
                        Some(Observed::Failed(why)) => (Severity::Break, why.as_str()),
                        Some(Observed::Absent(why)) => (Severity::Note, why.as_str()),
                        Some(Observed::Known(_)) => continue,
                        None => (Severity::Note, "not asked"),
                    };
                    findings.push(Finding::new(severity, format!("the {side}: {why}")).about(named(call)));
                }
            }
        }
    }
    let noise = if noisy == 0 { String::new() } else { format!(", {noisy} with unstable fields left out") };
    let summary = format!("{compared} of {} calls compared{noise}", expected.calls.len());
    Check::made(id, Some(pair.era), summary, findings)
}

/// Only while they are compared: their texts are far smaller.
fn trees(answers: &[Box<str>]) -> Vec<Value> {
    answers.iter().map(|answer| bounded::parse(answer.as_bytes()).unwrap_or_default()).collect()
}

fn named(call: &RecordedCall) -> String {
    call.tool.clone()
}

/// Both sides say `isError`: the words depend on the library.
fn failed_alike(was: &[Value], is: &[Value]) -> bool {
    let failed = |answers: &[Value]| {
        answers.first().is_some_and(|answer| answer.get("isError") == Some(&Value::Bool(true)))
    };
    failed(was) && failed(is)
}

fn call_findings(
    findings: &mut Vec<Finding>,
    call: &RecordedCall,
    comparison: &Comparison,
    failed_alike: bool,
) {
    for difference in &comparison.differences {
        let severity = match difference.kind {
            _ if failed_alike => Severity::Note,
            DifferenceKind::Added => Severity::Compatible,
            DifferenceKind::Missing
            | DifferenceKind::TypeDiffers
            | DifferenceKind::ValueDiffers
            | DifferenceKind::LengthDiffers
            | DifferenceKind::OrderDiffers
            | DifferenceKind::Unstable => Severity::Break,
        };
        let shown = |value: &Option<Value>| value.as_ref().map(|value| value_text(&value.to_string()));
        let finding = Finding::new(severity, difference.kind.as_str()).about(named(call));
        let values = (shown(&difference.live), shown(&difference.candidate));
        findings.push(finding.at(difference.path.to_string()).values(values.0, values.1));
    }
    if comparison.unlisted > 0 {
        let change = format!("{} more differences", comparison.unlisted);
        findings.push(Finding::new(Severity::Break, change).about(named(call)));
    }
    for path in &comparison.noise {
        let finding = Finding::new(Severity::Note, "unstable on the live server: not compared");
        findings.push(finding.about(named(call)).at(path.to_string()));
    }
}

/// Slower is a break only when it is by far, in proportion and in time: small differences are the machine's.
pub(super) fn latency(live: &Facts, candidate: &Facts, expected: &Expectations) -> Check {
    let table = latency_table(live, candidate);
    let mut findings = Vec::new();
    let mut compared = 0;
    for row in &table {
        let (Some(was), Some(is)) = (row.live, row.candidate) else { continue };
        compared += 1;
        let times = ratio(was.p50, is.p50);
        if times > expected.slowdown_max && is.p50.saturating_sub(was.p50) > expected.slowdown_floor {
            let shown = |time: Duration| format!("{:.1} ms", millis(time));
            let finding = Finding::new(Severity::Break, format!("{times:.1} times slower (p50)"));
            findings.push(finding.about(&row.question).values(Some(shown(was.p50)), Some(shown(is.p50))));
        }
    }
    if compared == 0 {
        return Check::skipped(CheckId::Latency, None, "nothing was timed on both servers");
    }
    let summary =
        format!("{compared} questions timed, at most {} times slower allowed", expected.slowdown_max);
    Check::made(CheckId::Latency, None, summary, findings)
}

/// Both servers' times, question by question.
pub(super) fn latency_table(live: &Facts, candidate: &Facts) -> Vec<Latency> {
    let row = |was: &Timings| {
        let is = candidate.timings.iter().find(|is| is.question == was.question);
        Latency {
            question: was.question.clone(),
            live: percentiles(was),
            candidate: is.and_then(percentiles),
        }
    };
    live.timings.iter().map(row).collect()
}

fn percentiles(timings: &Timings) -> Option<Percentiles> {
    let (p50, p95) = (timings.percentile(50)?, timings.percentile(95)?);
    Some(Percentiles { p50, p95, samples: timings.samples.len() })
}

/// A time in milliseconds, as a report shows it.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// How many times `was` fits into `is`.
pub(crate) fn ratio(was: Duration, is: Duration) -> f64 {
    is.as_secs_f64() / was.as_secs_f64().max(1e-6)
}
