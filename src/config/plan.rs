//! The plan file: how a rollout goes, which checks are critical, and who is notified.
//!
//! One function a table; a key lives in exactly one line. Must not know how a plan is followed: `rollout` does.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::dependencies::{self, Dependency};
use super::environment::Environment;
use super::table::Table;
use super::{notify, source, value};
use crate::config::diagnostics::{DiagnosticSink, InvalidValue};
use crate::rollout::Stage;
use crate::rollout::plan::analysis::Analysis;
use crate::rollout::plan::triggers::{Action, DurationTrigger, LatencyTrigger, RatioTrigger, Triggers};
use crate::rollout::plan::{Advance, Plan, Step};
use crate::upstream::{Percent, Slot};
use mcp_host::diagnostics::Diagnostics;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const STEPS_MAX: usize = 100;
const CLIENTS_MAX: usize = 10_000;
const SAMPLES_MAX: u64 = 1_000_000;
/// Stages as the file may name them: the migration plan's names as well.
const STAGES: &[(&str, Stage)] = &[
    ("dual_protocol", Stage::DualProtocol),
    ("shadow", Stage::Shadow),
    ("shadow_mode", Stage::Shadow),
    ("canary", Stage::Canary),
    ("progressive", Stage::Progressive),
    ("candidate_only", Stage::CandidateOnly),
    ("mcp_only", Stage::CandidateOnly),
    ("bake", Stage::Bake),
    ("cleanup", Stage::Bake),
];
const ACTIONS: &[(&str, Action)] = &[
    ("rollback", Action::Rollback),
    ("pause", Action::Pause),
    ("notify", Action::Notify),
    ("off", Action::Off),
];

/// What the plan file holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rollout {
    pub(crate) plan: Plan,
    /// Checked during a rollout only.
    pub(crate) checks: Vec<Dependency>,
    /// The names of the dependencies that are critical.
    pub(crate) critical: Vec<String>,
    pub(crate) receivers: Vec<notify::Receiver>,
}

/// What a plan may refer to.
pub(super) struct Known<'a> {
    pub(super) dependencies: &'a [Dependency],
    /// The slots with a backend.
    pub(super) slots: &'a [Slot],
}

/// Reads and judges the plan file; findings go to `more`.
pub(super) fn load(
    path: &Path,
    known: &Known<'_>,
    environment: &Environment<'_>,
    more: &mut Diagnostics,
) -> Rollout {
    match source::read(path, source::FILE_BYTES_MAX) {
        Ok(text) => build(path, &text, known, environment, more),
        // The main file's reader has said that it is not there.
        Err(source::ReadError::Io { .. }) => Rollout::default(),
        Err(unreadable @ (source::ReadError::TooLarge { .. } | source::ReadError::NotText { .. })) => {
            let sink = DiagnosticSink::new(path, "");
            sink.error("", None, InvalidValue::new(unreadable.to_string()));
            more.problems.extend(sink.finish().problems);
            Rollout::default()
        }
    }
}

/// Judges the text of a plan file.
pub(super) fn build(
    path: &Path,
    text: &str,
    known: &Known<'_>,
    environment: &Environment<'_>,
    more: &mut Diagnostics,
) -> Rollout {
    let sink = DiagnosticSink::new(path, text);
    let read = source::parse(text, &sink).map(|file| {
        let mut root = Table::root(file.get_ref(), &sink);
        let plan = plan(&mut root, &sink);
        let folder = path.parent().unwrap_or(Path::new(""));
        let checks = dependencies::critical_checks(root.list_of_tables("critical_check", 32), folder);
        for name in checks.iter().map(|check| &check.name) {
            if known.dependencies.iter().any(|dependency| dependency.name == *name) {
                let invalid = InvalidValue::new(format!("\"{name}\" is the name of a [[dependency]], too"));
                let hint = format!("critical = [\"{name}\"] takes that one");
                sink.error("critical_check", None, invalid.hint(hint));
            }
        }
        let critical = dependencies::critical(&mut root, known.dependencies, known.slots);
        let receivers = notify::receivers(root.list_of_tables("notify", 32), folder, environment);
        root.finish();
        Rollout { plan, checks, critical, receivers }
    });
    more.extend(sink.finish());
    read.unwrap_or_default()
}

