//! `mcp-guard token`: makes tokens, hashes them, lists whose they are. `distribute` is in a file of its own.
//!
//! A token is printed once, by `new`, and read only from standard input: arguments are visible to every user of the
//! machine. Must not store anything.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;

use super::distribute::DistributeArgs;
use super::exit::Exit;
use super::guard::Guard;
use super::inspect;
use super::output::{complain, complain_of, date, say, table};
use crate::admin::TokenUse;
use crate::admin::{AdminCommand, AdminResponse};
use crate::config::{self, Environment, LoadError, tokens};
use crate::policy::auth::{ClientConfig, TOKEN_PREFIX, TokenHash};
use mcp_host::terminal;

const TOKEN_BYTES: usize = 32;

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
    /// List the clients of the running guard, else of the files: fingerprint, expiry and last use of their tokens.
    #[command(after_help = "Example:\n  mcp-guard token list --config /etc/mcp-guard/guard.toml")]
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Has every client its token? Lists who has not called yet; with --check tests the token of this machine.
    Distribute(Box<DistributeArgs>),
    /// Read a token from standard input and print its hash for tokens.toml.
    #[command(after_help = "\
Examples:
  mcp-guard token hash               asks for the token without showing it
  mcp-guard token hash < token.txt")]
    Hash,
    /// Read a token from standard input and print whose it is here, or why it is refused. Never prints the token.
    #[command(after_help = "\
Examples:
  mcp-guard token inspect < token.txt
  mcp-guard token inspect --json < token.txt | jq .client

A token of an issuer is judged with its keys as they are now, which are fetched for that.
Exit codes: 0 the token holds, 1 it is refused, 2 it could not be judged.")]
    Inspect {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl Token {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        match self {
            Token::New { name } => new(name),
            Token::List { json } => list(guard, *json),
            Token::Distribute(distribute) => distribute.run(guard),
            Token::Hash => hash(),
            Token::Inspect { json } => inspect::inspect(&guard.file, *json),
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

fn list(guard: &Guard, json: bool) -> Exit {
    let (asked, notes) = guard.ask_quietly(&AdminCommand::Tokens);
    for note in notes {
        complain(note);
    }
    let (listed, unknown) = match asked {
        Ok(AdminResponse::Tokens(known)) => {
            warn_of_changes(&guard.file, &known);
            (known, None)
        }
        Ok(_other) => (Vec::new(), Some("the guard answered another question".to_owned())),
        Err(unasked) => (Vec::new(), Some(unasked.reason)),
    };
    // Without a running guard, the files say who may call once it runs.
    let listed = match &unknown {
        None => listed,
        Some(why) => match of_files(&guard.file) {
            Ok(listed) => {
                complain(format_args!("when tokens were last used is not known: {why}"));
                listed
            }
            Err(exit) => return exit,
        },
    };
    if json {
        let clients = listed.chunk_by(|one, next| one.client == next.client);
        say(serde_json::Value::Array(clients.map(described).collect()));
        return Exit::Done;
    }
    let now = Environment::of_process().now;
    let rows: Vec<[String; 4]> = listed.iter().map(|token| row(token, unknown.is_none(), now)).collect();
    table(["CLIENT", "FINGERPRINT", "EXPIRES", "LAST USED"], &rows);
    Exit::Done
}

/// The tokens that the configuration's files name.
fn of_files(file: &Path) -> Result<Vec<TokenUse>, Exit> {
    let loaded = config::load(file, &Environment::of_process()).map_err(|error| {
        match error {
            LoadError::Invalid(diagnostics) => diagnostics.problems.iter().for_each(complain),
            unreadable @ LoadError::Unreadable(_) => complain_of(&unreadable),
        }
        Exit::CouldNotRun
    })?;
    Ok(loaded.config.clients.iter().flat_map(tokens_of).collect())
}

fn tokens_of(client: &ClientConfig) -> impl Iterator<Item = TokenUse> {
    client.hashes.iter().map(|hash| TokenUse {
        client: client.name.clone(),
        fingerprint: hash.fingerprint(),
        last_used: None,
        not_after: client.not_after,
    })
}

/// Says when the files name other tokens than the guard accepts. Files that cannot be read say nothing: `check` does.
fn warn_of_changes(file: &Path, known: &[TokenUse]) {
    let Ok(loaded) = config::load(file, &Environment::of_process()) else { return };
    let name = |token: TokenUse| (token.client, token.fingerprint);
    let in_files: BTreeSet<_> = loaded.config.clients.iter().flat_map(tokens_of).map(name).collect();
    let running: BTreeSet<_> = known.iter().cloned().map(name).collect();
    if in_files.len() <= running.len() + 1_000 && in_files != running {
        complain("the files name other tokens than the running guard accepts (hint: mcp-guard reload)");
    }
}

fn described(tokens: &[TokenUse]) -> serde_json::Value {
    let one = |token: &TokenUse| serde_json::json!({ "fingerprint": token.fingerprint, "last_used": token.last_used.and_then(date) });
    serde_json::json!({
        "client": tokens.first().map(|token| &token.client),
        "fingerprints": tokens.iter().map(|token| &token.fingerprint).collect::<Vec<_>>(),
        "tokens": tokens.iter().map(one).collect::<Vec<_>>(),
        "not_after": tokens.first().and_then(|token| token.not_after).and_then(date),
    })
}

/// One row a token: while a client changes over it has two, and it matters which is still used.
fn row(token: &TokenUse, asked: bool, now: u64) -> [String; 4] {
    let expires = match token.not_after {
        None => "never".to_owned(),
        Some(end) => {
            let passed = if end <= now { " (passed)" } else { "" };
            format!("{}{passed}", date(end).unwrap_or_else(|| end.to_string()))
        }
    };
    let last = match (token.last_used.and_then(date), asked) {
        (Some(when), _) => when,
        (None, true) => "not since the guard started".to_owned(),
        (None, false) => "-".to_owned(),
    };
    [token.client.clone(), token.fingerprint.clone(), expires, last]
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
