//! Reads tools and instructions from the command line's arguments. Must not print.

use std::path::{Path, PathBuf};

use clap::Args;

use mcp_host::diagnostics::{Diagnostic, Diagnostics};

use crate::catalogue::{Source, builtin_sources, read_catalogue, read_text, unreadable};
use crate::registry::{self, Registry};

/// The word that stands for the compiled-in catalogue among the files.
const BUILTIN: &str = "builtin";

/// Where tools and instructions come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Files {
    /// Catalogue file, repeatable; `builtin` is the built-in catalogue, which is used when none is given.
    #[arg(long, value_name = "FILE")]
    catalog: Vec<PathBuf>,
    /// Text file with the server's instructions, instead of those of the catalogue.
    #[arg(long, value_name = "FILE")]
    instructions: Option<PathBuf>,
}

impl Files {
    /// These catalogues with their own instructions.
    pub(crate) fn of(catalog: Vec<PathBuf>) -> Files {
        Files { catalog, instructions: None }
    }

    /// Reads and validates all files.
    pub(crate) fn load(&self) -> Result<Registry, Diagnostics> {
        let mut problems: Vec<Diagnostic> = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        for path in &self.catalog {
            if path.as_path() == Path::new(BUILTIN) {
                sources.extend(builtin_sources());
                continue;
            }
            sources.extend(read_catalogue(path, &mut problems));
        }
        if self.catalog.is_empty() {
            sources = builtin_sources();
        }
        let instructions = self
            .instructions
            .as_ref()
            .and_then(|path| read_text(path).map_err(|reason| problems.push(unreadable(path, reason))).ok());
        if problems.is_empty() {
            registry::build(&sources, instructions.map(Into::into))
        } else {
            Err(Diagnostics { problems, warnings: Vec::new() })
        }
    }
}
