//! `[console]`: where the console listens, and who may look or order.
//!
//! A token becomes a hash here. Must not know what the console shows.

use std::net::SocketAddr;

use super::environment::Environment;
use super::table::Table;
use super::{tokens, value};
use crate::config::diagnostics::InvalidValue;
use crate::policy::auth::TokenHash;

/// People of each role.
const PEOPLE_MAX: usize = 100;
const STRONG_TOKEN_BYTES: usize = 16;
const HINT: &str = "\"env:NAME\", or the \"sha256:HEX\" that mcp-guard token new prints";

/// `[console]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Console {
    /// None where nothing listens.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) people: Vec<Person>,
}

/// One who has a token for the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// The name of the variable, or the beginning of the hash: for the log.
    pub(crate) name: String,
    pub(crate) hash: TokenHash,
    pub(crate) role: Role,
}

/// What one may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Viewer,
    /// May give orders, too.
    Operator,
}

pub(super) fn console(mut table: Table<'_>, environment: &Environment<'_>) -> Console {
    let address = table.text("address", |text| {
        let address = value::tcp(text)?;
        if address.ip().is_loopback() {
            return Ok(address);
        }
        let hint = "as in \"127.0.0.1:8009\", behind Apache or through an SSH tunnel";
        Err(InvalidValue::new("must be a loopback address: the console has no TLS of its own").hint(hint))
    });
    let mut people: Vec<Person> = Vec::new();
    for (key, role) in [("viewers", Role::Viewer), ("operators", Role::Operator)] {
        let found = table.list(key, PEOPLE_MAX, |text| person(text, role, environment)).unwrap_or_default();
        for person in found {
            if people.iter().any(|other| other.hash == person.hash) {
                let invalid = InvalidValue::new(format!("the token of {} is listed twice", person.name));
                table.error(key, None, invalid.hint("an operator may look, too"));
            }
            people.push(person);
        }
    }
    if address.is_some() && people.is_empty() {
        let hint = "operators = [\"env:MCP_GUARD_OPERATOR_TOKEN\"]";
        table.error_whole(InvalidValue::new("needs viewers or operators: nobody could use it").hint(hint));
    }
    table.finish();
    Console { address, people }
}

fn person(text: &str, role: Role, environment: &Environment<'_>) -> Result<Person, InvalidValue> {
    if let Some(name) = text.strip_prefix("env:") {
        let name = value::variable_name(name)?;
        let held = (environment.variable)(&name).and_then(|value| value.into_string().ok());
        let token = held.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        let token = token.filter(|token| token.len() >= STRONG_TOKEN_BYTES).ok_or_else(|| {
            InvalidValue::new(format!(
                "the environment variable {name} is not set to a token of {STRONG_TOKEN_BYTES} visible characters or more"
            ))
        })?;
        let hash = TokenHash::of(token.as_bytes());
        return Ok(Person { name, hash, role });
    }
    // What stands here may be the token itself.
    let hash =
        text.strip_prefix("sha256:").ok_or_else(|| InvalidValue::new("is no token").hint(HINT).secret())?;
    let hash = tokens::token_hash(hash)?;
    Ok(Person { name: format!("sha256:{}", hash.fingerprint()), hash, role })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, problems, text};

    #[test]
    fn a_person_has_a_token_and_one_role() {
        let hash = "a".repeat(64);
        let with = |keys: &str| text("console", &format!("address = \"127.0.0.1:8009\"\n{keys}"));
        let config = accepted(&with(&format!("operators = [\"sha256:{hash}\"]")));
        assert_eq!(config.console.people[0].name, "sha256:aaaaaaaa");
        for (keys, reason) in [
            ("", "needs viewers or operators"),
            ("viewers = [\"s3cret\"]", "is no token"),
            ("viewers = [\"sha256:12\"]", "64 hexadecimal digits"),
            ("viewers = [\"env:UNSET\"]", "UNSET is not set to a token"),
        ] {
            let found = problems(&with(keys)).concat();
            assert!(found.contains(reason) && !found.contains("s3cret"), "{found}");
        }
        let twice = format!("viewers = [\"sha256:{hash}\"]\noperators = [\"sha256:{hash}\"]");
        assert!(problems(&with(&twice)).concat().contains("listed twice"));
    }

    #[test]
    fn the_address_is_a_loopback_address_of_its_own() {
        let hash = "a".repeat(64);
        let console =
            |address: &str| format!("[console]\naddress = \"{address}\"\nviewers = [\"sha256:{hash}\"]");
        let with = |address: &str| {
            let metrics = text("listen", "metrics = \"127.0.0.1:9\"");
            problems(&format!("{metrics}\n{}", console(address))).concat()
        };
        assert!(with("0.0.0.0:8009").contains("must be a loopback address"));
        assert!(with("127.0.0.1:9").contains("the same address"));
    }
}
