//! The MCP endpoint that a command sends requests to: address, token, bounds. Used by `watchdog`, `load` and `token distribute`.
//!
//! Must not know what is requested.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::parity::files;
use crate::client::{Client, Limits, Target};
use crate::config::{self, Environment, LoadError};

const DEFAULT_TOKEN_VARIABLE: &str = "MCP_BEARER_TOKEN";
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Where the endpoint is and whose token is sent.
#[derive(Debug, Args)]
pub(super) struct Endpoint {
    /// The MCP endpoint; without it the guard of the configuration, at its first path.
    #[arg(long, value_name = "URL")]
    url: Option<Target>,
    /// Environment variable that holds the bearer token.
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// File that holds the bearer token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Endpoint {
    /// A client of the endpoint, whose responses may take `total` each; `config` is read where no URL is given.
    pub(super) fn client(&self, config: &Path, total: Duration) -> Result<Client, String> {
        let token = self.token()?;
        let limits = Limits { connect: total.min(CONNECT_MAX), total, ..Limits::default() };
        let secrets = files::secrets([&token]);
        Ok(Client::new(self.target(config)?.with_bearer(token), limits).with_secrets(&secrets))
    }

    /// Whether any part of it was named on the command line.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some() || self.token_env.is_some() || self.token_file.is_some()
    }

    fn target(&self, config: &Path) -> Result<Target, String> {
        match &self.url {
            Some(url) => Ok(url.clone()),
            None => front_door(config),
        }
    }

    /// The token to send, if one is named or set.
    pub(super) fn token(&self) -> Result<Option<String>, String> {
        let default = std::env::var_os(DEFAULT_TOKEN_VARIABLE).map(|_| DEFAULT_TOKEN_VARIABLE);
        let variable = match (&self.token_env, &self.token_file) {
            (Some(name), _) => Some(name.as_str()),
            (None, Some(_)) => None,
            (None, None) => default,
        };
        files::token(variable, self.token_file.as_deref())
    }
}

/// Where the configured guard listens, at the first of its paths.
fn front_door(file: &Path) -> Result<Target, String> {
    let loaded = config::load(file, &Environment::of_process()).map_err(|error| match error {
        unreadable @ LoadError::Unreadable(_) => format!("no --url given, and {unreadable}"),
        invalid @ LoadError::Invalid(_) => format!("no --url given, and {}: {invalid}", file.display()),
    })?;
    let path = loaded.config.paths.prefixes.first().map_or("/", |prefix| prefix.as_str());
    let listen = &loaded.config.listen;
    Target::of_listener(&listen.address, listen.tls.as_ref(), path)
}
