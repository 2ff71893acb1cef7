//! `mcp-guard parity`: sends two servers the same requests and prints what differs.
//!
//! Holds the flags and the order of work; the requests are `client`'s, their meaning is `parity`'s.

pub(super) mod files;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::output::{complain, say};
use crate::client::{Client, Limits, Target};
use crate::collect::survey;
use crate::collect::{auth_matrix, time_both};
use crate::parity::expectations::SELF_DESCRIPTION;
use crate::parity::{Expectations, Report, judge, render};

const EXAMPLES: &str = "\
Examples:
  LIVE=… CAND=… mcp-guard parity --live-url http://127.0.0.1:8001/swf-monitor/mcp/ --live-token-env LIVE \\
      --candidate-url unix:/run/mcp-guard/guard.sock:/mcp --candidate-token-env CAND --expected-name swf-testbed
  mcp-guard parity --live-url http://127.0.0.1:8001/ --candidate-url unix:/run/mcp-tools/green.sock --calls calls.jsonl

Exit codes: 0 parity holds, 1 it does not, 2 the comparison could not be made.";

/// Compare two MCP servers: tools, schemas, instructions, results, the auth matrix, and how fast they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ParityArgs {
    /// The server that clients use now: http://, https:// or unix:/socket[:/path].
    #[arg(long, value_name = "URL")]
    live_url: Target,
    /// The server that is to take over.
    #[arg(long, value_name = "URL")]
    candidate_url: Target,
    /// Environment variable that holds the live server's bearer token.
    #[arg(long, value_name = "NAME", conflicts_with = "live_token_file")]
    live_token_env: Option<String>,
    /// File that holds the live server's bearer token.
    #[arg(long, value_name = "FILE")]
    live_token_file: Option<PathBuf>,
    /// Environment variable that holds the candidate's bearer token; without one check 6 is skipped.
    #[arg(long, value_name = "NAME", conflicts_with = "candidate_token_file")]
    candidate_token_env: Option<String>,
    /// File that holds the candidate's bearer token.
    #[arg(long, value_name = "FILE")]
    candidate_token_file: Option<PathBuf>,
    /// `Host` sent to the live server instead of the URL's own.
    #[arg(long, value_name = "HOST")]
    live_host: Option<String>,
    /// `Host` sent to the candidate instead of the URL's own.
    #[arg(long, value_name = "HOST")]
    candidate_host: Option<String>,
    /// What `serverInfo.name` must be; the live server's own otherwise.
    #[arg(long, value_name = "NAME")]
    expected_name: Option<String>,
    /// What the instructions must be, byte for byte; the live server's own otherwise.
    #[arg(long, value_name = "FILE")]
    instructions_file: Option<PathBuf>,
    /// The tool that returns the instructions.
    #[arg(long, value_name = "TOOL", default_value = "get_server_instructions")]
    instructions_tool: String,
    /// The tool that lists the tools.
    #[arg(long, value_name = "TOOL", default_value = SELF_DESCRIPTION)]
    self_description_tool: String,
    /// TOML file of clients: how many tools each must see (check 8).
    #[arg(long, value_name = "FILE")]
    expected_counts: Option<PathBuf>,
    /// File of recorded read-only calls, one JSON object a line, replayed against both.
    #[arg(long, value_name = "FILE")]
    calls: Option<PathBuf>,
    /// TOML file of reviewed differences that do not fail the comparison.
    #[arg(long, value_name = "FILE")]
    accept: Option<PathBuf>,
    /// A guard started without any token: it must answer 503.
    #[arg(long, value_name = "URL")]
    unconfigured_url: Option<Target>,
    /// What the candidate must answer to a wrong token.
    #[arg(long, value_name = "STATUS", default_value = "403", value_parser = ["401", "403"])]
    wrong_token_status: String,
    /// Seconds that one response may take.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// How often each question is timed; 0 for no latency table.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(0..=1000))]
    samples: u16,
    /// How many times slower (p50) the candidate may be, beyond 25 ms.
    #[arg(long, value_name = "TIMES", default_value = "5")]
    max_slowdown: f64,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "junit")]
    json: bool,
    /// Print JUnit XML.
    #[arg(long)]
    junit: bool,
    /// List every note.
    #[arg(short, long)]
    verbose: bool,
}

