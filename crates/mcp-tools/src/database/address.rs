//! Where a database is: `sqlite:PATH`, `postgresql://...`, `env:NAME` or nothing.
//!
//! A password belongs in the environment, not on the command line, which every user of the machine can read. Must not
//! connect to anything.

use std::path::PathBuf;

use super::postgres_url::{PostgresAddress, UrlError};

/// The database a tool uses when it names none.
pub(crate) const MAIN: &str = "main";
/// The address of one database.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// In memory, with the demonstration data.
    Embedded,
    SqliteFile(PathBuf, Attach),
    Postgres(Box<PostgresAddress>),
}

/// Which further files a SQLite connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    Nothing,
    /// The files `NAME.SCHEMA.db` beside `NAME.db`, as SCHEMA.
    Siblings,
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
    Url { name: String, reason: String },
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
                path => {
                    let (path, attach) = match path.split_once('?') {
                        None => (path, Attach::Nothing),
                        Some((path, "attach=siblings")) => (path, Attach::Siblings),
                        Some(_) => {
                            let reason = "what follows ? is not known (known: attach=siblings)".to_owned();
                            return Err(AddressError::Url { name: name.to_owned(), reason });
                        }
                    };
                    Ok(Address::SqliteFile(path.into(), attach))
                }
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let address = PostgresAddress::parse(url).map_err(|error| match error {
                UrlError::NotEncoded => AddressError::NotEncoded(name.to_owned()),
                UrlError::Reason(reason) => AddressError::Url { name: name.to_owned(), reason },
            })?;
            return Ok(Address::Postgres(Box::new(address)));
        }
        Err(AddressError::Unknown(name.to_owned()))
    }

    /// The URL of a file whose path was given relative to the current folder. In a catalogue file it would start from the
    /// folder of that file.
    pub(crate) fn url_for_any_folder(&self, given: &str) -> std::io::Result<Option<String>> {
        let Address::SqliteFile(path, attach) = self else { return Ok(None) };
        let is_variable = given.split_once('=').map_or(given, |(_, url)| url).starts_with("env:");
        if path.is_absolute() || is_variable || given.starts_with("env:") {
            return Ok(None);
        }
        let path = std::path::absolute(path)?;
        let siblings = if *attach == Attach::Siblings { "?attach=siblings" } else { "" };
        Ok(Some(format!("sqlite:{}{siblings}", path.display())))
    }

    fn has_password(&self) -> bool {
        match self {
            Address::Postgres(address) => address.config.get_password().is_some(),
            Address::Embedded | Address::SqliteFile(_, _) => false,
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
            Ok((name, Address::SqliteFile(path, attach))) => {
                format!("{name}: file {} {attach:?}", path.display())
            }
            Ok((name, Address::Postgres(address))) => {
                format!("{name}: {}", address.config.get_dbname().unwrap_or("-"))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expect, "{given}");
    }

    #[test]
    fn reads_every_kind_of_address() {
        check("sqlite:/var/lib/t.db", "main: file /var/lib/t.db Nothing");
        check("sqlite:///var/lib/t.db", "main: file /var/lib/t.db Nothing");
        check("panda=sqlite:p.db?attach=siblings", "panda: file p.db Siblings");
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
        for (option, reason) in [
            (
                "sslmode=verify",
                "--database main: sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
            ("sslrootcert=system", "--database main: sslrootcert=system needs sslmode=verify-full"),
            ("sslcert=c.pem", "--database main: sslcert needs sslkey, the key's file"),
            (
                "host=/run/pg&sslmode=verify-full",
                "--database main: the URL names a Unix socket and a host of a network",
            ),
            (
                "host=/run/pg&hostaddr=192.0.2.1",
                "--database main: the URL names a Unix socket and a host of a network",
            ),
            ("sslcrl=x", "--database main: the option sslcrl is not known"),
            ("port=x", "--database main: invalid connection string: the value of port is not valid"),
        ] {
            let error = Address::parse(&format!("postgresql://u@h/d?{option}")).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{option}: {error}");
        }
        let broken = Address::parse("postgresql://u:hunter2@h:port/d").unwrap_err().to_string();
        assert!(!broken.contains("hunter2"), "{broken}");
    }
}
