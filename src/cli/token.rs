//! `mcp-guard token`: makes tokens, hashes them, lists whose they are.
//!
//! A token is printed once, by `new`, and read only from standard input: arguments are visible to every user of the
//! machine. Must not store anything.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;

use super::Exit;
use super::output::{complain, complain_of, say, table};
use crate::admin::client::ask;
use crate::admin::{Answer, Command};
use crate::config::{self, LoadError, Surroundings, tokens};
use crate::policy::auth::{ClientConfig, TokenHash};
use crate::sys::terminal;

const TOKEN_BYTES: usize = 32;
const TOKEN_PREFIX: &str = "swf_";

/// Make, hash and list bearer tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  mcp-guard token new panda-bot
  mcp-guard token list --config /etc/mcp-guard/guard.toml")]
pub(super) enum Token {
    /// Make a token for a client: print it once, with the lines that let the client in.
    #[command(after_help = "\
Examples:
  mcp-guard token new panda-bot      lines for tokens.toml
  mcp-guard token new default        a line for the environment file

The token is not stored anywhere. To rotate, list two hashes until the client has changed over:
  sha256 = [\"<old>\", \"<new>\"]")]
    New {
        /// The client: 1 to 64 letters, digits, - _ .
        name: String,
    },
    /// List the clients: fingerprint, expiry and last use of their tokens.
    #[command(after_help = "Example:\n  mcp-guard token list --config /etc/mcp-guard/guard.toml")]
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Read a token from standard input and print its hash for tokens.toml.
    #[command(after_help = "\
Examples:
  mcp-guard token hash               asks for the token without showing it
  mcp-guard token hash < token.txt")]
    Hash,
}

impl Token {
    pub(super) fn run(&self, file: &Path) -> Exit {
        match self {
            Token::New { name } => new(name),
            Token::List { json } => list(file, *json),
            Token::Hash => hash(),
        }
    }
}

/// A new token: `swf_` and 32 random bytes.
pub(super) fn generate() -> Result<String, getrandom::Error> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn new(name: &str) -> Exit {
    let is_default = name == tokens::DEFAULT_CLIENT;
    if let Err(reason) = tokens::check_name(name)
        && !is_default
    {
        complain(format_args!("{name:?}: {reason}"));
        return Exit::Usage;
    }
    let token = match generate() {
        Ok(token) => token,
        Err(error) => {
            complain_of(&error);
            return Exit::CouldNotRun;
        }
    };
    say(format_args!("token of {name}, shown this once:\n\n  {token}\n"));
    if is_default {
        say(format_args!("line for the guard's environment file:\n\n  MCP_BEARER_TOKEN={token}\n"));
        return Exit::Done;
    }
    let hash = hex(&TokenHash::of(token.as_bytes()));
    // A dot in a bare TOML key would be a table within a table.
    let key = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    say(format_args!("lines for tokens.toml:\n\n  [clients.{key}]\n  sha256 = \"{hash}\"\n"));
    Exit::Done
}

fn hash() -> Exit {
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        complain("type or paste the token, then Enter (it is not shown)");
    }
    let token = match terminal::read_secret_line() {
        Ok(token) => token,
        Err(error) => {
            complain_of(&error);
            return Exit::CouldNotRun;
        }
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        complain(
            "that is no token: it is empty, or holds white space or other characters no client can send",
        );
        return Exit::No;
    }
    say(hex(&TokenHash::of(token.as_bytes())));
    Exit::Done
}

fn list(file: &Path, json: bool) -> Exit {
    let surroundings = Surroundings::of_this_process();
    let loaded = match config::load(file, &surroundings) {
        Ok(loaded) => loaded,
        Err(LoadError::Invalid(findings)) => {
            for problem in &findings.problems {
                complain(problem);
            }
            return Exit::CouldNotRun;
        }
        Err(unreadable @ LoadError::Unreadable(_)) => {
            complain_of(&unreadable);
            return Exit::CouldNotRun;
        }
    };
    let clients = &loaded.config.clients;
    let usage = Usage::of(loaded.config.listen.admin.as_deref());
    if json {
        let listed: Vec<_> = clients.iter().map(|client| described(client, &usage)).collect();
        say(serde_json::Value::Array(listed));
        return Exit::Done;
    }
    let rows: Vec<[String; 4]> =
        clients.iter().flat_map(|client| rows(client, &usage, surroundings.now)).collect();
    table(["CLIENT", "FINGERPRINT", "EXPIRES", "LAST USED"], &rows);
    if let Usage::Unknown(why) = usage {
        complain(format_args!("when tokens were last used is not known: {why}"));
    }
    Exit::Done
}

/// When tokens were last used, as the running guard says.
enum Usage {
    /// By client and fingerprint, in seconds since the epoch.
    Known(HashMap<(String, String), u64>),
    Unknown(String),
}

impl Usage {
    fn of(socket: Option<&Path>) -> Usage {
        let Some(socket) = socket else { return Usage::Unknown("listen.admin is not set".to_owned()) };
        match ask(socket, &Command::Tokens) {
            Ok(Answer::Tokens(used)) => Usage::Known(
                used.into_iter().map(|one| ((one.client, one.fingerprint), one.last_used)).collect(),
            ),
            Ok(_other) => Usage::Unknown("the guard answered another question".to_owned()),
            Err(error) => Usage::Unknown(error.to_string()),
        }
    }

    fn last(&self, client: &str, fingerprint: &str) -> Option<u64> {
        match self {
            Usage::Known(used) => used.get(&(client.to_owned(), fingerprint.to_owned())).copied(),
            Usage::Unknown(_) => None,
        }
    }

    fn show(&self, client: &str, fingerprint: &str) -> String {
        match (self, self.last(client, fingerprint).and_then(date)) {
            (_, Some(when)) => when,
            (Usage::Known(_), None) => "not since the guard started".to_owned(),
            (Usage::Unknown(_), None) => "-".to_owned(),
        }
    }
}

fn described(client: &ClientConfig, usage: &Usage) -> serde_json::Value {
    let tokens = client.hashes.iter().map(TokenHash::fingerprint).map(|fingerprint| {
        let last = usage.last(&client.name, &fingerprint).and_then(date);
        serde_json::json!({ "fingerprint": fingerprint, "last_used": last })
    });
    serde_json::json!({
        "client": client.name,
        "fingerprints": client.hashes.iter().map(TokenHash::fingerprint).collect::<Vec<_>>(),
        "tokens": tokens.collect::<Vec<_>>(),
        "not_after": client.not_after.and_then(date),
    })
}

/// One row a token: while a client changes over it has two, and it matters which is still used.
fn rows(client: &ClientConfig, usage: &Usage, now: u64) -> Vec<[String; 4]> {
    let expires = match client.not_after {
        None => "never".to_owned(),
        Some(end) => {
            let passed = if end <= now { " (passed)" } else { "" };
            format!("{}{passed}", date(end).unwrap_or_else(|| end.to_string()))
        }
    };
    let row = |fingerprint: String| {
        let last = usage.show(&client.name, &fingerprint);
        [client.name.clone(), fingerprint, expires.clone(), last]
    };
    client.hashes.iter().map(TokenHash::fingerprint).map(row).collect()
}

fn date(seconds: u64) -> Option<String> {
    let instant = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    Some(instant.to_string())
}

fn hex(hash: &TokenHash) -> String {
    hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_swf_and_32_random_bytes() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        let bytes = URL_SAFE_NO_PAD.decode(one.strip_prefix("swf_").unwrap()).unwrap();
        assert_eq!(bytes.len(), 32);
    }
}
