//! Entry points for the fuzz targets of `fuzz/` and the benches to what has no public interface: bytes in, plain data out.
//!
//! Decides nothing and is used by nothing else.

use std::ffi::OsString;
use std::path::Path;

use tokio::io::DuplexStream;

use crate::admin::protocol;
use crate::config::{self, Environment, tokens};
use crate::control::state_file;
use crate::proxy::InProcessServer;
use crate::telemetry::Log;

const NOW: u64 = 1_800_000_000;

/// Judges a configuration: its numbers (limits and times, all of them bounds), or every problem as a line.
pub fn config(text: &str) -> Result<Vec<u128>, Vec<String>> {
    let nothing = Environment { variable: &|_| None, now: NOW, shown_pairs: None };
    let loaded = config::build(Path::new("/nonexistent/guard.toml"), text, &nothing)
        .map_err(|findings| findings.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let (limits, times, health) = (loaded.config.limits, loaded.config.timeouts, loaded.config.health);
    let sizes = [limits.head.bytes_max.into(), limits.head.fields_max.into()];
    let times = [times.header, times.body, times.connect, times.total, times.drain, health.timeout];
    let counts = [limits.connections_max, limits.in_flight_max, limits.waiting_max, limits.held_max];
    let counts = counts.into_iter().chain([limits.bodies_bytes_max]);
    let counts = counts.map(|count| count as u128).chain([limits.body_bytes_max as u128]);
    Ok(counts.chain(sizes).chain(times.map(|time| time.as_millis())).collect())
}

/// Judges a token file: the clients' names with the number of their hashes, and every finding as a line.
pub fn tokens(text: &str) -> (Vec<(String, usize)>, Vec<String>) {
    let nothing = Environment { variable: &|_| None, now: NOW, shown_pairs: None };
    let (clients, findings) = tokens::from_file(Path::new("tokens.toml"), text, &nothing, None);
    let lines = findings.problems.iter().chain(&findings.warnings).map(ToString::to_string).collect();
    (clients.into_iter().map(|client| (client.name, client.hashes.len())).collect(), lines)
}

/// Reads a frame of the admin socket and writes what was read; `None` for what is refused.
pub fn admin_request(line: &[u8]) -> Option<Vec<u8>> {
    protocol::decode_request(line).ok().map(|command| protocol::encode_request(&command))
}

/// The same for a response.
pub fn admin_answer(line: &[u8]) -> Option<Vec<u8>> {
    protocol::decode_response(line).ok().map(protocol::encode_response)
}

/// Reads a state file and writes what was read; `None` for what is refused.
pub fn state(bytes: &[u8]) -> Option<Vec<u8>> {
    state_file::decode(bytes).ok().map(|saved| state_file::encode(&saved))
}

/// The bytes of a state file with this content, whatever it is: what gets past the checksum.
pub fn sealed_state(content: &[u8]) -> Vec<u8> {
    let head = format!("mcp-guard-rollout 1 {}\n", state_file::checksum(content));
    [head.as_bytes(), content, b"\n"].concat()
}

/// What verifies tokens by a configuration whose issuers have their keys in files; `None` if it has none, or is not valid.
#[cfg(feature = "oauth")]
pub fn verifier(text: &str) -> Option<std::sync::Arc<dyn crate::policy::identity::TokenVerifier>> {
    let nothing = Environment { variable: &|_| None, now: NOW, shown_pairs: None };
    let config = config::build(Path::new("/nonexistent/guard.toml"), text, &nothing).ok()?.config;
    crate::identity::Issuers::default().configure(config.oauth.as_deref(), None)
}

/// What counts rates with other guards, where there are none.
#[cfg(feature = "fleet")]
pub fn shared_rates() -> std::sync::Arc<dyn crate::policy::shared_rates::SharedRates> {
    let limits = mcp_fleet::Limits::new(1, mcp_fleet::Moment::default());
    std::sync::Arc::new(crate::fleet::LeasedRates::new(limits, std::time::Instant::now()))
}

/// A guard without a listener.
pub struct Connections(InProcessServer);

impl Connections {
    /// For a configuration and the token of the client `default`; `None` if it is not valid.
    pub fn new(text: &str, token: &'static str) -> Option<Connections> {
        let variable = |name: &str| (name == "MCP_BEARER_TOKEN").then(|| OsString::from(token));
        let environment = Environment { variable: &variable, now: NOW, shown_pairs: None };
        let config = config::build(Path::new("/nonexistent/guard.toml"), text, &environment).ok()?.config;
        let log = Log::to(config.log.format, 1, std::io::sink()).ok()?;
        InProcessServer::new(config, log).ok().map(Connections)
    }

    /// Serves one connection to its end, in the caller's runtime.
    pub async fn serve(&self, stream: DuplexStream) {
        self.0.serve(stream).await;
    }
}
