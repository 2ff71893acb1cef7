//! Path rules, on raw bytes: never decoded, never normalised, never redirected.

/// `[paths]`
#[derive(Debug, Clone)]
pub struct Config {
    /// Such as `/swf-monitor/mcp`; `/` is the bare root only.
    pub prefixes: Vec<String>,
}
