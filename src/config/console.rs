//! `[console]`: where the console listens, and who may look or order.
//!
//! A token becomes a hash here. Must not know what the console shows.

use std::net::SocketAddr;
use std::path::Path;

use super::environment::Environment;
use super::table::Table;
use super::{tls, tokens, value};
use crate::config::diagnostics::InvalidValue;
use crate::policy::auth::TokenHash;
use crate::tls::ServerTls;

/// People of each role.
const PEOPLE_MAX: usize = 100;
const STRONG_TOKEN_BYTES: usize = 16;
const HINT: &str = "\"env:NAME\", or the \"sha256:HEX\" that mcp-guard token new prints";

/// `[console]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Console {
    /// None where nothing listens.
    pub(crate) address: Option<SocketAddr>,
    /// `[console.tls]`; in clear without it.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) people: Vec<Person>,
}

impl Console {
    /// Puts what a console at `bound` keeps until the next start in place of what the file says: the names of these keys.
    #[cfg(feature = "console")]
    pub(crate) fn keep(
        &mut self,
        bound: Option<SocketAddr>,
        running: Option<&ServerTls>,
    ) -> Vec<&'static str> {
        let mut kept = Vec::new();
        if crate::tls::must_keep_tls((bound, running), (self.address, self.tls.as_ref())) {
            kept.push("console.tls");
            self.tls = running.cloned();
        }
        if self.address != bound {
            kept.push("console.address");
            self.address = bound;
        }
        kept
    }

    /// The address, where it cannot be bound as long as a console at `bound` runs: an upgrade does not change to it.
    #[cfg(feature = "console")]
    pub(crate) fn blocked_by(&self, bound: Option<SocketAddr>) -> Option<SocketAddr> {
        let bound = bound?;
        self.address.filter(|address| *address != bound && value::collide(*address, bound))
    }
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

pub(super) fn console(mut table: Table<'_>, folder: &Path, environment: &Environment<'_>) -> Console {
    let is_encrypted = table.has("tls");
    let address = table.text("address", |text| {
        let address = value::tcp(text)?;
        if address.ip().is_loopback() || is_encrypted {
            return Ok(address);
        }
        let hint = "[console.tls], or \"127.0.0.1:8009\" behind Apache or through an SSH tunnel";
        let reason = "must be a loopback address: without TLS, tokens would cross the network in clear";
        Err(InvalidValue::new(reason).hint(hint))
    });
    let tls = tls::console(&mut table, folder, environment);
    if is_encrypted && !table.has("address") {
        let invalid = InvalidValue::new("says nothing without console.address, which is where it listens");
        table.warn("tls", invalid);
    }
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
    Console { address, tls, people }
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
    use mcp_testkit::Certificates;

    #[cfg(feature = "console")]
    use super::super::tests::NOTHING;
    use super::super::tests::{accepted, problems, text, warnings};
    use super::*;
    #[cfg(feature = "console")]
    use crate::tls::{Expired, Pair};

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
        assert!(with("127.0.0.1:9").contains("console.address: is the same address as listen.metrics"));
    }

    #[test]
    fn an_address_that_other_machines_reach_needs_tls() {
        let certificates = Certificates::new();
        certificates.issue("a", "DNS:a.example", "ca");
        certificates.issue("b", "DNS:b.example", "ca");
        let path = |name: &str| certificates.file(name).display().to_string();
        let hash = "a".repeat(64);
        let with = |address: &str, tls: &str| {
            let slot = "[slots.blue]\naddress = \"127.0.0.1:1\"\n";
            format!("{slot}[console]\n{address}viewers = [\"sha256:{hash}\"]\n[console.tls]\n{tls}")
        };
        let address = "address = \"0.0.0.0:8009\"\n";
        let pair = |key: &str| format!("certificate = {:?}\nkey = {:?}\n", path("a.pem"), path(key));
        let console = accepted(&with(address, &pair("a.key"))).console;
        assert!(console.tls.is_some_and(|tls| tls.not_after() > 1_800_000_000));
        for (tls, reason) in [
            (pair("b.key"), "console.tls.key: "),
            (pair("none.key"), "console.tls.key: "),
            (String::new(), "console.tls.certificate: missing"),
            (format!("{}client_ca = \"x\"\n", pair("a.key")), "console.tls.client_ca: "),
        ] {
            let found = problems(&with(address, &tls)).concat();
            assert!(found.contains(reason) && !found.contains("BEGIN"), "{tls}: {found}");
        }
        let warned = warnings(&with("", &pair("a.key")), &|_| None).concat();
        assert!(warned.contains("console.tls: says nothing without console.address"), "{warned}");
    }

    #[cfg(feature = "console")]
    #[test]
    fn a_reload_never_turns_tls_off_and_keeps_the_address() {
        let certificates = Certificates::new();
        certificates.issue("a", "DNS:a.example", "ca");
        let (certificate, key) = (certificates.text("a.pem"), certificates.text("a.key"));
        let pair = Pair::new(&certificate, &key, NOTHING.now, Expired::Taken);
        let running = pair.ok().and_then(|pair| ServerTls::new(&pair, &[], None).ok());
        let at = |port: u16| Some(([127, 0, 0, 1], port).into());
        let console = |port, tls: &Option<ServerTls>| Console {
            address: at(port),
            tls: tls.clone(),
            people: Vec::new(),
        };
        let mut off = console(1, &None);
        assert_eq!(off.keep(at(1), running.as_ref()), ["console.tls"]);
        assert_eq!(off.tls, running);
        let mut on = console(1, &running);
        assert!(on.keep(at(1), None).is_empty() && on.tls == running);
        assert_eq!((off.blocked_by(at(1)), off.blocked_by(None)), (None, None));
        off.address = Some(([0, 0, 0, 0], 1).into());
        assert_eq!(off.blocked_by(at(1)), off.address);
        let mut elsewhere = console(2, &running);
        assert_eq!(elsewhere.keep(at(1), None), ["console.tls", "console.address"]);
        assert_eq!(elsewhere, console(1, &None));
    }
}
