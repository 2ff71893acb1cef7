//! `mcp-guard rollout`: from stable to candidate in steps, and back at any moment.
//!
//! Each command waits until its work is done, and says what happened. Must not know how a rollout is decided.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say, table};
use super::parity::files;
use super::shadow::{counted, placed};
use super::slots::{ask, drained, order, overview};
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse};
use crate::control::{RolloutCommand, RolloutReport};
use crate::parity::accept::Acceptance;
use crate::rollout::observations::Summary;
use crate::rollout::status::{RunStatus, SlotReport};
use crate::rollout::transition::TransitionKind;
use crate::rollout::{Stage, Transition};
use crate::upstream::Percent;

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long `rollback` waits for calls on the candidate. They are not cut.
const DRAIN_SECONDS: u64 = 60;

/// Move the traffic to the candidate step by step, watched, and back by itself when it fails.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard rollout start --watch      compare both slots, start, and follow the steps of the plan
  mcp-guard rollout start --accept reviewed.toml
  mcp-guard rollout promote            the next step now
  mcp-guard rollout rollback           all traffic to stable, at once
  mcp-guard rollout rollback --to canary
  mcp-guard rollout status --json | jq .status.run.waits_for

Exit codes: 0 done, 1 refused, nothing in rollout or rolled back, 2 the guard could not be asked.")]
pub(super) struct RolloutArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Begin: compare candidate and stable, then follow the plan.
    #[command(after_help = "Example:\n  mcp-guard rollout start --watch")]
    Start {
        /// Against the comparison, and though the candidate speaks less than stable.
        #[arg(long)]
        force: bool,
        /// TOML file of reviewed differences that do not stop the rollout (docs/parity.md).
        #[arg(long, value_name = "FILE")]
        accept: Option<PathBuf>,
        /// Show both slots side by side until the rollout ends. Ctrl-C ends the watching, not the rollout.
        #[arg(long)]
        watch: bool,
    },
    /// Stay at this step. Triggers still roll back.
    #[command(after_help = "Example:\n  mcp-guard rollout pause")]
    Pause,
    /// Go on.
    #[command(after_help = "Example:\n  mcp-guard rollout resume")]
    Resume,
    /// Go to the next step now; after the last one, the candidate becomes stable.
    #[command(after_help = "Example:\n  mcp-guard rollout promote")]
    Promote {
        /// Also against the comparison and the analysis. Never to an unhealthy candidate.
        #[arg(long)]
        force: bool,
        /// TOML file of reviewed differences, besides those that the rollout was started with.
        #[arg(long, value_name = "FILE")]
        accept: Option<PathBuf>,
    },
    /// All traffic back to stable, or to an earlier stage, where the rollout waits.
    #[command(
        after_help = "Examples:\n  mcp-guard rollout rollback\n  mcp-guard rollout rollback --to dual_protocol"
    )]
    Rollback {
        /// The earlier stage, also by the migration plan's name.
        #[arg(long, value_name = "STAGE", value_parser = stage)]
        to: Option<Stage>,
    },
    /// Where it stands, what it waits for, and both slots side by side.
    #[command(
        after_help = "Examples:\n  mcp-guard rollout status --watch\n  mcp-guard rollout status --json"
    )]
    Status {
        /// Repeat every second until the rollout ends.
        #[arg(long)]
        watch: bool,
        /// Print one JSON object (with --watch, one a line).
        #[arg(long)]
        json: bool,
    },
    /// Every transition, with its cause and numbers; the latest last.
    #[command(after_help = "Example:\n  mcp-guard rollout history --json | jq '.[-1].cause'")]
    History {
        /// Print one JSON list.
        #[arg(long)]
        json: bool,
    },
}

