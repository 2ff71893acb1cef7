//! `Origin` and `Host`: protection against DNS rebinding (MCP, Transports: servers MUST validate `Origin`).

/// `[origin]`: what is allowed besides loopback.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Origins such as `https://example.org`, compared exactly (scheme and host case-insensitive).
    pub allowed: Vec<String>,
    /// Host names, without port; any port is accepted.
    pub hosts: Vec<String>,
}
