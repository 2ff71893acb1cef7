//! `mcp-guard feature`: switches a part of the service off and on again while the guard runs.
//!
//! Must not know what a feature does.

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, complain_of, say, table};
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse, FeatureReport};
use crate::config::feature::{Feature, FeatureChange, FeatureState};
use crate::policy::tools::Pattern;

/// Switch off one feature, without a rollback and without a restart: a tool, a client, a route, shadow or the era fence.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard feature off tool:jobs_kill_* --reason \"ticket 4711\"
  mcp-guard feature list
  mcp-guard feature on tool:jobs_kill_*

What is off stays off over reloads, restarts and upgrades, until it is switched on. Calls under way end as they would have.

Exit codes: 0 done, 1 the guard refused, 2 it could not be asked.")]
pub(super) struct FeatureArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what is off, since when and by whom.
    #[command(after_help = "Example:\n  mcp-guard feature list --json | jq '.status.off[].feature'")]
    List {
        /// Show what was switched before, too.
        #[arg(long)]
        history: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Switch a feature off: tool:NAME-or-pattern, client:NAME, route:NAME, shadow, era-fence.
    #[command(
        after_help = "Example:\n  mcp-guard feature off client:batch-importer --reason \"floods the database\""
    )]
    Off(SwitchArgs),
    /// Switch a feature on again.
    #[command(after_help = "Example:\n  mcp-guard feature on client:batch-importer")]
    On(SwitchArgs),
}

#[derive(Debug, Args)]
struct SwitchArgs {
    /// The feature.
    #[arg(value_name = "NAME", value_parser = Feature::parse)]
    feature: Feature,
    /// For the log and the list.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl FeatureArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let done = match &self.what {
            What::List { history, json } => {
                ask(guard, &AdminCommand::Features).map(|report| list(&report, *history, *json))
            }
            What::Off(switch) => change(guard, switch, FeatureState::Off),
            What::On(switch) => change(guard, switch, FeatureState::On),
        };
        done.map_or_else(|exit| exit, |()| Exit::Done)
    }
}

fn ask(guard: &Guard, command: &AdminCommand) -> Result<FeatureReport, Exit> {
    let response = guard.ask(command)?;
    if let AdminResponse::Features(report) = response { Ok(*report) } else { Err(unexpected(&response)) }
}

fn change(guard: &Guard, switch: &SwitchArgs, to: FeatureState) -> Result<(), Exit> {
    let command =
        AdminCommand::Feature { feature: switch.feature.clone(), to, reason: switch.reason.clone() };
    let report = ask(guard, &command)?;
    let still = if to == FeatureState::On { still_off(&report, &switch.feature) } else { Vec::new() };
    if still.is_empty() {
        say(format_args!("{} is {}", switch.feature, to.as_str()));
    } else {
        say(format_args!("{} is no longer switched off by this name", switch.feature));
        complain(format_args!(
            "it is still off by {} (hint: `mcp-guard feature on {}`)",
            still.join(", "),
            still[0]
        ));
    }
    report.notes.iter().for_each(complain);
    Ok(())
}

/// The switches that keep a tool off which was switched on by its name.
fn still_off(report: &FeatureReport, feature: &Feature) -> Vec<String> {
    let Feature::Tool(name) = feature else { return Vec::new() };
    let covers = |change: &&FeatureChange| match &change.feature {
        Feature::Tool(pattern) => Pattern::new(pattern).matches_in_any_case(name),
        Feature::Client(_) | Feature::Route(_) | Feature::Shadow | Feature::EraFence => false,
    };
    report.status.off.iter().filter(covers).map(|change| change.feature.to_string()).collect()
}

fn list(report: &FeatureReport, history: bool, json: bool) {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => say(text),
            Err(error) => complain_of(&error),
        }
        return;
    }
    if let Some(problem) = &report.status.problem {
        complain(problem);
    }
    let off = &report.status.off;
    let routes = report.routes.iter().map(|name| Feature::Route(name.clone()));
    let on = [Feature::Shadow, Feature::EraFence]
        .into_iter()
        .chain(routes)
        .filter(|feature| !off.iter().any(|change| change.feature == *feature))
        .map(|feature| [feature.to_string(), "on".to_owned(), "-".to_owned(), "-".to_owned(), String::new()]);
    let rows: Vec<[String; 5]> = off.iter().map(row).chain(on).collect();
    table(["FEATURE", "IS", "SINCE", "BY", "REASON"], &rows);
    if history {
        say("");
        table(["FEATURE", "WENT", "AT", "BY", "REASON"], &report.history.iter().map(row).collect::<Vec<_>>());
    }
}

fn row(change: &FeatureChange) -> [String; 5] {
    [
        change.feature.to_string(),
        change.to.as_str().to_owned(),
        change.at.clone(),
        change.who.clone(),
        change.reason.clone().unwrap_or_default(),
    ]
}
