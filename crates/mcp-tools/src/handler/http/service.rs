//! The services that `http` tools may call, as the operator configured them.
//!
//! Must not call anything.

use hyper::Uri;
use hyper::header::HeaderValue;
use indexmap::IndexMap;

use super::headers::{self, ServiceHeaders};
use super::query::ServiceQuery;
use crate::catalogue::file::ServiceFile;
use crate::http_client::{NoOrigin, Origin};

/// A shorter value would be cut out of common words.
const SECRET_BYTES_MIN: usize = 5;

/// Services by name.
pub(crate) type Services = IndexMap<String, Service>;

/// A service, with its address if the operator configured one.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) base: Option<Base>,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) headers: ServiceHeaders,
    pub(crate) query: ServiceQuery,
    variable: Option<String>,
}

/// A base URL: an origin, and a path without a slash at its end.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) origin: Origin,
    path: String,
}

impl Base {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn parse(url: &str) -> Result<Base, String> {
        let hint = "must be http://HOST[:PORT][/PATH] or https://...";
        let uri: Uri = url.trim().parse().map_err(|_| hint.to_owned())?;
        let origin = Origin::of(&uri).map_err(|reason| match reason {
            NoOrigin::Form => hint,
            NoOrigin::User => "must not hold a user name or password (hint: authorization_env)",
        })?;
        if uri.query().is_some() {
            return Err("must not have a query".into());
        }
        Ok(Base { origin, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl Service {
    /// Reads the settings of a service from the environment, or reports every problem of them.
    pub(crate) fn build(name: &str, file: &ServiceFile) -> Result<Service, Vec<String>> {
        let mut reasons = Vec::new();
        let base = base(file).unwrap_or_else(|reason| {
            reasons.push(reason);
            None
        });
        let value_of = |variable: &str| std::env::var(variable).ok();
        let authorization = file.authorization_env.as_ref().and_then(|variable| {
            let value = headers::secret(&value_of(variable)?, variable);
            value.map_err(|reason| reasons.push(reason)).ok()
        });
        let headers = headers::of_service(&file.headers, &file.headers_env, value_of, &mut reasons);
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let query = ServiceQuery::of_service(&file.query_env, value_of);
        let variable = file.base_url_env.clone();
        Ok(Service { name: name.to_owned(), base, authorization, headers, query, variable })
    }

    /// A service whose declaration could not be read.
    pub(crate) fn unknown(name: &str) -> Service {
        let (headers, query) = (ServiceHeaders::default(), ServiceQuery::default());
        Service { name: name.to_owned(), base: None, authorization: None, headers, query, variable: None }
    }

    /// What no error and no log line may repeat, also where the service does: values from the environment.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        let values = self.headers.iter().map(|(_, value)| value).chain(&self.authorization);
        let values = values.filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        // A service repeats the credentials rather than their scheme.
        let parts = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, rest)| rest)]);
        parts.flatten().chain(self.query.secrets()).filter(|part| part.len() >= SECRET_BYTES_MIN).collect()
    }

    /// The address, or the error while the operator has not configured the service.
    pub(crate) fn configured(&self) -> Result<&Base, String> {
        let (variable, purpose) = match (&self.base, &self.headers.unset, &self.query.unset) {
            (Some(base), None, None) => return Ok(base),
            (Some(_), Some(variable), _) => (variable.as_str(), "the value of a header that it needs"),
            (Some(_), None, Some(variable)) => (variable.as_str(), "the value of a key that it needs"),
            (None, _, _) => (self.variable.as_deref().unwrap_or("base_url"), "its base URL"),
        };
        Err(format!(
            "This tool needs the service {}, which is not configured: the operator of mcp-tools must set {variable} to {purpose}.",
            self.name
        ))
    }
}

fn base(file: &ServiceFile) -> Result<Option<Base>, String> {
    let url = match (&file.base_url, &file.base_url_env) {
        (Some(url), None) => Some(url.clone()),
        (None, Some(variable)) => std::env::var(variable).ok().filter(|url| !url.trim().is_empty()),
        (Some(_), Some(_)) | (None, None) => return Err("needs one of base_url, base_url_env".into()),
    };
    let base = url.map(|url| Base::parse(&url)).transpose();
    base.map_err(|reason| match &file.base_url_env {
        Some(variable) => format!("the value of {variable} {reason}"),
        None => format!("base_url: {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expect: &str) {
        let text = match Base::parse(url) {
            Ok(Base { origin, path }) => format!("{} {} {} {path}", origin.tls, origin.host, origin.port),
            Err(reason) => reason.split(' ').take(3).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(text, expect, "{url}");
    }

    #[test]
    fn reads_base_urls() {
        check("http://mq:8161", "false mq 8161 ");
        check("https://mon.example.org/panda/", "true mon.example.org 443 /panda");
        check("http://[::1]:80", "false ::1 80 ");
        check("ftp://mq", "must be http://HOST[:PORT][/PATH]");
        check("mq:8161", "must be http://HOST[:PORT][/PATH]");
        check("http://user:secret@mq", "must not hold");
        check("http://mq/?a=b", "must not have");
        check("", "must be http://HOST[:PORT][/PATH]");
    }
}
