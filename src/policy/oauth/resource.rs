//! What clients are told of the authorization: the protected-resource metadata (RFC 9728) and the challenges (RFC 6750).
//!
//! All texts are made once, from the configuration. Must not know tokens.

use super::super::denial::Denial;
use super::super::paths::Paths;
use super::url::split_url;

/// Where the metadata lies, before the path of the resource (RFC 9728, 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// This server as a protected resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    document: String,
    /// The path of the resource, without a final slash; empty for the root.
    path: String,
    missing: String,
    invalid: String,
    /// In the order of the grants.
    insufficient: Vec<String>,
}

impl ProtectedResource {
    /// The resource of this identifier, an `https` URL; `grants` has the scopes of each grant. Every text is one that a header
    /// field in quotes can carry.
    pub fn new(resource: &str, issuers: &[String], grants: &[Vec<String>]) -> ProtectedResource {
        let (origin, path) = split_url(resource);
        let path = path.trim_end_matches('/');
        let mut scopes: Vec<&str> = grants.iter().flatten().map(String::as_str).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let metadata = format!("resource_metadata=\"{origin}{WELL_KNOWN}{path}\"");
        let scope = |scopes: &[String]| match scopes {
            [] => String::new(),
            scopes => format!(", scope=\"{}\"", scopes.join(" ")),
        };
        // A scope is named before any token is there only where every token needs the same.
        let common = match grants.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => scope(first),
            Some(_) | None => String::new(),
        };
        let insufficient = |scopes: &Vec<String>| {
            format!("Bearer realm=\"mcp\", error=\"insufficient_scope\"{}, {metadata}", scope(scopes))
        };
        let mut document = serde_json::json!({
            "resource": resource,
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
        });
        if !scopes.is_empty() {
            document["scopes_supported"] = scopes.into();
        }
        ProtectedResource {
            document: document.to_string(),
            path: path.to_owned(),
            missing: format!("Bearer realm=\"mcp\", {metadata}{common}"),
            invalid: format!("Bearer realm=\"mcp\", error=\"invalid_token\", {metadata}"),
            insufficient: grants.iter().map(insufficient).collect(),
        }
    }

    /// Whether this path names the metadata: bare, or with the path of the resource or of the endpoint behind it.
    pub(in crate::policy) fn is_metadata(&self, path: &[u8], paths: &Paths) -> bool {
        let Some(suffix) = path.strip_prefix(WELL_KNOWN.as_bytes()) else { return false };
        let suffix = suffix.strip_suffix(b"/").unwrap_or(suffix);
        suffix.is_empty() || suffix == self.path.as_bytes() || paths.prefixes().any(|prefix| prefix == suffix)
    }

    /// The value of `WWW-Authenticate` that belongs to this denial here.
    pub(in crate::policy) fn challenge(&self, denial: Denial) -> Option<&str> {
        if let Denial::InsufficientScope { grant } = denial {
            return self.insufficient.get(usize::from(grant)).map(String::as_str);
        }
        let is_invalid = matches!(
            denial,
            Denial::TokenInvalid(_) | Denial::TokenExpired(_) | Denial::JwtInvalid(_) | Denial::JwtExpired
        );
        match (is_invalid, denial == Denial::AuthorizationMissing) {
            (true, _) => Some(&self.invalid),
            (false, true) => Some(&self.missing),
            (false, false) => None,
        }
    }

    /// The protected-resource metadata, as JSON.
    pub(in crate::policy) fn document(&self) -> &str {
        &self.document
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::paths::{PathRules, Prefix};
    use super::super::super::reply::head_reply;
    use super::*;

    fn resource(grants: &[&[&str]]) -> ProtectedResource {
        let grants: Vec<Vec<String>> =
            grants.iter().map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect()).collect();
        ProtectedResource::new(
            "https://mcp.example.org/swf/mcp",
            &["https://login.example.org/".to_owned()],
            &grants,
        )
    }

    // RFC 9728, 3.1: the well-known path stands between the host and the path of the resource.
    #[test]
    fn the_metadata_is_found_at_the_bare_and_the_suffixed_path() {
        let paths = Paths::new(&PathRules { prefixes: vec![Prefix::parse("/mcp").unwrap()] });
        let resource = resource(&[&["a"]]);
        for (path, expect) in [
            ("/.well-known/oauth-protected-resource", true),
            ("/.well-known/oauth-protected-resource/", true),
            ("/.well-known/oauth-protected-resource/swf/mcp", true),
            ("/.well-known/oauth-protected-resource/swf/mcp/", true),
            ("/.well-known/oauth-protected-resource/mcp", true),
            ("/.well-known/oauth-protected-resource/mcp//", false),
            ("/.well-known/oauth-protected-resource/other", false),
            ("/.well-known/oauth-protected-resources", false),
            ("/mcp/.well-known/oauth-protected-resource", false),
            ("/.well-known/oauth-authorization-server", false),
        ] {
            assert_eq!(resource.is_metadata(path.as_bytes(), &paths), expect, "{path}");
        }
    }

    #[test]
    fn the_metadata_document_names_issuers_and_scopes() {
        let document = resource(&[&["b", "a"], &["a"]]).document;
        assert_eq!(
            document,
            r#"{"resource":"https://mcp.example.org/swf/mcp","authorization_servers":["https://login.example.org/"],"bearer_methods_supported":["header"],"scopes_supported":["a","b"]}"#
        );
        assert!(!resource(&[&[]]).document.contains("scopes_supported"));
    }

    // "No credential: 401 with `WWW-Authenticate: Bearer realm="mcp", resource_metadata="<url>"` (and `scope` where one is known)"
    #[test]
    fn challenges_name_the_metadata_and_the_scope_that_is_known() {
        let metadata =
            r#"resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource/swf/mcp""#;
        let one = resource(&[&["mcp", "x"]]);
        let challenge = |resource: &ProtectedResource, denial| resource.challenge(denial).map(str::to_owned);
        assert_eq!(
            challenge(&one, Denial::AuthorizationMissing),
            Some(format!(r#"Bearer realm="mcp", {metadata}, scope="mcp x""#))
        );
        assert_eq!(
            challenge(&one, Denial::JwtExpired),
            Some(format!(r#"Bearer realm="mcp", error="invalid_token", {metadata}"#))
        );
        let two = resource(&[&["read"], &["write"]]);
        assert_eq!(
            challenge(&two, Denial::AuthorizationMissing),
            Some(format!(r#"Bearer realm="mcp", {metadata}"#))
        );
        assert_eq!(
            challenge(&two, Denial::InsufficientScope { grant: 1 }),
            Some(format!(r#"Bearer realm="mcp", error="insufficient_scope", scope="write", {metadata}"#))
        );
        assert_eq!(challenge(&two, Denial::PathNotFound), None);
        assert_eq!(head_reply(Denial::JwtExpired).status, 401);
        let root = ProtectedResource::new("https://a.example", &[], &[]);
        assert!(root.missing.ends_with(r#"="https://a.example/.well-known/oauth-protected-resource""#));
    }
}