fn plan(root: &mut Table<'_>, sink: &DiagnosticSink) -> Plan {
    let read: Option<Vec<Step>> = root.list_of_tables("step", STEPS_MAX).into_iter().map(step).collect();
    // Where a step could not be read, its finding is enough: the others are not judged without it.
    let steps = read.filter(|steps| !steps.is_empty()).unwrap_or_else(|| Plan::default().steps().to_vec());
    let analysis = analysis(root.table("analysis"));
    let triggers = triggers(root.table("triggers"));
    let (candidate_clients, stable_clients) = clients(root.table("clients"));
    let parity_gate = gate(root.table("gate"));
    match Plan::new(steps, analysis, triggers, candidate_clients, stable_clients, parity_gate) {
        Ok(plan) => plan,
        Err(problems) => {
            for problem in problems {
                sink.error("step", None, InvalidValue::new(problem.to_string()));
            }
            Plan::default()
        }
    }
}

/// `[[step]]`
fn step(mut table: Table<'_>) -> Option<Step> {
    let hold = table.duration("hold", Duration::ZERO..=DAY * 30, SECOND * 600);
    let min_samples = table.integer("min_samples", 0..=SAMPLES_MAX, 50);
    let advances = [("auto", Advance::Automatic), ("manual", Advance::Manual)];
    let advance = table.choice("advance", &advances, Advance::Automatic);
    let has_stage = table.has("stage");
    let stage = table.text("stage", |text| value::choice(text, STAGES));
    if !has_stage {
        table.error_missing("stage", "as in stage = \"canary\"");
    }
    let weight = weight(&mut table, stage);
    table.finish();
    Some(Step { stage: stage?, weight: weight?, hold, min_samples, advance })
}

/// The weight: implied where the stage allows only one.
fn weight(table: &mut Table<'_>, stage: Option<Stage>) -> Option<Percent> {
    let implied = match stage {
        Some(Stage::Stable | Stage::DualProtocol | Stage::Shadow) => Some(0),
        Some(Stage::CandidateOnly | Stage::Bake | Stage::Complete) => Some(100),
        Some(Stage::Canary | Stage::Progressive) => None,
        // It has its own finding.
        None => Some(0),
    };
    let has = table.has("weight");
    let weight = table.integer("weight", 0..=100, implied.unwrap_or(1));
    if implied.is_none() && !has {
        table.error_missing("weight", "the candidate's share in percent, as in weight = 25");
        return None;
    }
    Percent::new(u8::try_from(weight).ok()?)
}

/// `[analysis]`
fn analysis(mut table: Table<'_>) -> Analysis {
    let default = Analysis::default();
    let analysis = Analysis {
        window: table.duration("window", SECOND..=DAY, default.window),
        max_error_rate: percent(&mut table, "max_error_rate", default.max_error_rate),
        error_margin: percent(&mut table, "error_margin", default.error_margin),
        max_p95: table.duration("max_p95", Duration::from_millis(1)..=DAY, default.max_p95),
        latency_ratio: percent(&mut table, "latency_ratio", default.latency_ratio),
        latency_floor: table.duration("latency_floor", Duration::ZERO..=DAY, default.latency_floor),
        max_mismatch_rate: percent(&mut table, "max_mismatch_rate", default.max_mismatch_rate),
        on_fail: table.choice("on_fail", ACTIONS, default.on_fail),
    };
    table.finish();
    analysis
}

/// `[triggers]`: one table a trigger, all with the same keys.
fn triggers(mut table: Table<'_>) -> Triggers {
    let default = Triggers::default();
    let triggers = Triggers {
        candidate_health: lasting(table.table("candidate_health"), default.candidate_health),
        critical_check: lasting(table.table("critical_check"), default.critical_check),
        breaker_open: lasting(table.table("breaker_open"), default.breaker_open),
        stage_stalled: lasting(table.table("stage_stalled"), default.stage_stalled),
        error_rate: part(table.table("error_rate"), default.error_rate),
        error_rate_sustained: part(table.table("error_rate_sustained"), default.error_rate_sustained),
        latency_p95: slow(table.table("latency_p95"), default.latency_p95),
        memory: part(table.table("memory"), default.memory),
        protocol: lasting(table.table("protocol"), default.protocol),
    };
    table.finish();
    triggers
}

fn lasting(mut table: Table<'_>, default: DurationTrigger) -> DurationTrigger {
    let lasting = DurationTrigger {
        action: table.choice("action", ACTIONS, default.action),
        window: table.duration("window", Duration::ZERO..=DAY, default.window),
        min_samples: table.integer("min_samples", 1..=SAMPLES_MAX, default.min_samples),
    };
    table.finish();
    lasting
}

fn part(mut table: Table<'_>, default: RatioTrigger) -> RatioTrigger {
    let part = RatioTrigger {
        action: table.choice("action", ACTIONS, default.action),
        threshold: percent(&mut table, "threshold", default.threshold),
        window: table.duration("window", SECOND..=DAY, default.window),
        min_samples: table.integer("min_samples", 1..=SAMPLES_MAX, default.min_samples),
    };
    table.finish();
    part
}

