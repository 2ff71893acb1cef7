//! The checks on whole servers: equal ones pass without a finding; each seeded difference is found, in its check, by name.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::accept::Acceptance;
use super::super::expectations::{ExpectedCount, RecordedCall};
use super::super::facts::{AuthFacts, HttpFacts, Listed, Timings};
use super::super::render;
use super::super::report::CheckStatus;
use super::*;
use crate::wire::declaration::{Declared, Handshake, Tool};

fn tool(name: &str, schema: Value) -> Tool {
    let declared = json!({"name": name, "description": format!("About {name}."), "inputSchema": schema});
    Tool::read(declared.to_string().as_bytes()).expect("it has a name")
}

fn tools() -> Vec<Tool> {
    let text = |title: &str| json!({"default": null, "title": title, "type": "string"});
    vec![
        tool("get_server_instructions", json!({"type": "object", "properties": {}})),
        tool("swf_list_available_tools", json!({"type": "object", "properties": {}})),
        tool(
            "swf_list_logs",
            json!({"type": "object", "properties": {"level": {"enum": ["info", "error"]}, "app": text("App")}}),
        ),
        tool(
            "panda_get_job",
            json!({"type": "object", "properties": {"id": {"type": "integer"}, "limit": {"type": "integer",
                "default": 200, "maximum": 500}}, "required": ["id"]}),
        ),
    ]
}

fn era() -> EraFacts {
    let listed = tools().iter().map(|tool| Listed { name: tool.name.clone(), parameters: None }).collect();
    let answer = json!({"content": [{"type": "text", "text": "{\"n\": 1}"}], "isError": false});
    let answer: Box<str> = answer.to_string().into();
    EraFacts {
        handshake: Handshake {
            protocol_version: "2025-11-25".to_owned(),
            supported_versions: vec!["2025-11-25".to_owned()],
            server_name: Some("swf-testbed".to_owned()),
            server_version: Some("1.0".to_owned()),
            instructions: Some("Ask → answer.\nDo not sleep.".to_owned()),
            capabilities: json!({"tools": {}}),
        },
        tools: Observed::Known(tools()),
        relisted: Observed::Known(tools()),
        instructions_tool: Observed::Known("Ask → answer.\nDo not sleep.".to_owned()),
        discoverer: Observed::Known(listed),
        calls: vec![Observed::Known(vec![answer.clone(), answer])],
    }
}

fn http(status: u16) -> Observed<HttpFacts> {
    let body = if status == 200 { json!({"status": "ok"}) } else { json!({"error": "x"}) };
    Observed::Known(HttpFacts { status, allow: Some("POST".to_owned()), body: Some(body) })
}

fn server() -> Facts {
    let timing = |question: &str| Timings {
        question: question.to_owned(),
        samples: (0..5).map(|step| Duration::from_millis(10 + step)).collect(),
    };
    Facts {
        at: "http://127.0.0.1:1/".to_owned(),
        legacy: Observed::Known(era()),
        modern: Observed::Known(era()),
        auth: Observed::Known(AuthFacts {
            no_token: http(401),
            wrong_token: http(403),
            get: http(405),
            health: http(200),
            unconfigured: http(503),
        }),
        timings: vec![timing("initialize"), timing("tools/list")],
    }
}

fn expectations() -> Expectations {
    let recorded =
        RecordedCall { tool: "panda_get_job".to_owned(), arguments: json!({"id": 1}), ignore: vec![] };
    let count = |client: &str, prefix: &str, count| ExpectedCount {
        client: client.to_owned(),
        prefixes: vec![prefix.to_owned()],
        count,
    };
    Expectations {
        server_name: Some("swf-testbed".to_owned()),
        counts: vec![count("panda-bot", "panda_", 1), count("testbed-bot", "swf_", 2)],
        calls: vec![recorded],
        ..Expectations::default()
    }
}

/// Seeds one difference in the candidate's legacy era; it must be found by this check, in these words, and nothing else
/// must be found that is not a consequence in the same or the named other checks.
#[track_caller]
fn seed(change: impl FnOnce(&mut EraFacts), id: CheckId, words: &str, severity: Severity) {
    let mut candidate = server();
    let Observed::Known(facts) = &mut candidate.legacy else { panic!("the era is known") };
    change(facts);
    found(&candidate, id, words, severity);
}

