//! `mcp-guard explain`: which check decides on a request and why, which limits hold for it, and which slot gets it. Nothing is sent.
//!
//! Must not know how a request is judged: the guard does, with the code that serves requests.

mod saved;
mod show;

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use self::saved::{Made, Saved};
use super::exit::Exit;
use super::guard::{Guard, Unasked};
use super::output::{complain, say};
use super::status::unexpected;
use super::watchdog::now_seconds;
use crate::admin::{AdminCommand, AdminResponse};
use crate::app::explain::without_a_guard;
use crate::config::{self, Environment, Loaded};
use crate::proxy::explain::{ExplainedOutcome, Explanation, Question};
use crate::wire::ProtocolVersion;

const EXAMPLES: &str = "\
Examples:
  mcp-guard explain --client bot --tool jobs_kill              would this client's call pass, and where does it go?
  mcp-guard explain --client bot --method tools/list --protocol 2026-07-28
  mcp-guard explain --request saved.http                       raw HTTP as tcpdump has it; the token in it says who calls
  mcp-guard explain --request body.json --client bot --json | jq .verdict
  curl -v ... 2>&1 | mcp-guard explain --request - --tool jobs_list

A running guard explains with what is used of its limits; without one, the configuration and the saved state are used. Nothing is
sent, nothing is counted, and no token is printed.

Exit codes: 0 it would pass (or be answered by the guard), 1 it would be refused, 2 it cannot be said.";

/// A request that is longer does not fit into a command to a running guard.
const REQUEST_BYTES_MAX: u64 = 700 << 10;

/// Explain what would become of a request: each check in order, the verdict, the limits, the slot and why.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// The client that calls; without it the credential in the saved request says.
    #[arg(long, value_name = "NAME", required_unless_present = "request")]
    client: Option<String>,
    /// Which of those that the client stands for (clients of `[auth.oauth]`): what it is split by.
    #[arg(long, value_name = "NAME", requires = "client")]
    subject: Option<String>,
    /// The method that is called (with --tool: tools/call).
    #[arg(long, value_name = "METHOD", required_unless_present_any = ["tool", "request"])]
    method: Option<String>,
    /// The tool that is called.
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// A saved request (- for standard input): raw HTTP, the output of `curl -v`, or a JSON body alone.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// The protocol version that a request without one speaks.
    #[arg(long, value_name = "VERSION", default_value = "2025-11-25", value_parser = version)]
    protocol: ProtocolVersion,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn version(text: &str) -> Result<ProtocolVersion, String> {
    let known = ProtocolVersion::KNOWN.map(|version| version.as_str().to_owned()).join(", ");
    ProtocolVersion::parse(text.as_bytes()).ok_or_else(|| format!("a version is a date, such as {known}"))
}

impl ExplainArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        if self.tool.is_some() && self.method.as_deref().is_some_and(|method| method != "tools/call") {
            complain("--tool goes with tools/call");
            return Exit::Usage;
        }
        match self.explain(guard) {
            Ok(explanation) => self.show(&explanation),
            Err(exit) => exit,
        }
    }

    fn explain(&self, guard: &Guard) -> Result<Explanation, Exit> {
        let loaded = config::load(&guard.file, &Environment::of_process());
        let path = loaded.as_ref().ok().and_then(|loaded| loaded.config.paths.prefixes.first());
        let saved = self.saved(path.map_or("/mcp", |prefix| prefix.as_str()))?;
        let request = STANDARD.encode(&saved.bytes);
        let question = Question {
            request,
            client: self.client.clone(),
            subject: self.subject.clone(),
            is_made: saved.is_made,
        };
        let command = AdminCommand::Explain(Box::new(question.clone()));
        let (asked, notes) = guard.ask_quietly(&command);
        notes.iter().for_each(complain);
        let mut explanation = match (asked, loaded) {
            (Ok(AdminResponse::Explained(explanation)), _) => *explanation,
            (Ok(AdminResponse::Rejected(why)), _) => {
                complain(why);
                return Err(Exit::CouldNotRun);
            }
            (Ok(other), _) => return Err(unexpected(&other)),
            // A socket that was named and is silent is mistyped, or its guard has ended: only the operator can tell.
            (Err(Unasked { exit, reason }), Ok(Loaded { config, .. }))
                if !guard.is_named() && (exit == Exit::No || config.listen.admin.is_none()) =>
            {
                let unset = "`listen.admin` is not set: a guard that runs could not be asked".to_owned();
                let why = if config.listen.admin.is_none() { unset } else { reason };
                without_a_guard(config, &question, (&why, now_seconds())).map_err(|why| {
                    complain(why);
                    Exit::CouldNotRun
                })?
            }
            (Err(Unasked { reason, .. }), loaded) => {
                complain(reason);
                if let Err(error) = loaded {
                    complain(format_args!("and the configuration cannot be used in its place: {error}"));
                }
                return Err(Exit::CouldNotRun);
            }
        };
        explanation.notes.extend(saved.notes.into_iter().map(str::to_owned));
        Ok(explanation)
    }

    /// The request that is asked about.
    fn saved(&self, path: &str) -> Result<Saved, Exit> {
        let method = self.method.as_deref().or(self.tool.as_ref().map(|_| "tools/call"));
        let made = Made {
            path,
            method: method.unwrap_or("ping"),
            tool: self.tool.as_deref(),
            version: self.protocol,
        };
        let Some(file) = &self.request else { return Ok(made.request()) };
        match read(file) {
            Ok(bytes) if bytes.len() as u64 > REQUEST_BYTES_MAX => {
                complain(format_args!(
                    "{}: a request may have up to {REQUEST_BYTES_MAX} bytes",
                    file.display()
                ));
                Err(Exit::CouldNotRun)
            }
            Ok(bytes) => Ok(made.read(&bytes, method.is_some())),
            Err(error) => {
                complain(format_args!("cannot read {}: {error}", file.display()));
                Err(Exit::CouldNotRun)
            }
        }
    }

    fn show(&self, explanation: &Explanation) -> Exit {
        if self.json {
            match serde_json::to_string_pretty(explanation) {
                Ok(text) => say(text),
                Err(error) => complain(error),
            }
        } else {
            show::show(explanation);
        }
        match explanation.verdict.outcome {
            ExplainedOutcome::Forwarded
            | ExplainedOutcome::Waits
            | ExplainedOutcome::Answered
            | ExplainedOutcome::Route => Exit::Done,
            ExplainedOutcome::Refused => Exit::No,
        }
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(REQUEST_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(REQUEST_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
