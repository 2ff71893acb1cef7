//! mcp-tools: a minimal MCP tool server on a Unix socket. Knows nothing of the guard.

/// Runs the command line of `mcp-tools` and returns its exit code.
pub fn main() -> std::process::ExitCode {
    todo!()
}
