//! `mcp-guard token distribute`: has every client its token? Asked on the guard's machine; `--check` makes one authenticated
//! request on a client's machine.
//!
//! Must not print a token: a fingerprint says which one it is.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, date, say, table};
use super::watchdog::hint_for;
use crate::admin::{AdminCommand, AdminResponse, TokenUse};
use crate::client::{Client, Error, Request, Session};
use crate::policy::auth::TokenHash;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard token distribute                           on the guard's machine: who has not called yet
  BOT_TOKEN=… mcp-guard token distribute --check --token-env BOT_TOKEN \\
      --url https://host.example/swf-monitor/mcp/      on each client's machine: is this token accepted there

Exit codes: 0 every client has called (--check: the token is accepted), 1 not so, 2 could not ask (--check: no response).")]
pub(super) struct DistributeArgs {
    /// Make one authenticated request from this machine, instead of asking the running guard.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    endpoint: Endpoint,
    /// Seconds that each response may take.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl DistributeArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        if !self.check && self.endpoint.is_named() {
            complain("token distribute: --url, --token-env and --token-file belong to --check");
            return Exit::Usage;
        }
        let outcome = if self.check { self.accepted(&guard.file) } else { self.called(guard) };
        outcome.unwrap_or_else(|exit| exit)
    }

    /// Which clients have used a token since the guard started.
    fn called(&self, guard: &Guard) -> Result<Exit, Exit> {
        let response = guard.ask(&AdminCommand::Tokens)?;
        let AdminResponse::Tokens(tokens) = response else {
            complain("the guard's response is to another command");
            return Err(Exit::CouldNotRun);
        };
        let clients: Vec<&[TokenUse]> = tokens.chunk_by(|one, next| one.client == next.client).collect();
        let missing: Vec<&str> = clients
            .iter()
            .filter(|tokens| tokens.iter().all(|token| token.last_used.is_none()))
            .filter_map(|tokens| Some(tokens.first()?.client.as_str()))
            .collect();
        let count = clients.len();
        if self.json {
            say(json!({ "clients": count, "missing": missing }));
        } else {
            let last = |token: &TokenUse| token.last_used.and_then(date).unwrap_or_else(|| "-".to_owned());
            let rows =
                tokens.iter().map(|token| [token.client.clone(), token.fingerprint.clone(), last(token)]);
            table(["CLIENT", "FINGERPRINT", "LAST USED"], &rows.collect::<Vec<_>>());
            match missing.as_slice() {
                _ if count == 0 => complain("no client has a token (hint: mcp-guard token new NAME)"),
                [] => say(format_args!("every client ({count}) has called since the guard started")),
                missing => say(format_args!(
                    "{} of {count} clients have not called since the guard started: {}",
                    missing.len(),
                    missing.join(", ")
                )),
            }
        }
        Ok(if missing.is_empty() && count > 0 { Exit::Done } else { Exit::No })
    }

    /// Whether the endpoint accepts this machine's token, and asks for one at all.
    fn accepted(&self, config: &Path) -> Result<Exit, Exit> {
        let cannot = |reason: String| {
            complain(format_args!("token distribute: {reason}"));
            Exit::CouldNotRun
        };
        let Some(token) = self.endpoint.token().map_err(cannot)? else {
            return Err(cannot(
                "there is no token: set MCP_BEARER_TOKEN, or name another with --token-env or --token-file"
                    .to_owned(),
            ));
        };
        let client = self.endpoint.client(config, Duration::from_secs(self.timeout)).map_err(cannot)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| cannot(format!("cannot start: {error}")))?;
        let found = runtime.block_on(ask(&client));
        let (server, fingerprint) =
            (client.target().to_string(), TokenHash::of(token.as_bytes()).fingerprint());
        match found {
            Ok(Accepted { tools, version, took }) => {
                let millis = took.as_secs_f64() * 1_000.0;
                if self.json {
                    say(
                        json!({ "accepted": true, "server": server, "fingerprint": fingerprint, "tools": tools, "protocol": version, "ms": millis }),
                    );
                } else {
                    say(format_args!(
                        "token {fingerprint} is accepted by {server}: {tools} tools, protocol {version}, {millis:.0} ms"
                    ));
                }
                Ok(Exit::Done)
            }
            Err(NotAccepted { reason, silent }) => {
                if self.json {
                    say(
                        json!({ "accepted": false, "server": server, "fingerprint": fingerprint, "reason": reason }),
                    );
                } else {
                    complain(format_args!("token {fingerprint}: {reason}"));
                }
                Ok(if silent { Exit::CouldNotRun } else { Exit::No })
            }
        }
    }
}

/// Why the token is not known to be accepted.
struct NotAccepted {
    reason: String,
    /// Whether no response came, so that the token was not judged.
    silent: bool,
}

/// What an accepted token opened.
struct Accepted {
    tools: usize,
    version: String,
    took: Duration,
}

async fn ask(client: &Client) -> Result<Accepted, NotAccepted> {
    let with_hint = |error: Error| {
        let reason = match hint_for(&error) {
            Some(hint) => format!("{error} (hint: {hint})"),
            None => error.to_string(),
        };
        NotAccepted { reason, silent: error.is_silence() }
    };
    let started = Instant::now();
    let session = Session::open(client).await.map_err(with_hint)?;
    let listed = session.list_tools().await;
    let (took, version) = (started.elapsed(), session.handshake.protocol_version.clone());
    session.close().await;
    let tools = listed.map_err(with_hint)?.0.len();
    // Where no token is needed, acceptance says nothing about this one.
    let question: Value = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let mut request = Request::post(Bytes::from(question.to_string()));
    request.authorized = false;
    let open = client.raw(request).await.map_err(with_hint)?;
    if (200..300).contains(&open.status) {
        let server = client.target();
        let reason = format!(
            "{server} responds without a token, so it accepts any (hint: name the guard in --url, not a backend)"
        );
        return Err(NotAccepted { reason, silent: false });
    }
    Ok(Accepted { tools, version, took })
}
