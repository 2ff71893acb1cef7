//! What a server shows before any tool is called: its name, its instructions, its tools and their schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::parity::expectations::Expectations;
use crate::parity::facts::{Observed, Pair};
use crate::parity::finding::{Finding, Severity, value_text};
use crate::parity::normalize::{Work, normalize_within};
use crate::parity::report::{Check, CheckId};
use crate::parity::schema;
use crate::wire::declaration::{Declared, Tool};

/// How much of a text around its first difference is shown.
const CONTEXT_BYTES: usize = 24;

/// Check 1: the same names on both sides, each once.
pub(super) fn tool_names(pair: &Pair<'_>) -> Check {
    let id = CheckId::ToolNames;
    let (live, candidate) = match both(id, pair) {
        Ok(tools) => tools,
        Err(check) => return *check,
    };
    let names = |tools: &[Tool]| -> BTreeSet<String> { tools.iter().map(|tool| tool.name.clone()).collect() };
    let (was, is) = (names(live), names(candidate));
    let mut findings = Vec::new();
    for name in was.difference(&is) {
        findings.push(Finding::new(Severity::Break, "tool missing on the candidate").about(name));
    }
    for name in is.difference(&was) {
        findings.push(Finding::new(Severity::Break, "tool only on the candidate").about(name));
    }
    for (tools, side) in [(live, "live server"), (candidate, "candidate")] {
        findings.extend(repeated(tools).into_iter().map(|name| {
            Finding::new(Severity::Break, format!("tool listed twice by the {side}")).about(name)
        }));
    }
    let order = |tools: &[Tool]| -> Vec<String> { tools.iter().map(|tool| tool.name.clone()).collect() };
    if was == is && order(live) != order(candidate) {
        findings.push(Finding::new(Severity::Note, "the order of the tools differs"));
    }
    if let (Some(listed), Observed::Known(relisted)) =
        (pair.candidate.tools.known(), &pair.candidate.relisted)
        && listed != relisted
    {
        let change = "tools/list is unstable on the candidate: asked twice, it answers differently";
        findings.push(Finding::new(Severity::Break, change));
    }
    let summary =
        if was == is { format!("{} on both", was.len()) } else { format!("{} and {}", was.len(), is.len()) };
    Check::made(id, Some(pair.era), summary, findings)
}

/// Check 2: every shared tool takes the same arguments.
pub(super) fn schemas(pair: &Pair<'_>) -> Check {
    let id = CheckId::Schemas;
    let (live, candidate) = match both(id, pair) {
        Ok(tools) => tools,
        Err(check) => return *check,
    };
    let by_name: BTreeMap<&str, &Tool> = candidate.iter().map(|tool| (tool.name.as_str(), tool)).collect();
    let mut findings = Vec::new();
    // One side must not use up the work that the other's schemas need.
    let mut works = [Work::default(), Work::default()];
    let mut shared = 0;
    for was in live {
        if let Some(is) = by_name.get(was.name.as_str()) {
            shared += 1;
            input_schemas(&mut findings, &mut works, was, is);
            descriptions(&mut findings, &mut works, was, is);
        }
    }
    let breaks = findings.iter().filter(|finding| finding.severity == Severity::Break).count();
    let summary = match breaks {
        0 => format!("{shared} shared tools take the same arguments"),
        breaks => format!("{breaks} breaks in {shared} shared tools"),
    };
    Check::made(id, Some(pair.era), summary, findings)
}

fn input_schemas(findings: &mut Vec<Finding>, works: &mut [Work; 2], was: &Tool, is: &Tool) {
    let (live, candidate) = match (&was.input_schema, &is.input_schema) {
        (Some(live), Some(candidate)) => (live, candidate),
        (None, None) => return,
        (live, candidate) => {
            let side = if candidate.is_none() { "candidate" } else { "live server" };
            let finding = Finding::new(Severity::Break, format!("inputSchema missing on the {side}"));
            let shown = |schema: &Option<Declared>| schema.as_ref().map(|schema| value_text(schema.text()));
            findings.push(finding.about(&was.name).values(shown(live), shown(candidate)));
            return;
        }
    };
    if live.text() == candidate.text() {
        return;
    }
    let [live_work, candidate_work] = works;
    let (live, candidate) = match (normal(live, live_work), normal(candidate, candidate_work)) {
        (Ok(live), Ok(candidate)) => (live, candidate),
        (Err(error), _) | (_, Err(error)) => {
            findings
                .push(Finding::new(Severity::Break, format!("cannot be compared: {error}")).about(&was.name));
            return;
        }
    };
    for difference in schema::compare(&live, &candidate) {
        let shown = |value: &Option<Value>| value.as_ref().map(|value| value_text(&value.to_string()));
        let finding = Finding::new(difference.change.severity(), difference.change.as_str());
        let values = (shown(&difference.live), shown(&difference.candidate));
        findings.push(finding.about(&was.name).at(difference.path).values(values.0, values.1));
    }
}

