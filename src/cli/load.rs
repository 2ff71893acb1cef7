//! `mcp-guard load`: many equal requests at once, their failures and times, and a baseline to compare them with.
//!
//! Holds the flags, the baseline's file and the printing; the requests are `client::load`'s.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say};
use super::parity::files;
use crate::client::load::{self, Connections, LoadCall, Plan, Report, Writes};

const EXAMPLES: &str = "\
Examples:
  mcp-guard load --save before.json                    before a change: 200 requests, 4 at a time
  mcp-guard load --baseline before.json                after it: exit 1 if it is worse
  mcp-guard load --tool swf_list_agents --arguments '{}' --requests 1000 --concurrency 20
  mcp-guard load --url https://host.example/swf-monitor/mcp/ --token-env BOT_TOKEN --json

The requests count against the client's own limits; the token comes from MCP_BEARER_TOKEN unless another source is named.
Exit codes: 0 no request failed (with --baseline: nothing is worse), 1 some failed or something is worse, 2 could not run.";

/// Send many equal requests to an MCP endpoint: failures, connections, p50, p95 and p99, compared with a baseline.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LoadArgs {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How many requests are made.
    #[arg(short = 'n', long, value_name = "N", default_value = "200", value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    requests: u32,
    /// How many clients, each with a session and a connection, make them at once.
    #[arg(short, long, value_name = "N", default_value = "4", value_parser = RangedU64ValueParser::<u16>::new().range(1..=1_000))]
    concurrency: u16,
    /// Call this tool, which must say that it is read-only; without it `tools/list`.
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// The tool's arguments, a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "tool")]
    arguments: String,
    /// Call the tool even if it may change something.
    #[arg(long, requires = "tool")]
    allow_writes: bool,
    /// Send `ping` (in a session before 2026-07-28, which has none).
    #[arg(long, conflicts_with = "tool")]
    ping: bool,
    /// Open a connection for each request.
    #[arg(long)]
    reconnect: bool,
    /// Seconds that each response may take.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Seconds after which no request is begun.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    time: u64,
    /// Keep the numbers in this file, as a baseline.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with the numbers in this file.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// How many times the baseline's p50, p95 and (from 500 requests on) p99 may be exceeded, beyond 10 ms.
    #[arg(long, value_name = "TIMES", default_value = "2", requires = "baseline")]
    factor: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The file of a baseline.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    /// The version that made the load.
    version: String,
    at: String,
    server: String,
    load: Report,
}

impl LoadArgs {
    /// Makes the load and judges it.
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        self.judged(&guard.file).unwrap_or_else(|reason| {
            complain(format_args!("load: {reason}"));
            Exit::CouldNotRun
        })
    }

    fn judged(&self, config: &Path) -> Result<Exit, String> {
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return Err("--factor: must be a number from 1 up".to_owned());
        }
        // Before the load: a wrong file is found at once.
        let baseline = self.baseline.as_deref().map(read).transpose()?;
        let plan = self.plan()?;
        if let Some(baseline) = &baseline {
            plan.report().check_comparable(&baseline.load)?;
        }
        let client = self.endpoint.client(config, Duration::from_secs(self.timeout))?;
        let server = client.target().to_string();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        let report = runtime.block_on(load::run(client, &plan)).map_err(|error| error.to_string())?;
        let worse = match &baseline {
            Some(baseline) => Some(report.worse_than(&baseline.load, self.factor)?),
            None => None,
        };
        let at = jiff::Timestamp::now().to_string();
        let saved = Saved { version: env!("CARGO_PKG_VERSION").to_owned(), at, server, load: report };
        if let Some(path) = &self.save {
            write(path, &saved)?;
        }
        self.show(&saved, baseline.as_ref(), worse.as_deref());
        let fine = match worse {
            Some(worse) => worse.is_empty(),
            None => saved.load.failed == 0,
        };
        // A load without a request shows nothing.
        Ok(if fine && saved.load.requests > 0 { Exit::Done } else { Exit::No })
    }

    fn plan(&self) -> Result<Plan, String> {
        let call = match &self.tool {
            None if self.ping => LoadCall::Ping,
            None => LoadCall::ListTools,
            Some(name) => {
                let arguments: Value = serde_json::from_str(&self.arguments)
                    .ok()
                    .filter(Value::is_object)
                    .ok_or("--arguments: must be a JSON object, such as '{\"limit\": 5}'")?;
                let writes = if self.allow_writes { Writes::Allow } else { Writes::Refuse };
                LoadCall::Tool { name: name.clone(), arguments, writes }
            }
        };
        Ok(Plan {
            call,
            requests: self.requests,
            concurrency: self.concurrency,
            connections: if self.reconnect { Connections::OneEach } else { Connections::Keep },
            time_max: Duration::from_secs(self.time),
        })
    }

    fn show(&self, saved: &Saved, baseline: Option<&Saved>, worse: Option<&[String]>) {
        if self.json {
            let shown = serde_json::json!({ "result": saved, "baseline": baseline, "worse": worse });
            return say(format_args!("{shown:#}"));
        }
        say(format_args!("{} at {}", saved.load.described(), saved.server));
        show_report(&saved.load);
        let Some((baseline, worse)) = baseline.zip(worse) else { return };
        say(format_args!("baseline     {} at {}", baseline.at, baseline.server));
        say(format_args!("             {}", times(&baseline.load)));
        match worse {
            [] => say("not worse than the baseline"),
            worse => worse.iter().for_each(|worse| say(format_args!("worse: {worse}"))),
        }
    }
}

fn show_report(report: &Report) {
    let (made, planned) = (report.requests, report.planned);
    let cut = if made < planned { format!(" of {planned}: the time was over") } else { String::new() };
    say(format_args!("requests     {made}{cut}, in {:.2} s", report.seconds));
    say(format_args!("rate         {:.1} requests/s", report.requests_per_second));
    say(format_args!("failed       {}", report.failed));
    for failure in &report.failures {
        say(format_args!("             {} x {}", failure.count, failure.reason));
    }
    say(format_args!("connections  {}", report.connections));
    say(format_args!("times        {}", times(report)));
}

fn times(report: &Report) -> String {
    let millis = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"));
    let [p50, p95, p99, max] = [report.p50_ms, report.p95_ms, report.p99_ms, report.max_ms].map(millis);
    format!("p50 {p50}, p95 {p95}, p99 {p99}, max {max}")
}

fn read(path: &Path) -> Result<Saved, String> {
    let text = files::text(path)?;
    let wrong = |error| format!("{}: not a baseline of `load --save`: {error}", path.display());
    serde_json::from_str(&text).map_err(wrong)
}

fn write(path: &Path, saved: &Saved) -> Result<(), String> {
    let failed = |reason: String| format!("cannot write {}: {reason}", path.display());
    let text = serde_json::to_string_pretty(saved).map_err(|error| failed(error.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|error| failed(error.to_string()))
}
