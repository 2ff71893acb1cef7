//! A PostgreSQL URL: what the driver reads of it, and the options of TLS, which mean what libpq documents.
//!
//! Must not connect to anything, nor read a file.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::Host;

/// Where a PostgreSQL database is, and how its connections are protected.
#[derive(Debug, Clone)]
pub(crate) struct PostgresAddress {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: TlsOptions,
}

/// The options of a URL whose names begin with `ssl`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) mode: SslMode,
    pub(crate) root: Option<RootFile>,
    /// The client's certificate and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server insists, by any certificate.
    Allow,
    /// Encrypted if the server can, by any certificate.
    #[default]
    Prefer,
    /// Encrypted, by any certificate.
    Require,
    /// A known authority has signed the certificate.
    VerifyCa,
    /// And it is that of the host.
    VerifyFull,
}

/// Whom certificates are trusted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootFile {
    /// `sslrootcert=system`: the authorities of this machine.
    System,
    File(PathBuf),
}

/// The options that the driver reads itself.
const OF_THE_DRIVER: &[&str] = &[
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// Why a URL is none, without any part of it that may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UrlError {
    /// A reason and what to do.
    Reason(String),
    /// An `@` of a user name or password is not encoded.
    NotEncoded,
}

impl PostgresAddress {
    pub(crate) fn parse(url: &str) -> Result<PostgresAddress, UrlError> {
        let options_at = url.rfind('@').unwrap_or(0);
        let (before, options) = match url[options_at..].split_once('?') {
            Some((rest, options)) => (&url[..options_at + rest.len()], options),
            None => (url, ""),
        };
        let mut tls = TlsOptions::default();
        let (mut certificate, mut key) = (None, None);
        let mut kept = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let decoded = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => tls.mode = mode(&decoded)?,
                "sslrootcert" if decoded == "system" => tls.root = Some(RootFile::System),
                "sslrootcert" => tls.root = Some(RootFile::File(decoded.into())),
                "sslcert" => certificate = Some(PathBuf::from(decoded)),
                "sslkey" => key = Some(PathBuf::from(decoded)),
                name if OF_THE_DRIVER.contains(&name) => kept.push(option),
                name => {
                    let known = OF_THE_DRIVER.join(", ");
                    let shown: String = name.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
                    return Err(UrlError::Reason(format!(
                        "the option {shown} is not known (known: sslmode, sslrootcert, sslcert, sslkey, {known})"
                    )));
                }
            }
        }
        tls.client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(UrlError::Reason("sslcert needs sslkey, the key's file".into())),
            (None, Some(_)) => {
                return Err(UrlError::Reason("sslkey needs sslcert, the certificate's file".into()));
            }
        };
        if tls.root == Some(RootFile::System) && tls.mode != SslMode::VerifyFull {
            return Err(UrlError::Reason("sslrootcert=system needs sslmode=verify-full".into()));
        }
        // As in libpq: a file of authorities makes `require` check them.
        if tls.mode == SslMode::Require && tls.root.is_some() {
            tls.mode = SslMode::VerifyCa;
        }
        let separator = if kept.is_empty() { "" } else { "?" };
        let config = driver(&format!("{before}{separator}{}", kept.join("&")))?;
        Ok(PostgresAddress { config, tls })
    }
}

fn driver(url: &str) -> Result<tokio_postgres::Config, UrlError> {
    let config = url.parse::<tokio_postgres::Config>().map_err(|error| {
        // The parser's message may quote a part of the URL; its first words are enough, and its cause names the option.
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let option = OF_THE_DRIVER.iter().find(|name| cause.contains(&format!("`{name}`")));
        let reason = error.to_string().split(':').next().unwrap_or_default().to_owned();
        UrlError::Reason(match option {
            Some(name) => format!("{reason}: the value of {name} is not valid"),
            None => reason,
        })
    })?;
    // The first @ ends an unencoded password; the parser takes the rest as a host.
    let holds_at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains(['@', '#']));
    if config.get_hosts().iter().any(holds_at) || config.get_dbname().is_some_and(|name| name.contains('@')) {
        return Err(UrlError::NotEncoded);
    }
    if goes_over_network(&config) && config.get_hosts().iter().any(|host| !matches!(host, Host::Tcp(_))) {
        let reason = "the URL names a Unix socket and a host of a network (hint: name one kind; sslmode has no effect on a socket)";
        return Err(UrlError::Reason(reason.into()));
    }
    Ok(config)
}

/// Whether a connection may leave this machine: anything but Unix sockets alone.
pub(crate) fn goes_over_network(config: &tokio_postgres::Config) -> bool {
    let hosts = config.get_hosts();
    let sockets_alone = !hosts.is_empty() && hosts.iter().all(|host| !matches!(host, Host::Tcp(_)));
    // `hostaddr` replaces the host as the address that is connected to.
    !sockets_alone || !config.get_hostaddrs().is_empty()
}

fn mode(value: &str) -> Result<SslMode, UrlError> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            return Err(UrlError::Reason(
                "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full".into(),
            ));
        }
    })
}
