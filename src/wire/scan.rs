//! One pass over a JSON-RPC body: strict, no tree, byte ranges only.

use std::borrow::Cow;

use super::rpc::Method;

/// Deepest nesting accepted.
pub const DEPTH_MAX: u32 = 64;

/// What kind of JSON-RPC message a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method and no id (an `id` of null is refused).
    Notification,
    /// Has an id and a result or error: the client answers a server's request.
    Response,
}

/// What the guard needs to know of a body. Borrows from it.
#[derive(Debug, Clone)]
pub struct Message<'b> {
    pub kind: Kind,
    /// Raw JSON of `id`: a string or an integer.
    pub id: Option<&'b [u8]>,
    pub method: Method,
    /// The method as written, decoded; empty for a response. Never for a label.
    pub method_name: Cow<'b, str>,
    /// `params.name`, `params.uri` or `params.taskId`, whichever the method's `Mcp-Name` mirrors; decoded.
    pub name: Option<Cow<'b, str>>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`, decoded.
    pub meta_version: Option<Cow<'b, str>>,
    /// `params.protocolVersion` of an `initialize`, decoded.
    pub initialize_version: Option<Cow<'b, str>>,
}

/// Why a body is refused. [`ScanError::code`] is the JSON-RPC code; the text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("body is empty")]
    Empty,
    #[error("body is not valid UTF-8")]
    Utf8,
    #[error("body is not one JSON value")]
    Syntax,
    #[error("nesting is deeper than {DEPTH_MAX}")]
    Depth,
    #[error("duplicate key on a path the guard reads")]
    DuplicateKey,
    #[error("batches are not part of the protocol")]
    Batch,
    #[error("body is not a JSON-RPC 2.0 message")]
    Envelope,
}

impl ScanError {
    /// -32700 for what is not JSON, -32600 for JSON that is not a request.
    pub fn code(self) -> i32 {
        todo!()
    }
}

/// Scans `body`, which must be exactly one JSON-RPC 2.0 message.
///
/// On error the raw `id` is not reported: an answer to a refused body carries `id: null`.
pub fn scan(body: &[u8]) -> Result<Message<'_>, ScanError> {
    let _ = body;
    todo!()
}
