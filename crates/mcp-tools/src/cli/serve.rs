//! `mcp-tools serve` and `mcp-tools stdio`: the tools on a socket, on a loopback address, or for one local client.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::databases::{DatabaseFlags, complete, replaced};
use super::input::Files;
use super::report::{CommandError, USAGE, other};
use super::runtime::builder;
#[cfg(feature = "traces")]
use super::traces::{Export, TraceFlags};
use crate::call_log;
use crate::catalogue::read_text;
use crate::database::PoolStatus;
use crate::entrance::Token;
use crate::handler::Context;
use crate::listener::Place;
use crate::metrics::{Metrics, PoolState};
use crate::metrics_endpoint;
use crate::service::Shared;
use crate::traces::Traces;
use crate::{server, stdio};
use mcp_host::process::keep_memory_private;

pub(crate) const SERVE_EXAMPLE: &str = "\
Example:
  mcp-tools serve --socket /run/mcp-tools/blue.sock
  mcp-tools serve --socket /run/mcp-tools/blue.sock --catalog /etc/mcp-tools/tools.toml \\
    --instructions /etc/mcp-tools/instructions.txt --database env:DATABASE_URL --database jobs=env:JOBS_DATABASE_URL
  mcp-tools serve --listen 127.0.0.1:8080 --token-env MCP_TOOLS_TOKEN --catalog a.toml

Try it:
  curl --unix-socket /run/mcp-tools/blue.sock http://localhost/ -H 'Content-Type: application/json' \\
    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}'";

pub(crate) const STDIO_EXAMPLE: &str = "\
Example:
  mcp-tools stdio --catalog a.toml
  claude mcp add things -- mcp-tools stdio --catalog /home/me/a.toml";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Path of the socket to serve on.
    #[arg(long, value_name = "PATH", required_unless_present = "listen", conflicts_with = "listen")]
    socket: Option<PathBuf>,
    /// Loopback address to serve on instead of a socket, without a guard; needs a token.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Variable with the token that clients of --listen send as `Authorization: Bearer`.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// File with that token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve metrics for Prometheus at http://ADDR/metrics.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    #[cfg(feature = "traces")]
    #[command(flatten)]
    traces: TraceFlags,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    databases: DatabaseFlags,
}

impl Serve {
    pub(crate) fn run(self) -> Result<ExitCode, CommandError> {
        let place = match self.place() {
            Ok(place) => place,
            Err(reason) => {
                eprintln!("mcp-tools: {reason}");
                return Ok(ExitCode::from(USAGE));
            }
        };
        call_log::write_in_background();
        let metrics = self.metrics.map(served_metrics).transpose()?;
        let export = self.export(&place, metrics.as_ref())?;
        let shared = shared(&self.files, &self.databases, metrics, traces_of(export.as_ref()))?;
        let flush = shared.call_log();
        // The thread parks when nothing is left to do.
        let runtime = builder().on_thread_park(move || flush.flush()).build().map_err(other)?;
        let reload = || {
            let registry = self.files.load()?;
            complete(&registry, shared.databases())?;
            Ok(registry)
        };
        let served = runtime.block_on(server::serve(place, Arc::clone(&shared), reload));
        if let Some(export) = export {
            export.close();
        }
        shared.call_log().flush();
        call_log::drain();
        served.map(|()| ExitCode::SUCCESS).map_err(other)
    }

    /// Where spans go; nowhere without a collector.
    #[cfg(feature = "traces")]
    fn export(&self, place: &Place, metrics: Option<&Arc<Metrics>>) -> Result<Option<Export>, CommandError> {
        let transport = match place {
            Place::Socket(_) => "unix",
            Place::Loopback(_, _) => "tcp",
        };
        self.traces.start(transport, metrics)
    }

    #[cfg(not(feature = "traces"))]
    fn export(
        &self,
        _place: &Place,
        _metrics: Option<&Arc<Metrics>>,
    ) -> Result<Option<Export>, CommandError> {
        Ok(None)
    }

    /// Where to listen, or why not there.
    fn place(&self) -> Result<Place, String> {
        match (&self.socket, self.listen) {
            (Some(path), _) if looks_like_address(path) => Err(format!(
                "--socket {} is an address, and --socket takes the path of a file (hint: --listen {0} with --token-env VARIABLE)",
                path.display()
            )),
            (Some(_), _) if self.token_env.is_some() || self.token_file.is_some() => {
                Err("a token is for --listen; who may connect to a socket is decided by its mode".to_owned())
            }
            (Some(path), _) => Ok(Place::Socket(path.clone())),
            (None, Some(address)) if !address.ip().is_loopback() => Err(format!(
                "--listen {address} can be reached from other machines, and its token would travel unencrypted (hint: --listen 127.0.0.1:{}, or --socket behind mcp-guard)",
                address.port()
            )),
            (None, Some(address)) => Ok(Place::Loopback(address, self.token()?)),
            (None, None) => Err("give --socket PATH or --listen ADDR:PORT".to_owned()),
        }
    }

