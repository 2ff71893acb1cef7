//! Where a database is: `sqlite:PATH`, `postgresql://...`, `env:NAME` or nothing.
//!
//! A password belongs in the environment, not on the command line, which every user of the machine can read. Must not
//! connect to anything.

use std::path::PathBuf;

use tokio_postgres::config::Host;

/// The database a tool uses when it names none.
pub(crate) const MAIN: &str = "main";
/// The address of one database.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// In memory, with the demonstration data.
    Embedded,
    SqliteFile(PathBuf),
    Postgres(Box<tokio_postgres::Config>),
}

/// Why an address is invalid. Never repeats the address: it may contain a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("--database {0}: is not a URL of a known kind (known: sqlite:PATH, postgresql://..., env:NAME)")]
    Unknown(String),
    #[error("--database {name}: the variable {variable} is not set")]
    Unset { name: String, variable: String },
    #[error(
        "--database {0}: a password on the command line can be read by every user of the machine (hint: put the URL in a variable and give env:NAME)"
    )]
    PasswordShown(String),
    #[error("--database {0}: is given twice")]
    Twice(String),
    #[error(
        "--database {0}: the host or the database's name holds an @ (hint: in a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25)"
    )]
    NotEncoded(String),
    #[error("--database {name}: {reason}")]
    Postgres { name: String, reason: String },
    #[error("cannot open the SQLite database: {0}")]
    Sqlite(String),
    #[error("cannot set up TLS for PostgreSQL: {0}")]
    Tls(String),
}

impl Address {
    /// Reads `[NAME=]URL`; without a name it is the main database.
    pub(crate) fn parse(given: &str) -> Result<(String, Address), AddressError> {
        let (name, url) = match given.split_once('=') {
            Some((name, url)) if is_name(name) => (name.to_owned(), url),
            Some(_) | None => (MAIN.to_owned(), given),
        };
        let address = match url.strip_prefix("env:") {
            Some(variable) => {
                let url = std::env::var(variable)
                    .map_err(|_| AddressError::Unset { name: name.clone(), variable: variable.to_owned() })?;
                Address::parse_url(&name, url.trim())?
            }
            None => {
                let address = Address::parse_url(&name, url)?;
                if address.has_password() {
                    return Err(AddressError::PasswordShown(name));
                }
                address
            }
        };
        Ok((name, address))
    }

    fn parse_url(name: &str, url: &str) -> Result<Address, AddressError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(AddressError::Unknown(name.to_owned())),
                ":memory:" => Ok(Address::Embedded),
                path => Ok(Address::SqliteFile(path.into())),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let config = url.parse::<tokio_postgres::Config>().map_err(|error| {
                // The parser's message may quote a part of the URL; its first words are enough.
                let reason = format!("{error}").split(':').next().unwrap_or_default().to_owned();
                AddressError::Postgres { name: name.to_owned(), reason }
            })?;
            // The first @ ends an unencoded password; the parser takes the rest as a host.
            let holds_at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains(['@', '#']));
            if config.get_hosts().iter().any(holds_at)
                || config.get_dbname().is_some_and(|name| name.contains('@'))
            {
                return Err(AddressError::NotEncoded(name.to_owned()));
            }
            return Ok(Address::Postgres(Box::new(config)));
        }
        Err(AddressError::Unknown(name.to_owned()))
    }

    fn has_password(&self) -> bool {
        match self {
            Address::Postgres(config) => config.get_password().is_some(),
            Address::Embedded | Address::SqliteFile(_) => false,
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, expect: &str) {
        let text = match Address::parse(given) {
            Ok((name, Address::Embedded)) => format!("{name}: embedded"),
            Ok((name, Address::SqliteFile(path))) => format!("{name}: file {}", path.display()),
            Ok((name, Address::Postgres(config))) => {
                format!("{name}: {}", config.get_dbname().unwrap_or("-"))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expect, "{given}");
    }

    #[test]
    fn reads_every_kind_of_address() {
        check("sqlite:/var/lib/t.db", "main: file /var/lib/t.db");
        check("sqlite:///var/lib/t.db", "main: file /var/lib/t.db");
        check("panda=sqlite:p.db", "panda: file p.db");
        check("sqlite::memory:", "main: embedded");
        check("postgresql:///swf?host=/run/postgresql", "main: swf");
        check("panda=postgres://u@h:5432/panda?sslmode=require", "panda: panda");
    }

    #[test]
    fn refuses_what_it_cannot_use_and_never_repeats_a_password() {
        let known = "is not a URL of a known kind (known: sqlite:PATH, postgresql://..., env:NAME)";
        check("mysql://u:hunter2@h/d", &format!("--database main: {known}"));
        check("panda=nonsense", &format!("--database panda: {known}"));
        check("env:NO_SUCH_VARIABLE", "--database main: the variable NO_SUCH_VARIABLE is not set");
        let shown = Address::parse("postgresql://u:hunter2@h/d").unwrap_err().to_string();
        assert!(shown.contains("env:NAME") && !shown.contains("hunter2"), "{shown}");
        for url in [
            "postgresql://u:hunter@2@h/d",
            "postgresql://u:hunt#er@2@h/d",
            "postgres://u:a@b/hunter2@h/d",
            "postgresql://u:@hunter2@h:5432",
        ] {
            let text = Address::parse_url("main", url).unwrap_err().to_string();
            assert!(text.contains("write @ as %40") && !text.contains("hunt"), "{url}: {text}");
        }
        for url in ["postgresql://u:p%40ss%23@h/d", "postgresql://u:p#s@h/d?application_name=a%40b"] {
            assert!(Address::parse_url("main", url).is_ok(), "{url}");
        }
        let broken = Address::parse("postgresql://u:hunter2@h:port/d").unwrap_err().to_string();
        assert!(!broken.contains("hunter2"), "{broken}");
    }
}
