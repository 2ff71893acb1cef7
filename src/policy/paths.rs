//! Path rules, on raw bytes: never decoded, never normalised, never redirected.
//!
//! Says what place a path names. Must not know methods or fields; what a place means is decided in `head`.

use std::fmt;

use super::Denial;

/// `[paths]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRules {
    /// Where the endpoint is reached; `/` is the bare root only.
    pub prefixes: Vec<Prefix>,
}

/// A prefix such as `/swf-monitor/mcp`, without a final slash, or the bare root `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a text is no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Relative, or empty.
    #[error("must start with a slash")]
    Relative,
    /// A dot segment or two slashes in a row: no client could request it and mean this.
    #[error("must not have empty, `.` or `..` segments")]
    Segment,
    /// Percent escapes, spaces, and the like.
    #[error("must consist of letters, digits and `-._~` between slashes")]
    Byte,
    /// The guard serves these itself.
    #[error("must not end in `health`, `ready` or `register`, nor hold `.well-known`")]
    Reserved,
}

impl Prefix {
    /// Parses a prefix; one final slash is taken off.
    pub fn parse(text: &str) -> Result<Prefix, PrefixError> {
        if text == "/" {
            return Ok(Prefix(text.to_owned()));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let segments = text.strip_prefix('/').ok_or(PrefixError::Relative)?;
        for segment in segments.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(PrefixError::Segment);
            }
            if !segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
                return Err(PrefixError::Byte);
            }
            if segment == ".well-known" {
                return Err(PrefixError::Reserved);
            }
        }
        let last = segments.rsplit('/').next();
        if last.is_some_and(|last| matches!(last, "health" | "ready" | "register")) {
            return Err(PrefixError::Reserved);
        }
        Ok(Prefix(text.to_owned()))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// A prefix, with or without one final slash, or the bare root if that is configured.
    Endpoint,
    /// `/health` or `<prefix>/health`.
    Health,
    /// `/ready`
    Ready,
    /// Holds `/.well-known/`.
    WellKnown,
    /// `/register` or `<prefix>/register`.
    Register,
    /// Nothing of ours.
    Other,
}

/// The prefixes, ready to be compared.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    /// The one that clients are shown.
    first: String,
    prefixes: Vec<Box<[u8]>>,
    bare_root: bool,
}

impl Paths {
    pub(super) fn first(&self) -> &str {
        &self.first
    }

    pub(super) fn new(config: &PathRules) -> Paths {
        let is_root = |prefix: &&Prefix| prefix.as_str() == "/";
        Paths {
            first: config.prefixes.first().map_or("/", Prefix::as_str).to_owned(),
            bare_root: config.prefixes.iter().any(|prefix| is_root(&prefix)),
            prefixes: config
                .prefixes
                .iter()
                .filter(|prefix| !is_root(prefix))
                .map(|prefix| prefix.as_str().as_bytes().into())
                .collect(),
        }
    }

    /// The prefixes but the bare root.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        self.prefixes.iter().map(|prefix| &**prefix)
    }

    /// The place a path names. The kinds are disjoint, because a [`Prefix`] cannot be one of the reserved places, so the
    /// order here is only one of speed.
    pub(super) fn classify(&self, path: &[u8]) -> PathKind {
        if self.is_endpoint(path) {
            PathKind::Endpoint
        } else if self.is_under_prefix(path, b"/health") {
            PathKind::Health
        } else if path == b"/ready" {
            PathKind::Ready
        } else if memchr::memmem::find(path, b"/.well-known/").is_some() {
            PathKind::WellKnown
        } else if self.is_under_prefix(path, b"/register") {
            PathKind::Register
        } else {
            PathKind::Other
        }
    }

    fn is_endpoint(&self, path: &[u8]) -> bool {
        match path {
            b"/" => self.bare_root,
            [prefix @ .., b'/'] => self.is_prefix(prefix),
            prefix => self.is_prefix(prefix),
        }
    }

    fn is_under_prefix(&self, path: &[u8], name: &[u8]) -> bool {
        path.strip_suffix(name).is_some_and(|parent| parent.is_empty() || self.is_prefix(parent))
    }

    fn is_prefix(&self, path: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| **prefix == *path)
    }
}

/// Check 3: OAuth probes. A client that finds no metadata stays with the token it has; the sentence in the response to a
/// registration is what its user reads.
pub(super) fn check_oauth_probe(place: PathKind, method: &[u8]) -> Result<(), Denial> {
    match place {
        PathKind::WellKnown => Err(Denial::OauthMetadata),
        PathKind::Register if method == b"POST" => Err(Denial::OauthRegister),
        PathKind::Register | PathKind::Endpoint | PathKind::Health | PathKind::Ready | PathKind::Other => {
            Ok(())
        }
    }
}

