//! Where a server is: `http://...`, `https://...`, or the path of a Unix socket.

use std::path::{Path, PathBuf};

use hyper::Uri;

use super::error::ServerError;
use crate::http_client::Origin;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp { origin: Origin, path: String },
}

impl Target {
    pub(super) fn parse(given: &str) -> Result<Target, ServerError> {
        let unknown = || ServerError::Address(without_secrets(given));
        if !given.contains("://") {
            let path = given.strip_prefix("unix:").unwrap_or(given);
            // `localhost:8000` is an address without its scheme, not a file.
            if path.is_empty() || !(path.contains('/') || Path::new(path).exists()) {
                return Err(unknown());
            }
            return Ok(Target::Unix(path.into()));
        }
        let uri: Uri = given.parse().map_err(|_| unknown())?;
        let origin = Origin::of(&uri).map_err(|_| unknown())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Target::Tcp { origin, path })
    }

    /// As it stands in the `Host` header.
    pub(super) fn authority(&self) -> &str {
        match self {
            Target::Unix(_) => "localhost",
            Target::Tcp { origin, .. } => &origin.authority,
        }
    }

    pub(super) fn path(&self) -> &str {
        match self {
            Target::Unix(_) => "/",
            Target::Tcp { path, .. } => path,
        }
    }
}

/// An address without what may be a secret in it: user, password and query.
pub(super) fn without_secrets(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, expect: &str) {
        let text = match Target::parse(given) {
            Ok(Target::Unix(path)) => format!("unix {}", path.display()),
            Ok(Target::Tcp { origin, path }) => {
                format!("{} {} {} {path}", origin.tls, origin.host, origin.port)
            }
            Err(error) => error.to_string().split(" (").next().unwrap_or_default().to_owned(),
        };
        assert_eq!(text, expect, "{given}");
    }

    #[test]
    fn reads_addresses_and_never_repeats_a_secret() {
        check("http://127.0.0.1:8001/mcp/?a=b", "false 127.0.0.1 8001 /mcp/?a=b");
        check("https://tools.example.org", "true tools.example.org 443 /");
        check("http://[::1]:80/x", "false ::1 80 /x");
        check("/run/t.sock", "unix /run/t.sock");
        check("unix:./t.sock", "unix ./t.sock");
        check("localhost:8000", "localhost:8000: is no address of a server");
        check("ftp://h/x", "ftp://h/x: is no address of a server");
        check("http://u:hunter2@h/x?key=hunter2", "http://h/x: is no address of a server");
    }
}