#[track_caller]
fn found(candidate: &Facts, id: CheckId, words: &str, severity: Severity) {
    let report = judge(&server(), candidate, &expectations());
    let text = render::text(&report, true);
    let hit = report.findings().any(|(check, finding)| {
        check.id == id && finding.severity == severity && format!("{finding:?}").contains(words)
    });
    assert!(hit, "`{words}` is not found:\n{text}");
    assert_eq!(report.passed(), severity != Severity::Break, "{text}");
}

fn change_tool(facts: &mut EraFacts, name: &str, change: impl Fn(&mut Tool)) {
    for tools in [&mut facts.tools, &mut facts.relisted] {
        let Observed::Known(tools) = tools else { panic!("the tools are known") };
        change(tools.iter_mut().find(|tool| tool.name == name).expect("the tool exists"));
    }
}

fn change_schema(facts: &mut EraFacts, name: &str, pointer: &str, value: &Value) {
    change_tool(facts, name, |tool| {
        let mut schema = tool.input_schema.as_ref().expect("it has a schema").value().expect("it is JSON");
        *schema.pointer_mut(pointer).expect("the place exists") = value.clone();
        tool.input_schema = Some(Declared::from(&schema));
    });
}

fn change_list(facts: &mut EraFacts, change: impl Fn(&mut Vec<Tool>)) {
    for tools in [&mut facts.tools, &mut facts.relisted] {
        let Observed::Known(tools) = tools else { panic!("the tools are known") };
        change(tools);
    }
}

#[test]
fn equal_servers_pass_without_a_finding() {
    let report = judge(&server(), &server(), &expectations());
    assert_eq!(report.findings().count(), 0, "{}", render::text(&report, true));
    assert_eq!((report.count(CheckStatus::Fail), report.count(CheckStatus::Skip)), (0, 0));
}

#[test]
fn differences_in_the_tool_set_are_found() {
    let broken = Severity::Break;
    let drop = |facts: &mut EraFacts| change_list(facts, |tools| tools.truncate(3));
    seed(drop, CheckId::ToolNames, "tool missing on the candidate", broken);
    seed(drop, CheckId::ToolCounts, "another number of tools", broken);
    seed(drop, CheckId::SelfDescription, "not in tools/list", broken);
    seed(
        |facts| change_list(facts, |tools| tools.push(tool("new", json!({})))),
        CheckId::ToolNames,
        "only on",
        broken,
    );
    seed(
        |facts| change_list(facts, |tools| tools.push(tools[0].clone())),
        CheckId::ToolNames,
        "listed twice",
        broken,
    );
    seed(
        |facts| change_list(facts, |tools| tools.swap(0, 1)),
        CheckId::ToolNames,
        "order of the tools",
        Severity::Note,
    );
    seed(
        |facts| facts.tools = Observed::Failed("HTTP 502".to_owned()),
        CheckId::ToolNames,
        "HTTP 502",
        broken,
    );
    let unstable = |facts: &mut EraFacts| facts.relisted = Observed::Known(tools()[1..].to_vec());
    seed(unstable, CheckId::ToolNames, "unstable", broken);
}

