//! `mcp-tools import`: writes a catalogue made from a server, an OpenAPI document or a database.

#![expect(clippy::print_stderr, reason = "a command line prints")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use mcp_host::diagnostics::count;

use super::report::{CommandError, other, print_line};
use super::runtime::runtime;
use crate::database::{Address, Database, Settings};
use crate::import::{self, DocumentError, Draft, Origin, Written};

pub(crate) const EXAMPLE: &str = "\
Example:
  mcp-tools import --from-server http://127.0.0.1:8001/mcp/ --output old.toml
  mcp-tools import --from-server /run/mcp-tools/blue.sock
  mcp-tools import --openapi api.yaml --output api.toml
  mcp-tools import --database env:APP_DATABASE_URL --table orders --table customers

Then:
  mcp-tools check old.toml";

/// The largest document that is read.
const FILE_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    source: Source,
    /// Variable with a bearer token for --from-server.
    #[arg(long, value_name = "VARIABLE", requires = "from_server")]
    token_env: Option<String>,
    /// Table or view for --database, repeatable; all that may be read when not given.
    #[arg(long, value_name = "[SCHEMA.]TABLE", requires = "database")]
    table: Vec<String>,
    /// File to write instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long, requires = "output")]
    force: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Address of a running MCP server: its tools, without handlers.
    #[arg(long, value_name = "URL|SOCKET")]
    from_server: Option<String>,
    /// OpenAPI document, 3.0 or 3.1, JSON or YAML: a tool for each operation.
    #[arg(long, value_name = "FILE")]
    openapi: Option<PathBuf>,
    /// Database: tools that list and get the rows of its tables. The URL as in `serve`.
    #[arg(long, value_name = "[NAME=]URL")]
    database: Option<String>,
}

/// Why a catalogue was not written.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{0}: cannot be read")]
    Unreadable(String, #[source] io::Error),
    #[error("{file}: is larger than {} MiB", FILE_BYTES_MAX / 1024 / 1024)]
    TooLarge { file: String },
    #[error("{0}")]
    Document(String, #[source] DocumentError),
    #[error("--token-env: the variable {0} is not set")]
    Unset(String),
    #[error(
        "the current folder cannot be read, and the database's path starts there (hint: give the whole path)"
    )]
    NoFolder(#[source] io::Error),
    #[error("{0} exists; nothing was written (hint: --force replaces it)")]
    Exists(String),
    #[error("{0}: cannot be written")]
    Unwritable(String, #[source] io::Error),
}

impl Import {
    pub(crate) fn run(self) -> Result<ExitCode, CommandError> {
        let draft = self.draft()?;
        let written = import::write(draft).map_err(other)?;
        match &self.output {
            None => print_line(written.text.trim_end()),
            Some(path) => self.put(path, &written.text).map_err(other)?,
        }
        report(&written, self.output.as_deref());
        Ok(ExitCode::SUCCESS)
    }

    fn draft(&self) -> Result<Draft, CommandError> {
        if let Some(given) = &self.source.database {
            return self.database_draft(given);
        }
        if let Some(path) = &self.source.openapi {
            return openapi_draft(path).map_err(other);
        }
        let address = self.source.from_server.as_deref().unwrap_or_default();
        let token = self
            .token_env
            .as_ref()
            .map(|variable| std::env::var(variable).map_err(|_| ImportError::Unset(variable.clone())));
        let token = token.transpose().map_err(other)?;
        runtime()?.block_on(import::import_server(address, token.as_deref().map(str::trim))).map_err(other)
    }

    fn database_draft(&self, given: &str) -> Result<Draft, CommandError> {
        let (name, address) = Address::parse(given).map_err(other)?;
        let database = Database::open(&address, &Settings::default()).map_err(other)?;
        let from_here =
            address.url_for_any_folder(given).map_err(|error| other(ImportError::NoFolder(error)))?;
        let given = from_here.as_deref().unwrap_or(given);
        let origin = Origin { database: &database, name: &name, given };
        runtime()?.block_on(import::import_database(&origin, &self.table)).map_err(other)
    }

    fn put(&self, path: &Path, text: &str) -> Result<(), ImportError> {
        let shown = path.display().to_string();
        let mut options = OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                ImportError::Exists(shown)
            } else {
                ImportError::Unwritable(shown, error)
            }
        })
    }
}

fn openapi_draft(path: &Path) -> Result<Draft, ImportError> {
    let shown = path.display().to_string();
    let unreadable = |error| ImportError::Unreadable(shown.clone(), error);
    let mut text = String::new();
    let mut file = File::open(path).map_err(unreadable)?.take(FILE_BYTES_MAX + 1);
    let length = file.read_to_string(&mut text).map_err(unreadable)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(ImportError::TooLarge { file: shown });
    }
    let name = path.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
    import::import_openapi(&text, &name).map_err(|error| ImportError::Document(shown, error))
}

/// What was written and what was not, on standard error: the catalogue may be on standard output.
fn report(written: &Written, output: Option<&Path>) {
    let place = output.map(|path| format!(" in {}", path.display())).unwrap_or_default();
    eprintln!("mcp-tools: {}{place}", count(written.tools, "tool"));
    for omitted in &written.omitted {
        eprintln!("mcp-tools: not imported: {}: {}", omitted.what, omitted.reason);
    }
}
