//! The URL of a collector: `http` or `https`, a host, and a path of its own or OTLP's.

use std::fmt;

use hyper::Uri;

/// The path of OTLP over HTTP (OTLP 1, "HTTP paths").
const PATH: &str = "/v1/traces";

/// Where a collector takes spans.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// As it stands in the `Host` header.
    pub(super) authority: String,
    /// With its query.
    pub(super) path: String,
}

/// Why a text names no collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("must be an http or https URL, as in \"http://127.0.0.1:4318\"")]
    Form,
    #[error("must hold no user and no password: a credential belongs into a header")]
    User,
}

impl Endpoint {
    /// Reads a URL. Without a path of its own it gets OTLP's.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        let url: Uri = text.parse().map_err(|_| EndpointError::Form)?;
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(EndpointError::Form),
        };
        let authority =
            url.authority().filter(|authority| !authority.host().is_empty()).ok_or(EndpointError::Form)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::User);
        }
        if authority.port().is_some_and(|port| port.as_u16() == 0) || authority.as_str().ends_with(':') {
            return Err(EndpointError::Form);
        }
        let path = match url.path_and_query() {
            Some(path) if path.as_str() != "/" => path.as_str(),
            Some(_) | None => PATH,
        };
        Ok(Endpoint {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether spans leave this machine unencrypted, as far as the URL shows it.
    pub fn is_exposed(&self) -> bool {
        let is_local = self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.tls && !is_local
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold a key.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "http{}://{}{path}", if self.tls { "s" } else { "" }, self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, EndpointError>) {
        let found = Endpoint::parse(text).map(|endpoint| endpoint.to_string());
        assert_eq!(found.as_deref().map_err(|error| *error), expected, "{text}");
    }

    #[test]
    fn an_endpoint_is_a_url_whose_path_is_otlps_unless_it_has_one() {
        check("http://127.0.0.1:4318", Ok("http://127.0.0.1:4318/v1/traces"));
        check("http://127.0.0.1:4318/", Ok("http://127.0.0.1:4318/v1/traces"));
        check("https://otel.example.org", Ok("https://otel.example.org/v1/traces"));
        check(
            "https://otel.example.org/otlp/v1/traces?key=secret",
            Ok("https://otel.example.org/otlp/v1/traces"),
        );
        check("http://[::1]:4318", Ok("http://[::1]:4318/v1/traces"));
        for bad in [
            "",
            "127.0.0.1:4318",
            "grpc://host:4317",
            "http://",
            "http://host:0",
            "http://host:",
            "/v1",
            "a b",
        ] {
            check(bad, Err(EndpointError::Form));
        }
        check("https://user:secret@host", Err(EndpointError::User));
        assert_eq!(Endpoint::parse("https://h/p?key=1").unwrap().path, "/p?key=1");
        assert_eq!(Endpoint::parse("http://[::1]:4318").unwrap().host, "::1");
    }

    #[test]
    fn an_endpoint_elsewhere_without_tls_is_exposed() {
        let exposed = |text| Endpoint::parse(text).unwrap().is_exposed();
        assert!(exposed("http://otel.example.org") && exposed("http://10.0.0.1:4318"));
        for local in
            ["http://127.0.0.1:4318", "http://[::1]:1", "http://localhost:1", "https://otel.example.org"]
        {
            assert!(!exposed(local), "{local}");
        }
    }
}
