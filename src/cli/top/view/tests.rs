//! Pictures of `top` at several sizes, as text. `MCP_WRITE_SCREENS=1` writes them anew, into the manual as well.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::draw;
use crate::admin::Overview;
use crate::cli::top::model::{Model, Panel};
use crate::cli::top::watch::Happening;
use crate::rollout::armed::Armed;

const AT: u64 = 1_800_000_000;
const SECONDS: u64 = 300;

/// What the guard says this many seconds after the beginning.
fn overview(second: u64) -> Overview {
    // A load that rises and falls, of which a quarter goes to the candidate after a minute.
    let calls =
        |slot: u64| -> u64 {
            (0..second)
                .map(|at| {
                    if at < 60 { 80 * (1 - slot) } else { (40 + at % 60) * if slot == 0 { 3 } else { 1 } / 4 }
                })
                .sum()
        };
    let tally = |calls: u64, errors: u64, slow: u64| {
        let quick = calls - calls / slow;
        json!({ "calls": calls, "failures": 0, "errors": errors,
            "latency": [calls / 2, quick, calls, calls, calls, calls, calls, calls, calls, calls, calls, calls, calls, calls, calls, calls, calls] })
    };
    let slot = |name: &str, address: &str, in_flight: u64| json!({ "slot": name, "address": address, "reachable": true, "in_flight": in_flight, "waiting": 0, "held": 0, "idle_connections": 2 });
    let summary = json!({ "requests": 900, "failures": 0, "tool_errors": 1, "error_rate": 0.0, "p50_ms": 2.0, "p95_ms": 9.0 });
    let report = |name: &str, role: &str, why: Value| {
        let health = if why.is_null() { "healthy" } else { "unhealthy" };
        json!({ "slot": name, "role": role, "configured": true, "health": health, "why": why, "surface": null, "summary": summary })
    };
    let position = |stage: &str, step: Value, weight: u8| json!({ "stable": "blue", "stage": stage, "step": step, "weight": weight, "paused": false });
    let transition = |seq: u64, kind: &str, from: Value, to: Value, at: u64| {
        json!({ "seq": seq, "at": (AT + at) * 1_000, "rollout": "r7", "slot": "green", "kind": kind, "from": from, "to": to,
            "cause": { "by": "operator", "who": "uid 0" }, "numbers": null })
    };
    let armed = |trigger: &str, measured: f64, limit: f64, unit: &str, samples: u64, samples_min: u64| {
        json!({ "trigger": trigger, "action": "rollback", "measured": measured, "limit": limit, "unit": unit,
            "samples": samples, "samples_min": samples_min })
    };
    let (blue, green) = (calls(0), calls(1));
    let value = json!({
        "status": { "version": "0.1.0", "pid": 4711, "uptime_seconds": 93_784, "draining": false, "listen": "127.0.0.1:8001",
            "metrics": null, "connections": 12, "clients": 3, "stable": "blue",
            "slots": [slot("blue", "unix:/run/mcp-tools/blue.sock", 3), slot("green", "unix:/run/mcp-tools/green.sock", 1)] },
        "rollout": { "problems": [], "shadow": null, "last": null, "status": {
            "at": (AT + second) * 1_000 + 500, "position": position("canary", json!(2), 25), "fenced": false, "standby": "",
            "run": { "id": "r7", "started": AT * 1_000, "since": (AT + 60) * 1_000, "hold_left_seconds": 60.0, "steps": 5,
                "next": "progressive 50 %", "conclusion": { "verdict": "inconclusive", "findings": [{ "finding": "too_few_samples", "have": 31, "need": 50 }] },
                "shadow": { "requests": 0, "failures": 0, "mismatched": 0 }, "waits_for": "the hold of this step: 60 s left" },
            "slots": [report("blue", "stable", Value::Null), report("green", "candidate", Value::Null)],
            "triggers": [armed("candidate_health", 0.0, 30.0, "seconds", 0, 1), armed("error_rate", 0.02, 0.1, "part", 120, 50),
                armed("error_rate_sustained", 0.02, 0.05, "part", 31, 100), armed("latency_p95", 0.009, 5.0, "seconds", 120, 50)] } },
        "totals": { "slots": { "blue": tally(blue, 0, 20), "green": tally(green, green / 50, 10) },
            "tools": { "jobs_list": tally(blue, 0, 20), "jobs_show": tally(green / 2, green / 50, 10), "\u{1b}[31mhostile\u{7}\u{202e}": tally(green / 4, 0, 10) },
            "clients": { "panda-bot": tally(blue, 0, 20), "testbed-bot": tally(green, green / 50, 10) },
            "memory": { "blue": 0.341, "green": 0.287 }, "denied": 4 },
        "transitions": [transition(12, "started", position("stable", Value::Null, 0), position("shadow", json!(1), 0), 0),
            transition(13, "advanced", position("shadow", json!(1), 0), position("canary", json!(2), 25), 60)],
    });
    let mut overview: Overview = serde_json::from_value(value).unwrap();
    let triggers = &mut overview.rollout.status.triggers;
    *triggers = std::mem::take(triggers).into_iter().map(Armed::described).collect();
    overview
}