/// The normal form of a schema, or why it has none.
fn normal(schema: &Declared, work: &mut Work) -> Result<Value, String> {
    let value = schema.value().map_err(|error| format!("the schema: {error}"))?;
    normalize_within(&value, work).map_err(|error| error.to_string())
}

/// What may drift without breaking a call.
fn descriptions(findings: &mut Vec<Finding>, works: &mut [Work; 2], was: &Tool, is: &Tool) {
    let mut note = |what: &str, live: Option<String>, candidate: Option<String>| {
        if live != candidate {
            let finding = Finding::new(Severity::Note, format!("{what} differs"));
            let shown = |text: Option<String>| text.map(|text| value_text(&text));
            findings.push(finding.about(&was.name).values(shown(live), shown(candidate)));
        }
    };
    note("description", was.description.clone(), is.description.clone());
    let texts = |schema: &Option<Declared>| schema.as_ref().map(|schema| schema.text().to_owned());
    if texts(&was.output_schema) != texts(&is.output_schema) {
        let mut shown = |schema: &Option<Declared>, side: usize| {
            let schema = schema.as_ref()?;
            let normal = works.get_mut(side).map(|work| normal(schema, work));
            Some(
                normal.and_then(Result::ok).map_or_else(|| schema.text().to_owned(), |form| form.to_string()),
            )
        };
        let (live, candidate) = (shown(&was.output_schema, 0), shown(&is.output_schema, 1));
        note("outputSchema", live, candidate);
    }
    if was.annotations != is.annotations {
        note("annotations", texts(&was.annotations), texts(&is.annotations));
    }
}

/// Check 3: the name by which clients know the server.
pub(super) fn server_name(pair: &Pair<'_>, expected: &Expectations) -> Check {
    let (was, is) = (&pair.live.handshake, &pair.candidate.handshake);
    let wanted = expected.server_name.as_ref().or(was.server_name.as_ref());
    let mut findings = Vec::new();
    if is.server_name.as_ref() != wanted {
        let change = match (&is.server_name, &expected.server_name) {
            (None, _) => "serverInfo.name missing on the candidate",
            (Some(_), Some(_)) => "serverInfo.name is not the expected one",
            (Some(_), None) => "serverInfo.name differs",
        };
        findings.push(Finding::new(Severity::Break, change).values(wanted.cloned(), is.server_name.clone()));
    }
    capabilities(&mut findings, &was.capabilities, &is.capabilities);
    let shown = is.server_name.as_deref().unwrap_or("no name");
    Check::made(CheckId::ServerName, Some(pair.era), format!("`{shown}`"), findings)
}

/// A server may announce what it has nothing of (prompts, resources), so a lost announcement is only a note; but without
/// `tools` no client would list any.
fn capabilities(findings: &mut Vec<Finding>, was: &Value, is: &Value) {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let (was, is) = (names(was), names(is));
    for name in was.symmetric_difference(&is).filter(|name| *name != "experimental") {
        let lost = was.contains(name);
        let severity = if lost && name == "tools" { Severity::Break } else { Severity::Note };
        let change = if lost { "capability not announced by the candidate" } else { "capability gained" };
        findings.push(Finding::new(severity, change).about(name));
    }
}