#[test]
fn differences_in_the_arguments_are_found() {
    let broken = Severity::Break;
    let job = |pointer: &'static str, value: Value| {
        move |facts: &mut EraFacts| change_schema(facts, "panda_get_job", pointer, &value)
    };
    let logs = |pointer: &'static str, value: Value| {
        move |facts: &mut EraFacts| change_schema(facts, "swf_list_logs", pointer, &value)
    };
    let id = CheckId::Schemas;
    seed(job("/properties/id/type", json!("string")), id, "type changed", broken);
    seed(job("/properties/limit/default", json!(100)), id, "default changed", broken);
    seed(job("/properties/limit/maximum", json!(50)), id, "bound tightened", broken);
    seed(job("/properties/limit/maximum", json!(5_000)), id, "bound loosened", Severity::Compatible);
    seed(job("/required", json!(["id", "limit"])), id, "became required", broken);
    seed(job("/required", json!([])), id, "became optional", Severity::Compatible);
    seed(job("/required", json!(["id", "token"])), id, "required parameter added", broken);
    seed(job("/properties", json!({"id": {"type": "integer"}})), id, "parameter removed", broken);
    seed(logs("/properties/level/enum", json!(["info"])), id, "enum narrowed", broken);
    seed(
        logs("/properties/level/enum", json!(["info", "error", "warn"])),
        id,
        "enum widened",
        Severity::Compatible,
    );
    seed(logs("/properties/app", json!({"type": "array"})), id, "type changed", broken);
    let no_schema =
        |facts: &mut EraFacts| change_tool(facts, "panda_get_job", |tool| tool.input_schema = None);
    seed(no_schema, id, "inputSchema missing", broken);
    let described =
        |facts: &mut EraFacts| change_tool(facts, "panda_get_job", |tool| tool.description = None);
    seed(described, id, "description differs", Severity::Note);
}

#[test]
fn differences_in_identity_and_instructions_are_found() {
    let broken = Severity::Break;
    let rename = |facts: &mut EraFacts| facts.handshake.server_name = Some("django_mcp_server".to_owned());
    seed(rename, CheckId::ServerName, "not the expected one", broken);
    seed(|facts| facts.handshake.server_name = None, CheckId::ServerName, "missing on the candidate", broken);
    seed(|facts| facts.handshake.capabilities = json!({}), CheckId::ServerName, "not announced", broken);
    let one_byte = |facts: &mut EraFacts| {
        facts.handshake.instructions = Some("Ask -> answer.\nDo not sleep.".to_owned())
    };
    seed(one_byte, CheckId::Instructions, "byte 4, line 1", broken);
    let newline = |facts: &mut EraFacts| {
        facts.handshake.instructions = Some("Ask → answer.\nDo not sleep.\n".to_owned())
    };
    seed(newline, CheckId::Instructions, "only white space", broken);
    seed(
        |facts| facts.handshake.instructions = None,
        CheckId::Instructions,
        "missing on the candidate",
        broken,
    );
    let other = |facts: &mut EraFacts| facts.instructions_tool = Observed::Known("Ask".to_owned());
    seed(other, CheckId::InstructionsTool, "text differs", broken);
    let gone = |facts: &mut EraFacts| facts.instructions_tool = Observed::Absent("not listed".to_owned());
    seed(gone, CheckId::InstructionsTool, "does not return the instructions", broken);
    let silent = |facts: &mut EraFacts| facts.discoverer = Observed::Failed("isError".to_owned());
    seed(silent, CheckId::SelfDescription, "no list of tools", broken);
}

#[test]
fn differences_in_behaviour_are_found() {
    let broken = Severity::Break;
    let answer = |text: &str| -> Box<str> {
        json!({"content": [{"type": "text", "text": text}], "isError": false}).to_string().into()
    };
    let answers = |one: &str, two: &str| vec![Observed::Known(vec![answer(one), answer(two)])];
    seed(
        |facts| facts.calls = answers("{\"n\": 2}", "{\"n\": 2}"),
        CheckId::Calls,
        "content[0].text.n",
        broken,
    );
    seed(
        |facts| facts.calls = answers("{\"n\": 1}", "{\"n\": 7}"),
        CheckId::Calls,
        "unstable on the candidate",
        broken,
    );
    seed(|facts| facts.calls = answers("{}", "{}"), CheckId::Calls, "missing on the candidate", broken);
    let more = "{\"n\": 1, \"m\": 1}";
    seed(
        |facts| facts.calls = answers(more, more),
        CheckId::Calls,
        "only on the candidate",
        Severity::Compatible,
    );
    let failed = |facts: &mut EraFacts| facts.calls = vec![Observed::Failed("no whole answer".to_owned())];
    seed(failed, CheckId::Calls, "no whole answer", broken);
}

