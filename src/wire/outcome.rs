//! Reads the outcome of an answer from the bytes as they stream by, in bounded memory, at any size, SSE included.

/// What an answer's body says about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A JSON-RPC result, `isError` absent or false.
    Ok,
    /// `result.isError` is true.
    ToolError,
    /// A JSON-RPC error with this code.
    RpcError(i64),
    /// Not a JSON-RPC answer: garbage, HTML, or cut short.
    NotRpc,
    /// No body (202 to a notification).
    Empty,
}

/// How the body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// `text/event-stream`: the last `data:` event that is a JSON-RPC response decides.
    EventStream,
    /// Anything else is not read.
    Opaque,
}

/// An incremental scan beside the stream. Feeding never fails and never needs the bytes to be kept.
#[derive(Debug)]
pub struct OutcomeScan {}

impl OutcomeScan {
    /// A scan for a body of this format.
    pub fn new(format: Format) -> OutcomeScan {
        let _ = format;
        OutcomeScan {}
    }

    /// Sees the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// The verdict once the body is complete.
    pub fn finish(self) -> Answer {
        todo!()
    }
}