impl RolloutArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let result = match &self.what {
            What::Start { force, accept, watch } => accepted(accept.as_deref())
                .and_then(|accept| order(guard, RolloutCommand::Start { force: *force, accept }))
                .and_then(|_| if *watch { follow(guard, false) } else { Ok(()) }),
            What::Pause => order(guard, RolloutCommand::Pause).map(|_| ()),
            What::Resume => order(guard, RolloutCommand::Resume).map(|_| ()),
            What::Promote { force, accept } => accepted(accept.as_deref()).and_then(|accept| {
                order(guard, RolloutCommand::Promote { force: *force, accept }).map(|_| ())
            }),
            What::Rollback { to } => order(guard, RolloutCommand::Rollback { to: *to }).and_then(|done| {
                // Back in the rollout, the candidate may go on serving some.
                let to = done.transition.to;
                let candidate = to.stable.other();
                if to.weight == Percent::ZERO { drained(guard, candidate, DRAIN_SECONDS) } else { Ok(()) }
            }),
            What::Status { watch: true, json } => follow(guard, *json),
            What::Status { watch: false, json } => overview(guard).map(|overview| show(&overview, *json)),
            What::History { json } => history(guard).map(|history| show_history(&history, *json)),
        };
        result.err().unwrap_or(Exit::Done)
    }
}

/// The reviewed differences of a file. They go along with the order: the guard need not be able to read the file.
fn accepted(file: Option<&Path>) -> Result<Vec<Acceptance>, Exit> {
    file.map(files::acceptances).transpose().map(Option::unwrap_or_default).map_err(|problem| {
        complain(problem);
        Exit::CouldNotRun
    })
}

fn stage(name: &str) -> Result<Stage, String> {
    Stage::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Stage::ALL.into_iter().map(Stage::as_str).collect();
        format!("the stages are {}", names.join(", "))
    })
}

fn history(guard: &Guard) -> Result<Vec<Transition>, Exit> {
    let response = ask(guard, &AdminCommand::History)?;
    if let AdminResponse::History(history) = response { Ok(history) } else { Err(unexpected(&response)) }
}