/// Check 4: the instructions, byte for byte.
pub(super) fn instructions(pair: &Pair<'_>, expected: &Expectations) -> Check {
    let id = CheckId::Instructions;
    let (was, is) = (&pair.live.handshake.instructions, &pair.candidate.handshake.instructions);
    let (wanted, source) = match &expected.instructions {
        Some(text) => (Some(text), "the file"),
        None => (was.as_ref(), "live"),
    };
    match (wanted, is) {
        (None, None) => Check::skipped(id, Some(pair.era), "neither server has instructions"),
        (Some(wanted), Some(is)) => {
            let mut findings: Vec<Finding> = text_difference(wanted, is).into_iter().collect();
            if let Some(was) = was.as_ref().filter(|was| *was != wanted) {
                let change = "the live server's own instructions are not those of the file";
                findings.extend(text_difference(wanted, was).map(|found| Finding {
                    severity: Severity::Note,
                    change: change.to_owned(),
                    ..found
                }));
            }
            let equal =
                if findings.iter().any(|found| found.severity == Severity::Break) { "not " } else { "" };
            let summary = format!("{} bytes, {equal}equal to {source}", is.len());
            Check::made(id, Some(pair.era), summary, findings)
        }
        (wanted, is) => {
            let side = if is.is_none() { "missing on the candidate" } else { "only on the candidate" };
            let bytes = |text: &String| format!("{} bytes", text.len());
            let finding = Finding::new(Severity::Break, format!("instructions {side}"));
            let finding = finding.values(wanted.map(bytes), is.as_ref().map(bytes));
            Check::made(id, Some(pair.era), side, vec![finding])
        }
    }
}

/// The first byte at which two texts part, with what stands there.
pub(super) fn text_difference(wanted: &str, is: &str) -> Option<Finding> {
    if wanted == is {
        return None;
    }
    let at = wanted.bytes().zip(is.bytes()).take_while(|(one, two)| one == two).count();
    let line = wanted.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let shown = |text: &str| {
        let bytes = text.as_bytes();
        let around = &bytes[at.saturating_sub(CONTEXT_BYTES)..bytes.len().min(at + CONTEXT_BYTES)];
        format!("{} bytes: …{}…", bytes.len(), String::from_utf8_lossy(around))
    };
    let hint = if wanted.trim_end() == is.trim_end() { " (only white space at the end differs)" } else { "" };
    let finding = Finding::new(Severity::Break, format!("text differs{hint}"));
    Some(finding.at(format!("byte {at}, line {line}")).values(Some(shown(wanted)), Some(shown(is))))
}

/// Check 8: each client sees as many tools as it must.
pub(super) fn tool_counts(pair: &Pair<'_>, expected: &Expectations) -> Check {
    let id = CheckId::ToolCounts;
    if expected.counts.is_empty() {
        return Check::skipped(id, Some(pair.era), "no expected counts given (--expected-counts FILE)");
    }
    let Some(tools) = pair.candidate.tools.known() else {
        return Check::skipped(id, Some(pair.era), "the candidate's tools are not known");
    };
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for client in &expected.counts {
        let sees = |name: &str| client.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let count = tools.iter().filter(|tool| sees(&tool.name)).count();
        seen.push(format!("{} {count}", client.client));
        if count != client.count {
            let finding =
                Finding::new(Severity::Break, "the client sees another number of tools than expected");
            let values = (Some(format!("{} expected", client.count)), Some(count.to_string()));
            findings
                .push(finding.about(&client.client).at(client.prefixes.join(" ")).values(values.0, values.1));
        }
    }
    Check::made(id, Some(pair.era), seen.join(", "), findings)
}

/// The tools of both sides, or the check that says which side has none to show.
fn both<'a>(id: CheckId, pair: &Pair<'a>) -> Result<(&'a [Tool], &'a [Tool]), Box<Check>> {
    match (&pair.live.tools, &pair.candidate.tools) {
        (Observed::Known(live), Observed::Known(candidate)) => Ok((live, candidate)),
        (live, candidate) => {
            let mut findings = Vec::new();
            for (side, observed) in [("live server", live), ("candidate", candidate)] {
                let why = observed.why_not().map(|why| format!("the {side} does not list its tools: {why}"));
                findings.extend(why.map(|change| Finding::new(Severity::Break, change)));
            }
            Err(Box::new(Check::made(id, Some(pair.era), "the tools are not known", findings)))
        }
    }
}

fn repeated(tools: &[Tool]) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    tools.iter().map(|tool| tool.name.as_str()).filter(|name| !seen.insert(*name)).collect()
}
