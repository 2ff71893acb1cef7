//! `mcp-tools check`: every problem of catalogue files, and of their statements where a database is known.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::databases::{DatabaseFlags, replaced};
use super::input::Files;
use super::report::{CommandError, REFUSED, print_line};
use super::runtime::runtime;
use crate::catalogue::listed;
use crate::database::Databases;
use crate::registry::Registry;
use mcp_host::diagnostics::{Diagnostics, plain};

pub(crate) const EXAMPLE: &str = "\
Example:
  mcp-tools check conf/tools/swf.toml
  mcp-tools check conf/tools/swf.toml --database env:SWF_DATABASE_URL";

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Catalogue files; `builtin` is the built-in catalogue.
    #[arg(required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    #[command(flatten)]
    databases: DatabaseFlags,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode, CommandError> {
        let registry = match Files::of(self.file).load() {
            Ok(registry) => registry,
            Err(problems) => {
                print_line(format_args!("{}\n{problems}", listed(&problems)));
                return Ok(ExitCode::from(REFUSED));
            }
        };
        for tool in registry.tools().iter().filter(|tool| !fits_model_apis(tool.name())) {
            let reason = "name: APIs of models take names of 1 to 64 of A-Z a-z 0-9 _ - only; clients that pass it on are refused";
            print_line(format_args!("warning: {}", tool.problem(reason)));
        }
        let mut unfit = Diagnostics::default();
        if let Some(known) = self.databases.open_known(&registry)? {
            for note in &known.notes {
                print_line(note);
            }
            for line in replaced(&registry, &known.databases) {
                print_line(format_args!("warning: {line}"));
            }
            unfit = runtime()?.block_on(check_statements(&registry, &known.databases));
        }
        if unfit.problems.is_empty() {
            print_line(format_args!("OK: {} tools", registry.tools().len()));
            return Ok(ExitCode::SUCCESS);
        }
        print_line(format_args!("{}\n{unfit}", listed(&unfit)));
        Ok(ExitCode::from(REFUSED))
    }
}

/// Whether the APIs of models, which make a function of each tool, take this name.
fn fits_model_apis(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

async fn check_statements(registry: &Registry, databases: &Databases) -> Diagnostics {
    let mut unfit = Diagnostics::default();
    for tool in registry.tools() {
        // A database whose address is not known here has its note.
        if tool.handler().database().is_some_and(|name| !databases.serves(name)) {
            continue;
        }
        let reasons = tool.handler().check(databases).await;
        unfit.problems.extend(reasons.iter().map(|reason| tool.problem(plain(reason))));
    }
    unfit
}
