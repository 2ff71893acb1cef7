//! The operator's command line: clap types, one subcommand a file. The only place that prints and sets exit codes.

mod parity;
mod watchdog;

/// Runs the command line of `mcp-guard` and returns its exit code (0 done, 1 no, 2 could not run, 64 usage).
pub fn main() -> std::process::ExitCode {
    todo!()
}
