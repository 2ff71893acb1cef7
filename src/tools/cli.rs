//! The command line of `mcp-tools`: clap types, one function a command, and the exit codes.
//!
//! The only place of the tool server that prints. Must not hold what the commands do beyond that.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use super::catalogue::{self, BUILTIN_INSTRUCTIONS, Problem, Problems, Source};
use super::handler::{self, Host};
use super::protocol;
use super::registry::Registry;
use super::server::{self, Shared};

const NO: u8 = 1;
const COULD_NOT_RUN: u8 = 2;
const USAGE: u8 = 64;

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
    /// Serve the tools on a Unix socket until SIGTERM; SIGHUP reads the files again.
    #[command(
        after_help = "Example:\n  mcp-tools serve --socket /run/mcp-tools/blue.sock \\\n    --catalog /etc/mcp-tools/swf.toml --instructions /etc/mcp-tools/instructions.txt\n\nTry it:\n  curl --unix-socket /run/mcp-tools/blue.sock http://localhost/ -H 'Content-Type: application/json' \\\n    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}'"
    )]
    Serve {
        /// Path of the socket to serve on.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        #[command(flatten)]
        files: Files,
    },
    /// Check a catalogue file and print every problem.
    #[command(after_help = "Example:\n  mcp-tools check conf/tools/server.toml")]
    Check {
        /// Catalogue files.
        #[arg(required = true, value_name = "FILE")]
        file: Vec<PathBuf>,
    },
    /// List the tools: name, whether it writes, parameters.
    #[command(after_help = "Example:\n  mcp-tools list\n  mcp-tools list --json")]
    List {
        /// Print what tools/list answers.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        files: Files,
    },
    /// Call a tool without a server and print its answer.
    #[command(after_help = "Example:\n  mcp-tools call server_time '{}'")]
    Call {
        /// Name of the tool.
        name: String,
        /// Arguments as a JSON object.
        #[arg(default_value = "{}")]
        json: String,
        #[command(flatten)]
        files: Files,
    },
}

/// Where tools and instructions come from.
#[derive(Debug, Clone, Args)]
struct Files {
    /// Catalogue file, repeatable; the built-in catalogue when none is given.
    #[arg(long, value_name = "FILE")]
    catalog: Vec<PathBuf>,
    /// Text file with the server's instructions; the built-in text when not given.
    #[arg(long, value_name = "FILE")]
    instructions: Option<PathBuf>,
}

impl Files {
    fn load(&self) -> Result<Registry, Problems> {
        let mut problems: Vec<Problem> = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        for path in &self.catalog {
            match Source::read(path) {
                Ok(source) => sources.push(source),
                Err(problem) => problems.push(problem),
            }
        }
        if self.catalog.is_empty() {
            sources = catalogue::builtin_sources();
        }
        let instructions = match &self.instructions {
            None => Ok(BUILTIN_INSTRUCTIONS.to_owned()),
            Some(path) => Source::read(path).map(|source| source.text),
        };
        match (instructions, problems.is_empty()) {
            (Ok(instructions), true) => catalogue::build(&sources, instructions.into()),
            (Ok(_), false) => Err(problems.into()),
            (Err(problem), _) => {
                problems.push(problem);
                Err(problems.into())
            }
        }
    }
}

pub(super) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match cli.command {
        Command::Serve { socket, files } => serve(&socket, &files),
        Command::Check { file } => check(file),
        Command::List { json, files } => list(json, &files),
        Command::Call { name, json, files } => call(&name, &json, &files),
    }
}

fn serve(socket: &std::path::Path, files: &Files) -> ExitCode {
    let registry = match files.load() {
        Ok(registry) => registry,
        Err(problems) => return refused(&problems),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run(&error),
    };
    let shared = Shared::new(registry, host());
    match runtime.block_on(server::serve(socket, shared, || files.load())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => could_not_run(&error),
    }
}

fn check(file: Vec<PathBuf>) -> ExitCode {
    let files = Files { catalog: file, instructions: None };
    match files.load() {
        Ok(registry) => {
            println!("OK: {} tools", registry.tools().len());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("{problems}\n{} problems", problems.len());
            ExitCode::from(NO)
        }
    }
}

fn list(json: bool, files: &Files) -> ExitCode {
    let registry = match files.load() {
        Ok(registry) => registry,
        Err(problems) => return refused(&problems),
    };
    if json {
        println!("{}", protocol::indented(&serde_json::json!(registry.listed())));
        return ExitCode::SUCCESS;
    }
    for tool in registry.tools() {
        let params: Vec<&str> = tool.input().params().iter().map(|param| param.name.as_str()).collect();
        let access = if tool.read_only() { "reads " } else { "writes" };
        println!("{access}  {}({})", tool.name(), params.join(", "));
    }
    ExitCode::SUCCESS
}

fn call(name: &str, json: &str, files: &Files) -> ExitCode {
    let arguments = match serde_json::from_str(json) {
        Ok(serde_json::Value::Object(arguments)) => arguments,
        Ok(_) | Err(_) => {
            eprintln!("mcp-tools: the arguments must be a JSON object (hint: '{{\"name\": \"value\"}}')");
            return ExitCode::from(USAGE);
        }
    };
    let registry = match files.load() {
        Ok(registry) => registry,
        Err(problems) => return refused(&problems),
    };
    let Some(tool) = registry.tool(name) else {
        eprintln!("mcp-tools: unknown tool: {name} (hint: mcp-tools list)");
        return ExitCode::from(NO);
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return could_not_run(&error),
    };
    let done = runtime.block_on(handler::call(tool, arguments, &host(), &registry));
    let result = protocol::result_of(done, tool.structured());
    for block in &result.content {
        if let Some(text) = block.as_text() {
            println!("{}", text.text);
        }
    }
    if result.is_error == Some(true) { ExitCode::from(NO) } else { ExitCode::SUCCESS }
}

fn host() -> Host {
    Host { started: Instant::now() }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn refused(problems: &Problems) -> ExitCode {
    eprintln!("{problems}\nmcp-tools: {} problems in the files; nothing was started", problems.len());
    ExitCode::from(COULD_NOT_RUN)
}

fn could_not_run(error: &dyn std::error::Error) -> ExitCode {
    eprint!("mcp-tools: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::from(COULD_NOT_RUN)
}