/// Check 9: no path but the endpoint's is served.
pub(super) fn check_endpoint(place: PathKind) -> Result<(), Denial> {
    if place == PathKind::Endpoint { Ok(()) } else { Err(Denial::PathNotFound) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(prefixes: &[&str]) -> Paths {
        let prefixes = prefixes.iter().map(|prefix| Prefix::parse(prefix).unwrap()).collect();
        Paths::new(&PathRules { prefixes })
    }

    #[track_caller]
    fn check(path: &str, expect: PathKind) {
        assert_eq!(paths(&["/swf-monitor/mcp", "/mcp", "/"]).classify(path.as_bytes()), expect, "{path}");
    }

    // "`P`, `P/`, and `/` reach the endpoint"
    #[test]
    fn the_endpoint_is_reached_with_and_without_final_slash() {
        for path in ["/swf-monitor/mcp", "/swf-monitor/mcp/", "/mcp", "/mcp/", "/"] {
            check(path, PathKind::Endpoint);
        }
    }

    // "`P/x`, `/mcpx`, `//mcp`, `/mcp/../x`, `/mcp%2f`, `/mcp;x` are 404 after auth"
    #[test]
    fn no_other_spelling_reaches_the_endpoint() {
        for path in [
            "/mcp/x",
            "/mcpx",
            "//mcp",
            "/mcp/../x",
            "/mcp%2f",
            "/mcp;x",
            "//",
            "///",
            "/mcp//",
            "/MCP",
            "/mcp/.",
            "/mcp/x/..",
            "/./mcp",
            "/%6dcp",
            "/swf-monitor//mcp/",
            "",
            "mcp",
            "/swf-monitor",
            "/swf-monitor/",
        ] {
            check(path, PathKind::Other);
        }
    }

    // "exact path `/health`, or `<prefix>/health`"
    #[test]
    fn health_is_found_at_the_root_and_under_a_prefix() {
        for path in ["/health", "/mcp/health", "/swf-monitor/mcp/health"] {
            check(path, PathKind::Health);
        }
        for path in
            ["/health/", "/health/../admin", "/x/health", "//health", "/mcp//health", "/healthx", "/Health"]
        {
            check(path, PathKind::Other);
        }
    }

    #[test]
    fn readiness_and_oauth_probes_have_their_places() {
        check("/ready", PathKind::Ready);
        check("/mcp/ready", PathKind::Other);
        check("/.well-known/oauth-protected-resource", PathKind::WellKnown);
        check("/mcp/.well-known/openid-configuration", PathKind::WellKnown);
        check("/.well-known", PathKind::Other);
        check("/register", PathKind::Register);
        check("/mcp/register", PathKind::Register);
        check("/x/register", PathKind::Other);
    }

    #[test]
    fn the_bare_root_is_the_endpoint_only_if_configured() {
        assert_eq!(paths(&["/mcp"]).classify(b"/"), PathKind::Other);
        assert_eq!(paths(&["/"]).classify(b"/"), PathKind::Endpoint);
        assert_eq!(paths(&["/"]).classify(b"//"), PathKind::Other);
        assert_eq!(paths(&[]).classify(b"/health"), PathKind::Health);
    }

    #[test]
    fn a_prefix_is_absolute_plain_and_not_reserved() {
        for (text, expect) in [
            ("/mcp/", Ok("/mcp")),
            ("/a/b-c_d.e~f", Ok("/a/b-c_d.e~f")),
            ("/", Ok("/")),
            ("", Err(PrefixError::Relative)),
            ("mcp", Err(PrefixError::Relative)),
            ("//", Err(PrefixError::Segment)),
            ("/a//b", Err(PrefixError::Segment)),
            ("/a/../b", Err(PrefixError::Segment)),
            ("/a%20b", Err(PrefixError::Byte)),
            ("/a?b", Err(PrefixError::Byte)),
            ("/health", Err(PrefixError::Reserved)),
            ("/x/register/", Err(PrefixError::Reserved)),
            ("/.well-known/mcp", Err(PrefixError::Reserved)),
        ] {
            assert_eq!(
                Prefix::parse(text).as_ref().map(Prefix::as_str),
                expect.as_ref().map(|&t| t),
                "{text}"
            );
        }
    }

    proptest! {
        // An endpoint is a prefix and at most one slash, byte for byte: whatever is added or changed leaves it.
        #[test]
        fn only_exact_bytes_are_the_endpoint(path in "[/a-z%.;]{0,12}") {
            let is_endpoint = paths(&["/mcp", "/"]).classify(path.as_bytes()) == PathKind::Endpoint;
            prop_assert_eq!(is_endpoint, ["/mcp", "/mcp/", "/"].contains(&path.as_str()));
        }

        #[test]
        fn locating_any_bytes_never_panics(path in proptest::collection::vec(any::<u8>(), 0..200)) {
            paths(&["/swf-monitor/mcp", "/"]).classify(&path);
        }
    }
}