impl ParityArgs {
    /// Runs the comparison.
    pub(super) fn run(self) -> Exit {
        let (json, junit, verbose) = (self.json, self.junit, self.verbose);
        let report = match compare(self) {
            Ok(report) => report,
            Err(reason) => {
                complain(format_args!("parity: {reason}"));
                return Exit::CouldNotRun;
            }
        };
        if json {
            say(format_args!("{:#}", render::json(&report)));
        } else if junit {
            say(render::junit(&report).trim_end());
        } else {
            say(render::text(&report, verbose).trim_end());
        }
        if report.passed() { Exit::Done } else { Exit::No }
    }
}

fn compare(parity: ParityArgs) -> Result<Report, String> {
    let expected = expectations(&parity)?;
    let total = Duration::from_secs(parity.timeout);
    let limits = Limits { connect: total.min(Duration::from_secs(5)), total, ..Limits::default() };
    let token =
        |name: &Option<String>, file: &Option<PathBuf>| files::token(name.as_deref(), file.as_deref());
    let live_token = token(&parity.live_token_env, &parity.live_token_file)?;
    let candidate_token = token(&parity.candidate_token_env, &parity.candidate_token_file)?;
    // Neither server's answers are quoted with the other one's token.
    let secrets = files::secrets([&live_token, &candidate_token]);
    let side = |url: Target, token: Option<String>, host: &Option<String>| {
        let url = url.with_bearer(token);
        let url = host.iter().fold(url, |url, host| url.with_host(host));
        Client::new(url, limits).with_secrets(&secrets)
    };
    let live = side(parity.live_url, live_token, &parity.live_host);
    let candidate = side(parity.candidate_url, candidate_token, &parity.candidate_host);
    let unconfigured = parity.unconfigured_url.map(|url| Client::new(url, limits).with_secrets(&secrets));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let mut was = survey(&live, &expected).await;
        if !was.reached() {
            let why = was.legacy.why_not().unwrap_or_default();
            return Err(format!(
                "the live server does not answer, so there is nothing to compare with: {why}"
            ));
        }
        let mut is = survey(&candidate, &expected).await;
        if is.reached() {
            is.auth = auth_matrix(&candidate, unconfigured.as_ref()).await;
            let samples = usize::from(parity.samples);
            (was.timings, is.timings) = time_both(&live, &candidate, &expected.calls, samples).await;
        }
        Ok(judge(&was, &is, &expected))
    })
}

fn expectations(parity: &ParityArgs) -> Result<Expectations, String> {
    if !(parity.max_slowdown.is_finite() && parity.max_slowdown >= 1.0) {
        return Err("--max-slowdown: must be a number from 1 up".to_owned());
    }
    Ok(Expectations {
        server_name: parity.expected_name.clone(),
        instructions: parity.instructions_file.as_deref().map(files::text).transpose()?,
        instructions_tool: parity.instructions_tool.clone(),
        self_description: parity.self_description_tool.clone(),
        counts: parity.expected_counts.as_deref().map(files::counts).transpose()?.unwrap_or_default(),
        calls: parity.calls.as_deref().map(files::calls).transpose()?.unwrap_or_default(),
        wrong_token_status: parity
            .wrong_token_status
            .parse()
            .map_err(|_| "--wrong-token-status: not a status")?,
        slowdown_max: parity.max_slowdown,
        accepted: parity.accept.as_deref().map(files::acceptances).transpose()?.unwrap_or_default(),
        now: super::watchdog::now_seconds(),
        ..Expectations::default()
    })
}
