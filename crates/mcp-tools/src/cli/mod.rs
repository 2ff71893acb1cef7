//! The command line of `mcp-tools`: clap types, one function for each command, and the exit codes.
//!
//! The only module of the tool server that prints.

#![expect(clippy::print_stderr, reason = "a command line prints")]

mod check;
mod databases;
mod import;
mod input;
mod report;
mod runtime;
mod serve;
mod test;
#[cfg(feature = "traces")]
mod traces;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use crate::catalogue::Sent;
use crate::database::{Dialect, demo_script, schema_script};
use crate::handler::{CallInfo, Context};
use crate::protocol::call_result::{call_tool_result, indented};
use crate::registry::Tool;
use databases::DatabaseFlags;
use input::Files;
use mcp_host::manual::Manual;
use report::{CommandError, REFUSED, USAGE, other, print_line};
use runtime::runtime;

/// A minimal MCP tool server on a Unix socket. Its tools are declared as data.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-tools",
    version,
    after_help = "Example:\n  mcp-tools serve --socket /run/mcp-tools/blue.sock"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the tools on a Unix socket or a loopback address until SIGTERM; SIGHUP reads the files again.
    #[command(after_help = serve::SERVE_EXAMPLE)]
    Serve(serve::Serve),
    /// Serve the tools to one local client, which starts this program: messages on standard input and output.
    #[command(after_help = serve::STDIO_EXAMPLE)]
    Stdio(serve::Stdio),
    /// Check catalogue files and print every problem; where a database is known, also whether every statement could run there.
    #[command(after_help = check::EXAMPLE)]
    Check(check::Check),
    /// List the tools: whether they write, name, parameters.
    #[command(after_help = "Example:\n  mcp-tools list\n  mcp-tools list --json")]
    List {
        /// Print the result of tools/list.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        files: Files,
    },
    /// Call a tool without a server and print its result.
    #[command(
        after_help = "Example:\n  mcp-tools call swf_list_runs\n  mcp-tools call swf_get_run '{\"run_number\": 100042}'"
    )]
    Call {
        /// Name of the tool.
        name: String,
        /// Arguments as a JSON object.
        #[arg(default_value = "{}")]
        json: String,
        /// Run a tool that writes, show its result, and undo everything.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        databases: DatabaseFlags,
    },
    /// Write a catalogue made from a running server, an OpenAPI document or the tables of a database.
    #[command(after_help = import::EXAMPLE)]
    Import(import::Import),
    /// Run the examples that are written beside tools; what they change is undone.
    #[command(after_help = test::EXAMPLE)]
    Test(test::Test),
    /// Print the SQL that makes the tables of the built-in catalogue, for a database to try it on.
    #[command(
        after_help = "Example:\n  mcp-tools schema --dialect postgres --demo | psql trial\n  mcp-tools schema --demo | sqlite3 trial.db"
    )]
    Schema {
        /// The dialect of SQL.
        #[arg(long, value_enum, default_value = "sqlite")]
        dialect: DialectName,
        /// Also print a small data set.
        #[arg(long)]
        demo: bool,
        /// The moment the data set is made for; now when not given.
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    Manual(Manual),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DialectName {
    Sqlite,
    Postgres,
}

pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let result = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Stdio(stdio) => stdio.run(),
        Command::Check(check) => check.run(),
        Command::List { json, files } => list(json, &files),
        Command::Call { name, json, dry_run, files, databases } => {
            call(&name, &json, dry_run, &files, &databases)
        }
        Command::Import(import) => import.run(),
        Command::Test(test) => test.run(),
        Command::Schema { dialect, demo, at } => Ok(schema(dialect, demo, at)),
        Command::Manual(manual) => match manual.write(Cli::command()) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(other(error)),
        },
    };
    result.unwrap_or_else(|error| error.report())
}

fn list(json: bool, files: &Files) -> Result<ExitCode, CommandError> {
    let registry = files.load()?;
    if json {
        let listed: Vec<_> = registry.tools().iter().map(Tool::listed).collect();
        print_line(format_args!("{}", indented(&serde_json::json!(listed))));
        return Ok(ExitCode::SUCCESS);
    }
    for tool in registry.tools() {
        let params: Vec<&str> = tool.input().params().iter().map(|param| param.name.as_str()).collect();
        let access = if tool.read_only() { "reads " } else { "writes" };
        print_line(format_args!("{access}  {}({})", tool.name(), params.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

fn call(
    name: &str,
    json: &str,
    dry_run: bool,
    files: &Files,
    databases: &DatabaseFlags,
) -> Result<ExitCode, CommandError> {
    let arguments = match serde_json::from_str(json) {
        Ok(Value::Object(arguments)) => Sent::with_digits(arguments, json),
        read => {
            let reason = read.err().map(|error| format!(": {error}")).unwrap_or_default();
            eprintln!(
                "mcp-tools: the arguments must be a JSON object{reason} (hint: '{{\"name\": \"value\"}}')"
            );
            return Ok(ExitCode::from(USAGE));
        }
    };
    let registry = files.load()?;
    let Some(tool) = registry.tool(name) else {
        eprintln!("mcp-tools: unknown tool: {name} (hint: mcp-tools list)");
        return Ok(ExitCode::from(REFUSED));
    };
    let context = Context::new(databases.open(&registry)?);
    let result = match tool.accept(arguments) {
        Ok(arguments) => {
            let call = CallInfo { dry_run, ..CallInfo::of_tool(tool.shared_name()) };
            runtime()?.block_on(tool.run(&arguments, &context, &call, registry.self_description()))
        }
        Err(refused) => refused,
    };
    let result = call_tool_result(result, tool.structured());
    for text in result.content.iter().filter_map(|block| block.as_text()) {
        print_line(format_args!("{}", text.text));
    }
    Ok(if result.is_error == Some(true) { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

fn schema(dialect: DialectName, demo: bool, at: Option<Timestamp>) -> ExitCode {
    let dialect = match dialect {
        DialectName::Sqlite => Dialect::Sqlite,
        DialectName::Postgres => Dialect::Postgres,
    };
    print_line(schema_script(dialect).trim_end());
    if demo {
        print_line(demo_script(dialect, at.unwrap_or_else(Timestamp::now)).trim_end());
    }
    ExitCode::SUCCESS
}
