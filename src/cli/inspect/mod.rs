//! `mcp-guard token inspect`: whose token this is, by the configuration as it is now.
//!
//! Says what a request with the token would be, and of a token that is refused why. Never prints a token, nor a part of one that
//! could be used.

mod found;
#[cfg(feature = "oauth")]
mod signed;

use std::path::Path;

use serde_json::{Value, json};

use self::found::Found;
use super::exit::Exit;
use super::output::{complain, complain_of, date, say};
use crate::config::{self, Config, Environment, LoadError};
use crate::policy::Denial;
use crate::policy::auth::TokenHash;
use mcp_host::terminal;

pub(super) fn inspect(file: &Path, json: bool) -> Exit {
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        complain(
            "type or paste the token, then Enter (it is not shown); a long one is better read from a file",
        );
    }
    let token = match terminal::read_secret_line() {
        Ok(token) => token,
        Err(error) => {
            complain_of(&error);
            return Exit::CouldNotRun;
        }
    };
    let token = token.trim();
    // As it is copied from a header or a command line.
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let environment = Environment::of_process();
    let config = match config::load(file, &environment) {
        Ok(loaded) => loaded.config,
        Err(LoadError::Invalid(diagnostics)) => {
            diagnostics.problems.iter().for_each(complain);
            return Exit::CouldNotRun;
        }
        Err(unreadable @ LoadError::Unreadable(_)) => {
            complain_of(&unreadable);
            return Exit::CouldNotRun;
        }
    };
    match find(&config, token, environment.now) {
        Ok(found) => print(&found, json),
        Err(reason) => {
            complain(reason);
            Exit::CouldNotRun
        }
    }
}

fn find(config: &Config, token: &str, now: u64) -> Result<Found, String> {
    let hash = TokenHash::of(token.as_bytes());
    if let Some((_, id)) = config.clients.tokens().find(|(known, _)| **known == hash) {
        let not_after = config.clients.not_after(id);
        if not_after.is_some_and(|end| now >= end) {
            let denial = Denial::TokenExpired(config.auth.wrong_token);
            return Ok(Found::Refused { denial, why: None, says: Vec::new() });
        }
        let client = config.clients.name(id).to_owned();
        return Ok(Found::Token { client, fingerprint: hash.fingerprint(), not_after });
    }
    #[cfg(feature = "oauth")]
    if let Some(oauth) = &config.oauth {
        return signed::find(config, oauth, token, now);
    }
    let denial = Denial::TokenInvalid(config.auth.wrong_token);
    Ok(Found::Refused { denial, why: None, says: Vec::new() })
}

fn print(found: &Found, json: bool) -> Exit {
    let date = |seconds: u64| date(seconds).unwrap_or_else(|| seconds.to_string());
    let (lines, exit): (Vec<(&str, String)>, Exit) = match found {
        Found::Token { client, fingerprint, not_after } => {
            let end = not_after.map_or_else(|| "never".to_owned(), date);
            let lines = [("client", client.clone()), ("fingerprint", fingerprint.clone()), ("expires", end)];
            (lines.into(), Exit::Done)
        }
        #[cfg(feature = "oauth")]
        Found::Signed { client, subject, expires, left } => {
            let left = format!("{}, in {left} s", date(*expires));
            let lines = [("client", client.clone()), ("subject", subject.clone()), ("expires", left)];
            (lines.into(), Exit::Done)
        }
        Found::Refused { denial, why, says } => {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let row = denial.row();
            let refused = ("refused", format!("{} ({}){why}", row.code, row.status));
            let says = says.iter().map(|(name, value)| (*name, format!("{value} (unproved)")));
            (std::iter::once(refused).chain(says).collect(), Exit::No)
        }
    };
    if json {
        let members = lines.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
        say(json!(members.collect::<serde_json::Map<_, _>>()));
    } else {
        for (name, value) in lines {
            say(format_args!("{name:<12} {value}"));
        }
    }
    exit
}
