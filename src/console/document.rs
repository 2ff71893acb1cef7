//! The page and the description of the interface: documents that hold nothing of this guard.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use sha2::{Digest, Sha256};

use super::body::Body;

pub(super) const OPENAPI: &str = include_str!("openapi.json");
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(include_str!("page/plot.js"), include_str!("page/page.js"));

/// The page in one piece, and the policy that lets a browser run nothing else.
struct Page {
    text: String,
    policy: HeaderValue,
}

static ASSEMBLED: LazyLock<Page> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let text = PAGE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
    // Base64 and plain words: always a header value.
    let policy =
        HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    Page { text, policy }
});

pub(super) fn page() -> Response<Body> {
    let mut response = Response::new(Body::from(ASSEMBLED.text.as_str()));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(header::CONTENT_SECURITY_POLICY, ASSEMBLED.policy.clone());
    response
}

/// A picture of the series: nothing in it runs, wherever it is opened.
pub(super) fn drawing(svg: String) -> Response<Body> {
    let mut response = Response::new(Body::from(svg));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}

pub(super) fn openapi() -> Response<Body> {
    let mut response = Response::new(Body::from(OPENAPI));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_piece_that_names_nothing_outside() {
        let text = &ASSEMBLED.text;
        assert!(!text.contains("/*STYLE*/") && !text.contains("/*SCRIPT*/"));
        for outside in ["http://", "https://", "src=", "href=", "@import", "url(", " onclick", " onload"] {
            assert!(!text.contains(outside), "{outside}");
        }
        // The browser hashes what stands between the tags.
        assert_eq!(text.matches(&format!("<style>{STYLE}</style>")).count(), 1);
        assert_eq!(text.matches(&format!("<script>{SCRIPT}</script>")).count(), 1);
    }
}
