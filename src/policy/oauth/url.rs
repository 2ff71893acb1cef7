//! The two parts of a URL that place well-known documents (RFC 8414, 3; RFC 9728, 3).

/// Splits an absolute URL into scheme with authority, and path with query. The path is empty where nothing follows the authority.
pub(crate) fn split_url(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let slash = url[start..].find('/').map_or(url.len(), |at| start + at);
    url.split_at(slash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_splits_before_its_path() {
        for (url, expect) in [
            ("https://a.example", ("https://a.example", "")),
            ("https://a.example/", ("https://a.example", "/")),
            ("https://a.example:8443/b/c", ("https://a.example:8443", "/b/c")),
            ("a/b", ("a", "/b")),
        ] {
            assert_eq!(split_url(url), expect, "{url}");
        }
    }
}
