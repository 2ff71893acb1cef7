//! Where spans go.

use super::endpoint::Endpoint;
use super::headers::Headers;

/// A collector, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub endpoint: Endpoint,
    pub headers: Headers,
}
