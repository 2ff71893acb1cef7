//! `mcp-tools test`: runs the examples of catalogue files and prints a line for each.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::databases::DatabaseFlags;
use super::input::Files;
use super::report::{CommandError, REFUSED, print_line};
use super::runtime::runtime;
use crate::examples::{self, Changes, ExampleResult};
use crate::handler::Context;

pub(crate) const EXAMPLE: &str = "\
Example:
  mcp-tools test a.toml --database env:APP_DATABASE_URL

An example is declared beside its tool:
  [[tool.example]]
  arguments = { id = 1 }
  expect = { name = \"first\" }";

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Catalogue files; `builtin` is the built-in catalogue.
    #[arg(required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Keep what examples change in a database, and also run tools that act elsewhere.
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    databases: DatabaseFlags,
}

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode, CommandError> {
        let registry = Files::of(self.file).load()?;
        let context = Context::new(self.databases.open(&registry)?);
        let changes = if self.write { Changes::Keep } else { Changes::Undo };
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        runtime()?.block_on(examples::run(&registry, &context, changes, |finished| {
            let (word, reason, count) = match finished.result {
                ExampleResult::Passed => ("ok     ", String::new(), &mut passed),
                ExampleResult::Failed(reason) => ("FAILED ", format!(": {reason}"), &mut failed),
                ExampleResult::Skipped(reason) => ("skipped", format!(": {reason}"), &mut skipped),
            };
            *count += 1;
            let milliseconds = finished.took.as_millis();
            print_line(format_args!(
                "{word} {} example {} ({milliseconds} ms){reason}",
                finished.tool, finished.place
            ));
        }));
        print_line(format_args!("{passed} passed, {failed} failed, {skipped} skipped"));
        if passed + failed + skipped == 0 {
            print_line("no tool has an example (hint: a [[tool.example]] table below a tool)");
        }
        // A run that ran nothing must not look like one that passed.
        Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}