fn model() -> Model {
    let mut model = Model::new(1, false);
    for second in 0..=SECONDS {
        model.take(Happening::Seen(Box::new(overview(second))), Instant::now());
    }
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

/// Compares a picture with the one that is kept under this name.
#[track_caller]
fn check(model: &Model, name: &str, width: u16, height: u16) -> String {
    let picture = drawn(model, width, height);
    let path = place(&format!("src/cli/top/screens/{name}.txt"));
    if std::env::var_os("MCP_WRITE_SCREENS").is_some() {
        std::fs::write(&path, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(picture, kept, "{} (MCP_WRITE_SCREENS=1 writes it anew)\n{picture}", path.display());
    picture
}

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn top_at_80_by_24_shows_what_the_manual_shows() {
    let picture = check(&model(), "80x24", 80, 24);
    let path = place("docs/console.md");
    let manual = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = manual.split_once("```text\n").unwrap();
    let (shown, after) = rest.split_once("```").unwrap();
    if std::env::var_os("MCP_WRITE_SCREENS").is_some() {
        std::fs::write(&path, format!("{before}```text\n{picture}```{after}")).unwrap();
    } else {
        assert_eq!(shown, picture, "docs/console.md shows another picture");
    }
}

#[test]
fn top_is_larger_where_there_is_room_and_smaller_where_there_is_not() {
    let mut model = model();
    let large = check(&model, "160x50", 160, 50);
    for part in [
        "p95, at most",
        "errors in",
        "candidate_health",
        "advanced: shadow 0 % -> canary 25 %",
        "69 more samples",
    ] {
        assert!(large.contains(part), "{part}\n{large}");
    }
    check(&model, "60x20", 60, 20);
    model.focus = Panel::Triggers;
    let triggers = check(&model, "80x24-triggers", 80, 24);
    assert!(triggers.contains("80 % left"), "{triggers}");
    assert!(drawn(&model, 59, 24).contains("too small") && drawn(&model, 80, 17).contains("too small"));
    for (width, height) in [(1, 1), (60, 18), (61, 19), (300, 18), (60, 200), (239, 36), (240, 60)] {
        drawn(&model, width, height);
    }
}

#[test]
fn top_shows_hostile_names_without_their_control_characters() {
    let picture = drawn(&model(), 160, 50);
    assert!(picture.contains("\u{fffd}[31mhostile\u{fffd}\u{fffd}"), "{picture}");
    assert!(!picture.contains(|character: char| character.is_control() && character != '\n'), "{picture:?}");
}

#[test]
fn top_says_that_the_guard_is_away_and_keeps_the_last_picture() {
    let mut model = model();
    model.take(
        Happening::Away("no guard is running: nobody answers on \u{1b}[2J/run/a.sock".to_owned()),
        Instant::now(),
    );
    let picture = check(&model, "80x24-away", 80, 24);
    assert!(
        picture.contains("AWAY, trying again: no guard is running") && picture.contains("jobs_list"),
        "{picture}"
    );
    model.take(Happening::Seen(Box::new(overview(SECONDS + 1))), Instant::now());
    assert!(drawn(&model, 80, 24).contains("connected"));
}

/// The model of a guard in a fleet of three.
fn of_fleet(change: impl FnOnce(&mut Value)) -> Model {
    let member = |name: &str| {
        json!({ "member": name, "version": "0.1.0", "configuration": "plan=1a slots=2b", "generation": 12, "silent_ms": 90,
            "slots": [{ "slot": "blue", "health": "healthy" }, { "slot": "green", "health": "healthy" }],
            "ejected": null, "clock_off_ms": 2 })
    };
    let members = ["guard-1", "guard-2", "guard-3"].map(member);
    let mut fleet = json!({ "name": "prod", "member": "guard-1", "store_silent_ms": 80, "store_away": false, "store_problem": null,
        "generation": 12, "leader": "guard-2", "live": 3, "known": 3, "candidate": "open", "holds": [],
        "members": members });
    change(&mut fleet);
    let mut model = model();
    let mut seen = overview(SECONDS + 1);
    seen.fleet = Some(serde_json::from_value(fleet).unwrap());
    model.take(Happening::Seen(Box::new(seen)), Instant::now());
    model
}

#[test]
fn top_shows_the_members_of_a_fleet_where_there_is_room() {
    let model = of_fleet(|_| {});
    let large = check(&model, "160x50-fleet", 160, 50);
    assert!(large.contains("guard-2 leads, 3 of 3 members live, generation 12"), "{large}");
    assert!(large.contains("all members agree") && large.contains("blue healthy, green healthy"), "{large}");
    let small = check(&model, "80x24-fleet", 80, 24);
    assert!(small.contains("guard-2 leads") && !small.contains("GENERATION"), "{small}");
    for (width, height) in [(60, 18), (61, 19), (300, 18), (60, 200), (240, 36)] {
        drawn(&model, width, height);
    }
}

#[test]
fn top_says_what_is_wrong_with_a_fleet_and_shows_hostile_texts_as_text() {
    let model = of_fleet(|fleet| {
        fleet["store_away"] = true.into();
        fleet["candidate"] = "ejected".into();
        fleet["holds"] = json!(["guard-3 follows\u{1b}[2J generation 11"]);
        fleet["members"][2]["version"] = "0.2\u{202e}.0".into();
        fleet["members"][2]["silent_ms"] = 4_000.into();
        fleet["members"][2]["ejected"] = "green\u{7} failed".into();
    });
    let picture = drawn(&model, 400, 50);
    for part in [
        "the store is away; its candidate is ejected here; holds: guard-3 follows\u{fffd}[2J generation 11",
        "guard-3 has ejected its candidate: green\u{fffd} failed; guard-3 is silent",
        "guard-3 differs: version",
    ] {
        assert!(picture.contains(part), "{part}\n{picture}");
    }
    assert!(!picture.contains(|character: char| character.is_control() && character != '\n'), "{picture:?}");
    assert!(!picture.contains('\u{202e}'));
}