fn slow(mut table: Table<'_>, default: LatencyTrigger) -> LatencyTrigger {
    let slow = LatencyTrigger {
        action: table.choice("action", ACTIONS, default.action),
        threshold: table.duration("threshold", Duration::from_millis(1)..=DAY, default.threshold),
        window: table.duration("window", SECOND..=DAY, default.window),
        min_samples: table.integer("min_samples", 1..=SAMPLES_MAX, default.min_samples),
    };
    table.finish();
    slow
}

/// `[clients]`: who meets the candidate first, and who last.
fn clients(mut table: Table<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    let name = |text: &str| match text {
        "default" => Ok(text.to_owned()),
        _ => super::tokens::check_name(text).map(|()| text.to_owned()).map_err(InvalidValue::new),
    };
    let mut names = |key| table.list(key, CLIENTS_MAX, name).unwrap_or_default().into_iter().collect();
    let lists = (names("candidate"), names("stable"));
    table.finish();
    lists
}

/// `[gate]`
fn gate(mut table: Table<'_>) -> bool {
    let parity = table.flag("parity", Plan::default().parity_gate);
    table.finish();
    parity
}

/// A part of the whole, as in `"2.5%"`, up to ten times the whole.
fn percent(table: &mut Table<'_>, key: &str, default: f64) -> f64 {
    let parse = |text: &str| {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        number
            .filter(|number| (0.0..=1_000.0).contains(number))
            .map(|number| number / 100.0)
            .ok_or_else(|| InvalidValue::new("must be 0% to 1000%").hint("as in \"2.5%\""))
    };
    table.text(key, parse).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> (Rollout, Vec<String>) {
        let variable = |name: &str| (name == "HOOK").then(|| "https://hooks.example/T/B/x".into());
        let environment = Environment { variable: &variable, now: 0, shown_pairs: None };
        let mut diagnostics = Diagnostics::default();
        let known = Known { dependencies: &[], slots: &[] };
        let rollout = build(&PathBuf::from("plan.toml"), text, &known, &environment, &mut diagnostics);
        (rollout, diagnostics.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_empty_file_is_the_default_plan() {
        let (rollout, problems) = read("");
        assert_eq!(problems, [""; 0]);
        assert_eq!(rollout.plan, Plan::default());
    }

    #[test]
    fn the_shipped_plan_shows_the_built_in_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/plan.toml");
        let (rollout, problems) = read(&std::fs::read_to_string(path).unwrap());
        assert_eq!(problems, [""; 0]);
        assert_eq!(rollout.plan, Plan::default());
        assert!(rollout.checks.is_empty() && rollout.receivers.is_empty());
    }

    #[test]
    fn the_shipped_matrix_differs_from_the_defaults_in_its_actions_only() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/plan-matrix.toml");
        let (rollout, problems) = read(&std::fs::read_to_string(path).unwrap());
        assert_eq!(problems, [""; 0]);
        assert_eq!(rollout.plan.steps(), Plan::default().steps());
        assert_ne!(rollout.plan, Plan::default());
    }

    #[test]
    fn the_shipped_plan_names_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/plan.toml");
        // What the file only shows in comments is read as well.
        let text: String = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let sink = DiagnosticSink::new(&path, &text);
        let file = source::parse(&text, &sink).unwrap();
        let mut root = Table::root(file.get_ref(), &sink);
        plan(&mut root, &sink);
        let variable = |_: &str| Some("https://hooks.example/x".into());
        let environment = Environment { variable: &variable, now: 0, shown_pairs: None };
        dependencies::critical_checks(root.list_of_tables("critical_check", 32), Path::new(""));
        dependencies::critical(&mut root, &[], &[]);
        notify::receivers(root.list_of_tables("notify", 32), Path::new(""), &environment);
        let bare = |key: &str| {
            key.split('[').next().unwrap_or_default().to_owned() + key.split(']').nth(1).unwrap_or_default()
        };
        let asked: BTreeSet<String> = sink.known().iter().map(|key| bare(key)).collect();
        let written: BTreeSet<String> = asked
            .iter()
            .filter(|key| sink.known().iter().any(|k| bare(k) == **key && sink.has(k)))
            .cloned()
            .collect();
        assert_eq!(written, asked);
        // The dependency that is named is one of another file.
        assert_eq!(sink.finish().problems.len(), 1);
    }

    #[test]
    fn steps_may_bear_the_migration_plans_names() {
        let (rollout, problems) = read(
            "[[step]]\nstage = \"dual_protocol\"\n[[step]]\nstage = \"shadow_mode\"\n[[step]]\nstage = \"canary\"\nweight = 5\nadvance = \"manual\"\n\
             [[step]]\nstage = \"mcp_only\"\nhold = \"1h\"\nmin_samples = 7\n[[step]]\nstage = \"cleanup\"\n",
        );
        assert_eq!(problems, [""; 0]);
        let shape: Vec<_> = rollout.plan.steps().iter().map(|step| (step.stage, step.weight.get())).collect();
        let expected = [
            (Stage::DualProtocol, 0),
            (Stage::Shadow, 0),
            (Stage::Canary, 5),
            (Stage::CandidateOnly, 100),
            (Stage::Bake, 100),
        ];
        assert_eq!(shape, expected);
        assert_eq!(rollout.plan.steps()[2].advance, Advance::Manual);
        assert_eq!((rollout.plan.steps()[3].hold, rollout.plan.steps()[3].min_samples), (SECOND * 3_600, 7));
    }

    #[track_caller]
    fn check(text: &str, why: &str) {
        let (_, problems) = read(text);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains(why), "{:?} does not say {why:?}", problems[0]);
    }

    #[test]
    fn every_mistake_is_named_with_its_key() {
        check("[[step]]\nweight = 5\n", "step[0].stage: missing");
        check("[[step]]\nstage = \"canary\"\n", "step[0].weight: missing");
        check("[[step]]\nstage = \"shadow\"\nweight = 1\n", "`shadow` means a weight of 0, not 1");
        check("[[step]]\nstage = \"canery\"\nweight = 1\n", "did you mean \"canary\"?");
        check(
            "[[step]]\nstage = \"canary\"\nweight = 101\n",
            "step[0].weight: 101 is not allowed; must be 0 to 100",
        );
        check("[[step]]\nstage = \"bake\"\nweight = 50\n", "`bake` means a weight of 100, not 50");
        check("[[step]]\nstage = \"canary\"\nweight = 1\nmin_samples = 0\n", "min_samples: 0 is not allowed");
        check("[step]\nstage = \"canary\"\n", "each opened by [[step]]");
        check("[analysis]\nmax_error_rate = 5\n", "analysis.max_error_rate: must be a text");
        check("[analysis]\nmax_error_rate = \"5\"\n", "must be 0% to 1000% (hint: as in \"2.5%\")");
        check("[triggers.memory]\naction = \"rolback\"\n", "did you mean \"rollback\"?");
        check("[triggers.memory]\ntreshold = \"5%\"\n", "triggers.memory.treshold: no such key");
        check("[triggers.latency]\n", "triggers.latency: no such key");
        check("[clients]\ncandidate = [\"a b\"]\n", "clients.candidate[0]");
        check("[clients]\ncandidate = [\"a\"]\nstable = [\"a\"]\n", "client `a` is named both");
    }

    #[test]
    fn checks_and_receivers_are_read() {
        let (rollout, problems) = read(
            "[[critical_check]]\nname = \"database\"\ntool = \"panda_get_activity\"\narguments = '{\"days\":1}'\n\
             [[critical_check]]\nname = \"cache\"\nexec = [\"bin/ping-cache\", \"-q\"]\n\
             [[notify]]\nkind = \"slack\"\nurl_env = \"HOOK\"\non = [\"rolled_back\"]\n\
             [[notify]]\nkind = \"exec\"\nexec = [\"/bin/true\"]\n",
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!((rollout.checks.len(), rollout.receivers.len()), (2, 2));
    }

    #[test]
    fn a_check_and_a_receiver_need_exactly_one_way() {
        check("[[critical_check]]\nname = \"a\"\n", "critical_check[0]: needs tool or exec");
        check(
            "[[critical_check]]\nname = \"a\"\ntool = \"t\"\nexec = [\"/bin/true\"]\n",
            "tool or exec, not both",
        );
        check("[[critical_check]]\ntool = \"t\"\n", "critical_check[0].name: missing");
        check(
            "[[critical_check]]\nname = \"a\"\ntool = \"t\"\narguments = \"[1]\"\n",
            "must be a JSON object",
        );
        check("[[notify]]\nkind = \"slack\"\n", "notify[0]: needs url or url_env");
        check("[[notify]]\nkind = \"slack\"\nurl_env = \"UNSET\"\n", "UNSET is not set");
        check("[[notify]]\nkind = \"generic\"\nurl = \"ftp://x/\"\n", "must begin with http:// or https://");
        check("[[notify]]\nkind = \"exec\"\n", "notify[0].exec: missing");
        check("[[notify]]\nkind = \"pagerduty\"\n", "notify[0].routing_key_env: missing");
        check("[[notify]]\nkind = \"generic\"\nurl = \"http://x/\"\non = [\"rollback\"]\n", "must be one of");
    }
}
