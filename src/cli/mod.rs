//! The operator's command line: clap types, one subcommand a file. The only place that prints and sets exit codes.
//!
//! Must not hold what a command does to a guard: that is `proxy` and `admin`.

mod check;
mod demo;
mod distribute;
mod doctor;
mod endpoint;
mod exit;
mod explain;
mod feature;
mod fleet;
mod guard;
#[cfg(feature = "release")]
mod incident;
mod inspect;
mod load;
mod output;
mod parity;
#[cfg(feature = "release")]
mod release;
mod reload;
mod rollout;
mod run;
mod shadow;
mod slots;
mod status;
mod token;
#[cfg(feature = "console")]
mod top;
mod unit_reach;
mod upgrade;
mod users;
mod watchdog;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use exit::{DEFAULT_FILE, Exit};
use guard::Guard;
use mcp_host::manual::Manual;
use mcp_host::{handoff, process};

/// A proxy that owns transport policy for MCP backends: tokens, limits, timeouts, and the switch between backends.
#[derive(Debug, Parser)]
#[command(name = "mcp-guard", version, after_help = EXAMPLES)]
struct Cli {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Admin socket of the guard to ask, for commands that ask a running guard; else the one in the configuration.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mcp-guard demo                                   see it work, on this machine, in a minute
  mcp-guard check --config conf/guard.toml         every problem of a configuration at once
  mcp-guard run --config /etc/mcp-guard/guard.toml

Exit codes: 0 done, 1 the answer is no, 2 could not run, 64 usage.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    #[cfg(feature = "console")]
    Top(top::TopArgs),
    Reload(reload::ReloadArgs),
    Slots(slots::SlotsArgs),
    Rollout(rollout::RolloutArgs),
    Shadow(shadow::ShadowArgs),
    Feature(feature::FeatureArgs),
    Fleet(fleet::FleetArgs),
    Explain(Box<explain::ExplainArgs>),
    #[cfg(feature = "release")]
    Release(release::ReleaseArgs),
    #[cfg(feature = "release")]
    Incident(incident::IncidentArgs),
    #[command(subcommand)]
    Token(token::Token),
    Demo(demo::DemoArgs),
    Parity(Box<parity::ParityArgs>),
    Watchdog(Box<watchdog::WatchdogArgs>),
    Load(Box<load::LoadArgs>),
    Doctor(Box<doctor::DoctorArgs>),
    Upgrade(upgrade::UpgradeArgs),
    Manual(Manual),
}

/// Runs the command line of `mcp-guard` and returns its exit code (0 done, 1 no, 2 could not run, 64 usage).
pub fn main() -> ExitCode {
    // Before anything else: a huge page that is there stays.
    process::take_small_pages();
    if let Some(ended) = handoff::launch() {
        return ended;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return exit.into();
        }
    };
    let guard = Guard::new(cli.config, cli.socket);
    let exit = match cli.command {
        Command::Run(_) => run::run(&guard.file),
        Command::Check(check) => check.run(&guard.file),
        Command::Status(status) => status.run(&guard),
        #[cfg(feature = "console")]
        Command::Top(top) => top.run(&guard),
        Command::Reload(reload) => reload.run(&guard),
        Command::Slots(slots) => slots.run(&guard),
        Command::Rollout(rollout) => rollout.run(&guard),
        Command::Shadow(shadow) => shadow.run(&guard),
        Command::Feature(feature) => feature.run(&guard),
        Command::Fleet(fleet) => fleet.run(&guard),
        Command::Explain(explain) => explain.run(&guard),
        #[cfg(feature = "release")]
        Command::Release(release) => release.run(&guard),
        #[cfg(feature = "release")]
        Command::Incident(incident) => incident.run(&guard),
        Command::Token(token) => token.run(&guard),
        Command::Demo(demo) => demo.run(),
        Command::Parity(parity) => parity.run(),
        Command::Watchdog(watchdog) => watchdog.run(&guard),
        Command::Load(load) => load.run(&guard),
        Command::Doctor(doctor) => doctor.run(&guard),
        Command::Upgrade(upgrade) => upgrade.run(&guard),
        Command::Manual(manual) => match manual.write(Cli::command()) {
            Ok(()) => Exit::Done,
            Err(error) => {
                output::complain_of(&error);
                Exit::CouldNotRun
            }
        },
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_every_command_shows_an_example() {
        fn visit(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{path}: {help}");
            for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                visit(sub, &path);
            }
        }
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        visit(&mut cli, "mcp-guard");
    }
}