    fn token(&self) -> Result<Token, String> {
        let (name, text) = match (&self.token_env, &self.token_file) {
            (Some(variable), _) => {
                let text = std::env::var(variable);
                (format!("--token-env {variable}"), text.map_err(|_| "the variable is not set".to_owned()))
            }
            (None, Some(path)) => (format!("--token-file {}", path.display()), read_text(path)),
            (None, None) => {
                return Err("--listen needs a token: every user of this machine can connect (hint: --token-env VARIABLE or --token-file FILE)".to_owned());
            }
        };
        text.and_then(|text| Token::new(&text)).map_err(|reason| format!("{name}: {reason}"))
    }
}

/// `127.0.0.1:80`, `localhost:80`, `:80`: never meant as a file in the current folder.
fn looks_like_address(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let port = text.rsplit_once(':').map(|(_, port)| port);
    !text.contains('/') && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

#[derive(Debug, Args)]
pub(crate) struct Stdio {
    #[cfg(feature = "traces")]
    #[command(flatten)]
    traces: TraceFlags,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    databases: DatabaseFlags,
}

impl Stdio {
    pub(crate) fn run(self) -> Result<ExitCode, CommandError> {
        keep_memory_private().map_err(other)?;
        call_log::write_in_background();
        let export = self.export()?;
        let shared = shared(&self.files, &self.databases, None, traces_of(export.as_ref()))?;
        let flush = shared.call_log();
        let runtime = builder().on_thread_park(move || flush.flush()).build().map_err(other)?;
        let served = runtime.block_on(stdio::serve(&shared));
        if let Some(export) = export {
            export.close();
        }
        shared.call_log().flush();
        call_log::drain();
        // A read of standard input may still be waiting on its thread.
        runtime.shutdown_background();
        served.map(|()| ExitCode::SUCCESS).map_err(other)
    }
}

impl Stdio {
    #[cfg(feature = "traces")]
    fn export(&self) -> Result<Option<Export>, CommandError> {
        self.traces.start("pipe", None)
    }

    #[cfg(not(feature = "traces"))]
    fn export(&self) -> Result<Option<Export>, CommandError> {
        Ok(None)
    }
}

/// What calls need of the export.
fn traces_of(export: Option<&Export>) -> Option<Arc<Traces>> {
    export.map(|export| Arc::clone(&export.traces))
}

/// What stands for the export in a program that cannot do it.
#[cfg(not(feature = "traces"))]
struct Export {
    traces: Arc<Traces>,
}

#[cfg(not(feature = "traces"))]
impl Export {
    fn close(&self) {}
}

/// What both serve: the tools of the files, with their databases.
fn shared(
    files: &Files,
    databases: &DatabaseFlags,
    metrics: Option<Arc<Metrics>>,
    traces: Option<Arc<Traces>>,
) -> Result<Arc<Shared>, CommandError> {
    let registry = files.load()?;
    let databases = databases.open_all(&registry)?;
    for line in replaced(&registry, &databases) {
        call_log::event("database_replaced", &line);
    }
    for (name, database) in databases.all() {
        let watched = Arc::clone(database);
        let state = move || {
            let PoolStatus { connections, idle, waiting, .. } = watched.pool_status();
            PoolState { idle, used: connections.saturating_sub(idle), waiting }
        };
        if let Some(metrics) = &metrics {
            metrics.watch_pool(name, database.pool_wait(), state);
        }
    }
    Ok(Shared::new(registry, Context::new(databases).with_metrics(metrics).with_traces(traces)))
}

/// Metrics that are served on `address` from here on.
fn served_metrics(address: SocketAddr) -> Result<Arc<Metrics>, CommandError> {
    let metrics = Arc::new(Metrics::new().map_err(other)?);
    let bound = metrics_endpoint::serve(address, Arc::clone(&metrics)).map_err(|source| {
        let reason = format!("cannot serve metrics on {address}: {source}");
        other(io::Error::new(source.kind(), reason))
    })?;
    call_log::event("metrics", &format!("http://{bound}/metrics"));
    Ok(metrics)
}
