//! What a handler learns of one call beside its arguments: the tool, the request, the caller.
//!
//! Must not know which transport delivered the call.

use std::sync::Arc;

use crate::call_log;
use crate::traces::CallTrace;

/// One call, for its log lines and for tools that use the caller's identity.
#[derive(Debug, Clone)]
pub(crate) struct CallInfo {
    pub(crate) tool: Arc<str>,
    /// The guard's id of the request, which its log has as well.
    pub(crate) request_id: Option<String>,
    pub(crate) caller: Caller,
    /// Whether a write is undone after it ran.
    pub(crate) dry_run: bool,
    /// None where traces are off.
    pub(crate) trace: Option<Arc<CallTrace>>,
}

impl CallInfo {
    /// A call without a request and a caller: from a command line.
    pub(crate) fn of_tool(tool: &Arc<str>) -> CallInfo {
        let tool = Arc::clone(tool);
        CallInfo { tool, request_id: None, caller: Caller::default(), dry_run: false, trace: None }
    }

    /// Writes an event of this call to the log, with tool and request id.
    pub(crate) fn log_event(&self, name: &str, detail: &str) {
        call_log::call_event(name, &self.tool, self.request_id.as_deref(), detail);
    }
}

/// The caller, as the guard names it. Empty where no guard stands in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The client of the guard's `tokens.toml`, or its grant.
    pub(crate) client: Option<String>,
    /// The person or program that a token was issued to.
    pub(crate) subject: Option<String>,
}
