//! What a response body says about the call.

/// What a response body says about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseKind {
    /// A JSON-RPC result, `isError` absent or false.
    Ok,
    /// `result.isError` is true.
    ToolError,
    /// A JSON-RPC error with this code.
    RpcError(i64),
    /// Not a JSON-RPC response: garbage, HTML, a request, or cut short.
    NotRpc,
    /// No body (202 to a notification).
    Empty,
}