/// Shows the rollout again and again until it ends; a rollback is a no.
fn follow(guard: &Guard, json: bool) -> Result<(), Exit> {
    loop {
        let overview = overview(guard)?;
        if overview.status.run.is_none() && !json {
            return show_end(&overview, &history(guard)?);
        }
        if std::io::stdout().is_terminal() && !json {
            say("\x1b[2J\x1b[H");
        }
        show(&overview, json);
        if overview.status.run.is_none() {
            return verdict_of(&history(guard)?);
        }
        if let (false, Some(latest)) = (json, history(guard)?.last()) {
            say(format_args!("\nlatest     {}", line_of(latest)));
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// How it ended, with the numbers that decided: those of both slots start anew when a rollout ends.
fn show_end(overview: &RolloutReport, history: &[Transition]) -> Result<(), Exit> {
    say("");
    if let Some(last) = history.last() {
        show_transition(last);
    }
    say(format_args!(
        "nothing is in rollout: {} serves all traffic",
        overview.status.position.stable.as_str()
    ));
    overview.problems.iter().for_each(complain);
    verdict_of(history)
}

fn verdict_of(history: &[Transition]) -> Result<(), Exit> {
    if history.last().is_some_and(|last| last.kind == TransitionKind::RolledBack) {
        Err(Exit::No)
    } else {
        Ok(())
    }
}

fn show(overview: &RolloutReport, json: bool) {
    if json {
        match serde_json::to_string(overview) {
            Ok(line) => say(line),
            Err(error) => complain(error),
        }
        return;
    }
    match &overview.status.run {
        None => {
            let stable = overview.status.position.stable.as_str();
            say(format_args!("nothing is in rollout: {stable} serves all traffic"));
            if let Some(last) = &overview.last {
                say(format_args!("latest     {}", line_of(last)));
            }
        }
        Some(run) => show_run(overview, run),
    }
    say("");
    let [left, right] = match overview.status.slots.as_slice() {
        [blue, green] => [blue, green],
        _ => return,
    };
    let title = |slot: &SlotReport| format!("{} ({})", slot.slot.as_str(), slot.role);
    let rows = COLUMNS.map(|(name, of)| [name.to_owned(), of(left), of(right)]);
    table(["", &title(left), &title(right)], &rows);
    for slot in [left, right] {
        if let Some(why) = &slot.why {
            say(format_args!("{} is {}: {why}", slot.slot.as_str(), slot.health));
        }
    }
    for problem in &overview.problems {
        complain(problem);
    }
}

/// Where the rollout stands and what comes next.
pub(super) fn headline(overview: &RolloutReport, run: &RunStatus) -> String {
    let position = &overview.status.position;
    let step = position.step.unwrap_or_default();
    format!("rollout {}: {position}, step {step} of {}, then {}", run.id, run.steps, run.next)
}

fn show_run(overview: &RolloutReport, run: &RunStatus) {
    let position = &overview.status.position;
    say(headline(overview, run));
    say(format_args!("waits for  {}", run.waits_for));
    say(format_args!("verdict    {}", run.conclusion.as_str()));
    for finding in run.conclusion.findings() {
        say(format_args!("           {finding}"));
    }
    if let Some(shadow) = overview.shadow.as_ref().filter(|_| position.stage == Stage::Shadow) {
        say(format_args!("copies     {}", counted(&shadow.counts)));
        for place in &shadow.worst {
            say(format_args!("           {}", placed(place)));
        }
        if !shadow.worst.is_empty() {
            say("           mcp-guard shadow diff shows examples");
        }
    }
    if overview.status.fenced {
        say("fence      protocol 2026-07-28 is held back: the way back does not speak it");
    }
}

/// A line of the side-by-side table.
type Line = (&'static str, fn(&SlotReport) -> String);

const COLUMNS: [Line; 7] = [
    ("health", |slot| slot.health.clone()),
    ("calls", |slot| slot.summary.requests.to_string()),
    ("failures", |slot| slot.summary.failures.to_string()),
    ("tool errors", |slot| slot.summary.tool_errors.to_string()),
    ("error rate", |slot| format!("{:.1} %", slot.summary.error_rate * 100.0)),
    ("p50", |slot| millis(slot.summary.p50_ms)),
    ("p95", |slot| millis(slot.summary.p95_ms)),
];

fn millis(time: Option<f64>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"))
}

fn show_history(history: &[Transition], json: bool) {
    if json {
        match serde_json::to_string_pretty(history) {
            Ok(text) => say(text),
            Err(error) => complain(error),
        }
        return;
    }
    if history.is_empty() {
        say("no transition so far");
    }
    history.iter().for_each(show_transition);
}

/// When, which rollout, and what.
fn line_of(transition: &Transition) -> String {
    let at = i64::try_from(transition.at.millis()).ok();
    let at = at.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    let at = at.map_or_else(String::new, |at| format!("{at:.0}"));
    format!("{at}  {}  {transition}", transition.rollout.as_deref().unwrap_or("-"))
}

fn show_transition(transition: &Transition) {
    say(line_of(transition));
    if let Some(numbers) = &transition.numbers {
        say(format_args!(
            "    candidate {}; stable {}",
            numbers_of(&numbers.candidate),
            numbers_of(&numbers.stable)
        ));
        let shadow = &numbers.shadow;
        if shadow.requests > 0 {
            let (judged, differ, failed) = (shadow.requests, shadow.mismatched, shadow.failures);
            say(format_args!("    shadow {judged} copies judged, {differ} differ, {failed} failed"));
        }
    }
}

fn numbers_of(side: &Summary) -> String {
    format!(
        "{} calls, {} failures, {} tool errors, error rate {:.1} %, p50 {}, p95 {}",
        side.requests,
        side.failures,
        side.tool_errors,
        side.error_rate * 100.0,
        millis(side.p50_ms),
        millis(side.p95_ms)
    )
}