#[test]
fn differences_of_the_auth_matrix_are_found() {
    let with = |change: fn(&mut AuthFacts)| {
        let mut candidate = server();
        let Observed::Known(auth) = &mut candidate.auth else { panic!("the matrix is known") };
        change(auth);
        candidate
    };
    let broken = Severity::Break;
    found(&with(|auth| auth.no_token = http(200)), CheckId::AuthMatrix, "401 required", broken);
    found(&with(|auth| auth.wrong_token = http(401)), CheckId::AuthMatrix, "403 required", broken);
    found(&with(|auth| auth.get = http(200)), CheckId::AuthMatrix, "405 required", broken);
    found(&with(|auth| auth.health = http(401)), CheckId::AuthMatrix, "200 required", broken);
    found(&with(|auth| auth.unconfigured = http(200)), CheckId::AuthMatrix, "503 required", broken);
    let no_allow = HttpFacts { status: 405, allow: None, body: None };
    let mut candidate = server();
    let Observed::Known(auth) = &mut candidate.auth else { panic!("the matrix is known") };
    auth.get = Observed::Known(no_allow);
    found(&candidate, CheckId::AuthMatrix, "Allow is not POST", broken);
}

#[test]
fn eras_lost_and_times_gone_are_found() {
    let mut candidate = server();
    candidate.modern = Observed::Absent("HTTP 400".to_owned());
    found(&candidate, CheckId::Eras, "era lost", Severity::Break);
    candidate.modern = Observed::Failed("cannot connect".to_owned());
    candidate.legacy = Observed::Failed("cannot connect".to_owned());
    found(&candidate, CheckId::Eras, "the candidate fails to answer", Severity::Break);
    let mut candidate = server();
    for sample in &mut candidate.timings[1].samples {
        *sample *= 10;
    }
    found(&candidate, CheckId::Latency, "10.0 times slower", Severity::Break);
}

#[test]
fn a_reviewed_difference_passes_and_only_that() {
    let mut candidate = server();
    let Observed::Known(facts) = &mut candidate.legacy else { panic!("the era is known") };
    change_schema(facts, "panda_get_job", "/properties/limit/default", &json!(100));
    let acceptance = Acceptance {
        check: CheckId::Schemas,
        subject: Some("panda_get_job".to_owned()),
        path: "limit".to_owned(),
        change: "default changed".to_owned(),
        candidate: Some("100".to_owned()),
        reason: "agreed with the bot's owner".to_owned(),
        expires: None,
    };
    let with =
        |acceptance: &Acceptance| Expectations { accepted: vec![acceptance.clone()], ..expectations() };
    let report = judge(&server(), &candidate, &with(&acceptance));
    assert!(report.passed() && render::text(&report, true).contains("agreed with the bot's owner"));
    let past = Acceptance { expires: Some(1_000), ..acceptance.clone() };
    let report = judge(&server(), &candidate, &Expectations { now: 999, ..with(&past) });
    assert!(report.passed());
    let report = judge(&server(), &candidate, &Expectations { now: 1_000, ..with(&past) });
    assert!(!report.passed() && render::text(&report, true).contains("accepted, but not any more"));
    let other = Acceptance { candidate: Some("50".to_owned()), ..acceptance };
    let report = judge(&server(), &candidate, &with(&other));
    assert!(!report.passed() && render::text(&report, true).contains("accepted, but not found any more"));
}

#[test]
fn a_report_cannot_drive_a_terminal_or_break_xml() {
    let mut candidate = server();
    let Observed::Known(facts) = &mut candidate.legacy else { panic!("the era is known") };
    facts.handshake.server_name = Some("\u{1b}[2J<&\u{202e}".to_owned());
    let report = judge(&server(), &candidate, &expectations());
    let text = render::text(&report, true);
    assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("[FAIL]  3 server-name"), "{text}");
    let xml = render::junit(&report);
    assert!(xml.contains("failures=\"1\"") && xml.contains("&lt;&amp;") && !xml.contains('\u{1b}'), "{xml}");
    let json = render::json(&report);
    assert_eq!((&json["verdict"], &json["counts"]["fail"]), (&json!("fail"), &json!(1)));
}
